"""Topology aware lifecycle of edge clusters: pre-cache, then update, from one hub."""

__version__ = "0.1.0"
