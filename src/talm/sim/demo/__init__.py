"""The walk-through of the manual: its world, its expectations, its breaks."""
