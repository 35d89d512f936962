"""Scripts that are also run and imported as modules."""
