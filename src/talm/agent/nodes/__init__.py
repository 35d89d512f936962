"""Every node of the cluster pulls: one Job for each, and the sum of what they tell."""
