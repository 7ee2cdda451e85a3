"""What a model computes: a small graph of named-axis operations."""
