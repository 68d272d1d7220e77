"""What the report says, in words, each statement with its sample size."""
