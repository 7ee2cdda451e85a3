"""What can be read off a graph: each module is one reading."""
