"""Count for every gene name the slides that print it, and the slides and spots that have it."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from st1k4m.collection import tables
from st1k4m.collection.fingerprint import read_genes

COLUMNS = ("gene", "slides_printed", "slides_found", "share_of_spots")


@dataclass
class _List:
    """Counts over the slides that have the same list of genes."""

    names: list[str]
    found: np.ndarray  # slides that have the gene
    spots: np.ndarray  # spots that have it
    slides: int = 0
    looked_at: int = 0


class GeneCounter:
    """Counts genes slide by slide.

    Slides with the same list of genes, such as most slides of a study, share its arrays. So the
    names of 1,149 slides, 30 million strings, are processed once per list.
    """

    def __init__(self) -> None:
        self._lists: dict[bytes, _List] = {}

    def add(self, fingerprint: str | Path) -> None:
        """Add the genes of a slide, from its fingerprint."""
        genes = read_genes(fingerprint, known=self._lists)
        if genes.digest not in self._lists:
            # Lists have most names in common; interning stores each name once.
            names = [sys.intern(name) for name in genes.names]
            number = len(genes.spots)
            self._lists[genes.digest] = _List(
                names, np.zeros(number, np.int32), np.zeros(number, np.int64)
            )
        total = self._lists[genes.digest]
        total.found += genes.spots > 0
        total.spots += genes.spots
        total.slides += 1
        total.looked_at += genes.looked_at

    def count(self) -> dict[str, tuple[int, int, int, int]]:
        """Return sorted totals: gene -> slides printed, slides found, spots found, spots counted.

        A name that a slide prints twice counts as one slide. Its spots are summed, so its share of
        spots can be too large.
        """
        totals: dict[str, tuple[int, int, int, int]] = {}
        for one in self._lists.values():
            inside: dict[str, tuple[int, int]] = {}
            for name, found, spots in zip(
                one.names, one.found.tolist(), one.spots.tolist(), strict=True
            ):
                before = inside.get(name, (0, 0))
                inside[name] = max(before[0], found), before[1] + spots
            for name, (found, spots) in inside.items():
                printed, found_before, spots_before, looked_at = totals.get(name, (0, 0, 0, 0))
                totals[name] = (
                    printed + one.slides,
                    found_before + found,
                    spots_before + spots,
                    looked_at + one.looked_at,
                )
        return dict(sorted(totals.items()))

    def write(self, path: str | Path) -> None:
        """Write ``genes.tsv``."""
        rows = (
            {
                "gene": name,
                "slides_printed": printed,
                "slides_found": found,
                "share_of_spots": min(spots / looked_at, 1.0) if looked_at else 0.0,
            }
            for name, (printed, found, spots, looked_at) in self.count().items()
        )
        tables.write_table(path, COLUMNS, rows)
