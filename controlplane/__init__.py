"""Builds what the demo and the tests run against; not part of the package."""
