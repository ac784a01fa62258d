"""Read the genes and counts of many slides under common names, one block of spots at a time."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from st1k4m.collection.gene_names import clean_name, find_repeated
from st1k4m.collection.panel_options import NameOptions
from st1k4m.errors import SlideError
from st1k4m.formats import slide_anndata

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BLOCK = 1 << 21
"""Entries of a slide's counts in memory at once: about 200 MB with the arrays made from them."""


@dataclass(frozen=True)
class GeneSet:
    """The genes that a slide prints. Slides that print the same names share one `GeneSet`.

    Attributes
    ----------
    columns
        (printed,) int32: index of the gene of each printed column, -1 if it is left out.
    repeated
        Indices of the genes, ascending, that have several columns; these columns are summed.
    """

    columns: np.ndarray
    repeated: np.ndarray


class SlideGenes:
    """The genes of some slides under common names.

    Attributes
    ----------
    slides
        Names of the slides.
    names
        All genes, in the order in which they are first printed.
    sets
        The `GeneSet` of each slide.
    renamed, left_out
        Number of printed names that were changed, and that were left out.
    """

    def __init__(
        self,
        paths: Mapping[str, str | Path],
        options: NameOptions,
        renames: Mapping[str, str] | None = None,
    ) -> None:
        """Read the names that every slide prints.

        Parameters
        ----------
        paths
            Slide -> its AnnData file.
        options, renames
            See `clean_name`.

        Raises
        ------
        SlideError
            A file has no counts or no names.
        """
        self.paths = {slide: Path(path) for slide, path in paths.items()}
        self.slides = list(paths)
        self._options, self._renames = options, renames or {}
        self._cleaned: dict[str, str] = {}
        self._ids: dict[str, int] = {}
        known: dict[bytes, GeneSet] = {}
        self.sets: dict[str, GeneSet] = {}
        for slide in self.slides:
            printed = self._read_printed(slide)
            digest = hashlib.sha256("\n".join(printed).encode()).digest()
            if digest not in known:
                known[digest] = self._name(printed)
            self.sets[slide] = known[digest]
        self.names = list(self._ids)
        self.renamed = sum(name not in ("", printed) for printed, name in self._cleaned.items())
        self.left_out = sum(not name for name in self._cleaned.values())

    def _read_printed(self, slide: str) -> list[str]:
        with _open(slide, self.paths[slide]) as file:
            return slide_anndata.read_printed(file)

    def _name(self, printed: Sequence[str]) -> GeneSet:
        names = []
        for name in printed:
            if name not in self._cleaned:
                self._cleaned[name] = clean_name(name, self._options, self._renames)
            names.append(self._cleaned[name])
        for name in names:
            if name:
                self._ids.setdefault(name, len(self._ids))
        columns = np.array([self._ids[name] if name else -1 for name in names], np.int32)
        repeated = sorted(self._ids[name] for name in find_repeated(names))
        return GeneSet(columns, np.array(repeated, np.int32))

    def printed(self) -> np.ndarray:
        """Return which gene is printed on which slide, (genes, slides) bool."""
        found = np.zeros((len(self.names), len(self.slides)), bool)
        for place, slide in enumerate(self.slides):
            columns = self.sets[slide].columns
            found[columns[columns >= 0], place] = True
        return found

    def blocks(self, slide: str, genes: np.ndarray | None = None) -> Iterator["csr_matrix"]:
        """Yield the counts of a slide in blocks of spots.

        Parameters
        ----------
        slide
            Name of the slide.
        genes
            Indices of the wanted genes, in their order; None: all genes.

        Yields
        ------
        scipy.sparse.csr_matrix
            (spots, genes) int32 with sorted indices. A gene that is not printed has no entries.
        """
        columns = self.sets[slide].columns
        width = len(self.names)
        if genes is not None:
            place = np.full(width + 1, -1, np.int32)  # index -1 (columns left out) reads the last
            place[genes] = np.arange(len(genes), dtype=np.int32)
            columns, width = place[columns], len(genes)
        for block in read_blocks(slide, self.paths[slide]):
            yield take_columns(block, columns, width)


def _open(slide: str, path: Path) -> h5py.File:
    try:
        return h5py.File(path)
    except OSError as error:
        raise SlideError(
            slide,
            f"its AnnData {path} cannot be read: {error}",
            "remove the file and run again; the workflow makes a new one",
        ) from error


def count_spots(slide: str, path: Path) -> int:
    """Return the number of spots in the AnnData of a slide."""
    with _open(slide, path) as file:
        return int(slide_anndata.open_counts(file).shape[0])


def read_blocks(slide: str, path: Path) -> Iterator["csr_matrix"]:
    """Yield the counts of a slide as printed, at most about `BLOCK` entries at a time."""
    from scipy.sparse import csr_matrix

    with _open(slide, path) as file:
        counts = slide_anndata.open_counts(file)
        ends, width = counts.read_ends(), counts.shape[1]
        begin, spots = 0, len(ends) - 1
        while begin < spots:
            end = int(np.searchsorted(ends, ends[begin] + BLOCK, side="right")) - 1
            end = min(max(end, begin + 1), spots)
            columns, values = counts.read(int(ends[begin]), int(ends[end]))
            places = ends[begin : end + 1] - ends[begin]
            yield csr_matrix((values, columns, places), shape=(end - begin, width))
            begin = end


def take_columns(counts: "csr_matrix", columns: np.ndarray, width: int) -> "csr_matrix":
    """Move columns to new indices, and sum columns with the same index.

    Parameters
    ----------
    counts
        (spots, old) int32.
    columns
        (old,) new index of each column, -1: left out.
    width
        New number of columns.
    """
    from scipy.sparse import csr_matrix

    place = columns[counts.indices]
    keep = place >= 0
    ends = np.concatenate([[0], np.cumsum(keep)])[counts.indptr]
    taken = csr_matrix((counts.data[keep], place[keep], ends), shape=(counts.shape[0], width))
    taken.sum_duplicates()
    taken.eliminate_zeros()
    return taken
