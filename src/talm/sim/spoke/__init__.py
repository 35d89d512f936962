"""The far side of the agents: a spoke in memory, or one with a real API server."""
