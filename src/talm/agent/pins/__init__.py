"""What keeps a run's images from what collects a node's images as garbage."""
