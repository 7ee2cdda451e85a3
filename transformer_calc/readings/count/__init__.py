"""Counts of the model itself, whatever it runs on: parameters, shapes, FLOPs, cache."""
