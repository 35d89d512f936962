"""What a hub has beside its API server: collector, clusters, placements, policy propagator."""
