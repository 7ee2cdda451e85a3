"""tcalc: shapes, parameters, FLOPs, memory and cost of transformers, derived from one graph."""

__version__ = "0.1.0"
