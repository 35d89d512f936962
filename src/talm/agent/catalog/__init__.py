"""Operator catalogs: from files or SQLite to the bundles of a channel."""
