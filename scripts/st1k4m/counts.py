"""The old import path of `read_counts`, kept for existing programs."""

from st1k4m.expression.dense_csv import Counts, read_counts

__all__ = ["Counts", "read_counts"]
