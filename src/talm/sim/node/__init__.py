"""A simulated node: pods as local processes."""
