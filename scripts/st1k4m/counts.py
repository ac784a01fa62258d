"""The old place of `read_counts`, kept for programs that import it from here."""

from st1k4m.expression.dense_csv import Counts, read_counts

__all__ = ["Counts", "read_counts"]
