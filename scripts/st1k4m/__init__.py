"""Read, align and cut the slides of STimage-1K4M; knows nothing of Snakemake."""

__version__ = "0.1.0"
