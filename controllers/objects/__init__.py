"""The objects themselves: the built-in kinds in use, and reading specs and statuses as they are found."""
