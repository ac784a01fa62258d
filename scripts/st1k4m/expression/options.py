"""The options of `count_expression`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from st1k4m.formats.expression import COMPRESSIONS


@dataclass(frozen=True)
class ExpressionOptions:
    """The options of `count_expression`: the section ``expression`` of the configuration.

    Attributes
    ----------
    min_genes, min_counts
        A spot with fewer genes or counts is dropped.
    max_pct_mito
        A spot with a larger share of mitochondrial counts (per cent) is dropped; None for no limit.
    min_spots
        A gene found in fewer spots is dropped.
    target_sum
        Total to which each spot's counts are normalised; ``median`` for the median over the spots.
    n_top_genes, theta
        Number of variable genes, and the overdispersion of their Pearson residuals.
    compression
        Compression of the matrices in the file, one of `COMPRESSIONS`.

    Raises
    ------
    ValueError
        An option has an invalid value.
    """

    min_genes: int = 1
    min_counts: int = 0
    max_pct_mito: float | None = None
    min_spots: int = 0
    target_sum: float | str = "median"
    n_top_genes: int = 128
    theta: float = 100
    compression: str = "gzip"

    @classmethod
    def of_section(cls, section: Mapping[str, Any]) -> "ExpressionOptions":
        """Read the options from a section of the configuration."""
        return cls(**section)

    def __post_init__(self) -> None:
        least = {"min_genes": 0, "min_counts": 0, "min_spots": 0, "n_top_genes": 1}
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected at least {bound}")
        if self.max_pct_mito is not None and not 0 <= self.max_pct_mito <= 100:
            raise ValueError(f"max_pct_mito is {self.max_pct_mito!r}, expected 0 to 100, or None")
        if self.target_sum != "median" and (
            isinstance(self.target_sum, str) or not self.target_sum > 0
        ):
            raise ValueError(
                f"target_sum is {self.target_sum!r}, expected median or a number above 0"
            )
        if not self.theta > 0:
            raise ValueError(f"theta is {self.theta!r}, expected above 0")
        if self.compression not in COMPRESSIONS:
            raise ValueError(
                f"compression is {self.compression!r}, expected one of {', '.join(COMPRESSIONS)}"
            )
