"""What the parameters do: a surrogate of the score over configuration and budget."""
