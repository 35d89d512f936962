"""The fault matrix: everything that is known to go wrong between hub and spokes, alone and in mixtures,
through both transports, on a real API server (`python -m tests.matrix`) and in virtual time."""
