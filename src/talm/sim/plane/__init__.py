"""A real control plane and its neighbours as processes on loopback, and the programs they run."""
