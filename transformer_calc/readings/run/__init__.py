"""The proof: the graph is run in NumPy, and what happens is compared with what was counted."""
