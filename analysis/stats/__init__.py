"""Statistics of a study: tables in, numbers with their n out. Draws nothing."""
