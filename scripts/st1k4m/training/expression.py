"""The expression of pairs: a panel's genes over many slides, or all genes of one slide.

The counts of a panel are kept in memory as a sparse matrix in the order of the pairs: two bytes for
the gene and four for the count. All 4.3 million spots and 128 genes use 0.6 GB, because a fifth of
the genes are found in a spot.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from st1k4m.errors import SlideError
from st1k4m.formats import panel as panel_file
from st1k4m.formats import slide_anndata
from st1k4m.formats.slide_anndata import TILE, StoredRows, open_counts, open_x
from st1k4m.training.stores import OpenStores, Store

TARGETS = ("log1p", "counts", "both")
OVER = ("all", "panel")

_ANOTHER_RUN = "run the workflow again: results of different runs are mixed"
_STRETCH = 1 << 16  # rows read at a time
_GAP = 1 << 10  # shorter gaps of unwanted rows are read too, which needs fewer reads


@dataclass(frozen=True)
class Rows:
    """A sparse matrix whose rows are pairs.

    Attributes
    ----------
    indptr
        (pairs + 1,) int64.
    genes
        (entries,) uint16 or int32, the column of each entry.
    values
        (entries,) float32 or int32.
    width
        Number of columns.
    """

    indptr: np.ndarray
    genes: np.ndarray
    values: np.ndarray
    width: int

    def take(self, rows: np.ndarray) -> "Rows":
        """Return some rows, in the order given."""
        begin, end = self.indptr[rows], self.indptr[np.asarray(rows) + 1]
        sizes = end - begin
        indptr = np.concatenate([[0], np.cumsum(sizes)])
        places = np.repeat(begin - indptr[:-1], sizes) + np.arange(indptr[-1])
        return Rows(indptr, self.genes[places], self.values[places], self.width)

    def normalise(self, scale: np.ndarray) -> "Rows":
        """Return log1p of the counts divided by each row's ``scale``, in float32 as scanpy does."""
        values = self.values.astype(np.float32)
        values /= np.repeat(scale, np.diff(self.indptr))
        return Rows(self.indptr, self.genes, np.log1p(values, out=values), self.width)

    def write_dense(self, out: np.ndarray) -> None:
        """Write all rows to ``out``, (rows, width)."""
        out.fill(0)
        row = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        out[row, self.genes] = self.values


@dataclass(frozen=True)
class Expression:
    """Expression of pairs; row i belongs to pair i.

    Attributes
    ----------
    genes
        Names of the columns.
    counts
        Raw counts, int32; None if they are not needed.
    scale
        (pairs,) float32: divisor of the counts before log1p; None if ``log1p`` is read or not
        needed.
    log1p
        Values of the file, float32; None if they are computed from counts and scale.
    present
        (slides, genes) bool: whether the slide measured the gene; None for all genes of one slide.
    """

    genes: list[str]
    counts: Rows | None
    scale: np.ndarray | None
    log1p: Rows | None
    present: np.ndarray | None

    def read(self, pairs: np.ndarray, target: str) -> dict[str, Rows]:
        """Return ``expression`` (float32), ``counts`` (int32) or both, as ``target`` states."""
        counts = None if self.counts is None else self.counts.take(pairs)
        parts = {}
        if target in ("log1p", "both"):
            if self.log1p is not None:
                parts["expression"] = self.log1p.take(pairs)
            else:
                parts["expression"] = counts.normalise(self.scale[pairs])
        if target in ("counts", "both"):
            parts["counts"] = counts
        return parts


def read_panel(path: str | Path, stores: Sequence[Store], target: str, over: str) -> Expression:
    """Read the panel's genes for all pairs of some slides.

    Parameters
    ----------
    path
        ``collection/panels/{name}.h5ad``. The AnnData of the slides are read from the folder
        ``anndata`` of the same results.
    stores
        The slides' tile stores, in the order of the pairs.
    target
        One of `TARGETS`.
    over
        ``all``: counts are normalised over all genes of the slide, as in ``X`` of the AnnData.
        ``panel``: ``X`` of the panel, normalised as the panel states.

    Raises
    ------
    ValueError
        The panel lacks a slide, or was made by another version.
    SlideError
        The panel, the AnnData and the tile store of a slide do not have the same spots.
    """
    path = Path(path)
    with _open(path) as file:
        spans = _slide_spans(file, path)
        lacking = [store.slide for store in stores if store.tiles and store.slide not in spans]
        if lacking:
            raise ValueError(
                f"panel {path.stem} has no expression of {_some(lacking)}; choose slides of the "
                "panel, or widen its select and run the workflow again"
            )
        rows = _rows_of_pairs(file, spans, stores)
        wanted = over == "all" or target != "log1p"
        counts = _read_rows(open_counts(file), rows, np.int32) if wanted else None
        own = over == "panel" and target != "counts"
        log1p = _read_rows(open_x(file), rows, np.float32) if own else None
        genes = slide_anndata.read_genes(file).tolist()
        present = _read_present(file, [store.slide for store in stores])
    scale = None
    if over == "all" and target != "counts":
        anndata = path.parents[2] / "anndata"
        scale = [read_scale(anndata / f"{store.slide}.h5ad", store) for store in stores]
        scale = np.concatenate(scale)
    return Expression(genes, counts, scale, log1p, present)


def read_panel_slides(path: str | Path) -> list[str]:
    """Return the slides of a panel, in its order. Raises the errors of `read_panel`."""
    with _open(Path(path)) as file:
        return panel_file.read_slides(file)


def read_slide(path: str | Path, store: Store, target: str) -> Expression:
    """Read all genes of one slide; parameters and errors are those of `read_panel`."""
    with _open_slide(Path(path), store) as file:
        rows = _spots_with_tile(file, store)
        counts = _read_rows(open_counts(file), rows, np.int32) if target != "log1p" else None
        log1p = _read_rows(open_x(file), rows, np.float32) if target != "counts" else None
        return Expression(slide_anndata.read_genes(file).tolist(), counts, None, log1p, None)


def read_scale(path: str | Path, store: Store) -> np.ndarray:
    """Read the divisor of a slide's counts: (tiles,) float32, total over target."""
    with _named_errors(Path(path), store):
        totals, target, tile = slide_anndata.read_totals(path)
    totals = totals[_with_tile(tile, store, path)]
    scale = (totals.astype(np.float32) / target).astype(np.float32)
    scale[scale == 0] = 1  # spots without counts, as in scanpy
    return scale


def read_labels(path: str | Path, store: Store) -> list[str]:
    """Read the annotation of the spots that have a tile; empty texts for no annotation."""
    with _open_slide(Path(path), store) as file:
        rows = _spots_with_tile(file, store)
        labels = slide_anndata.read_labels(file)
    if labels is None:
        return [""] * len(rows)
    codes, names = labels
    return np.array([*names, ""], object)[codes[rows]].tolist()


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """Open the stacked expression of a panel; an error becomes one sentence."""
    try:
        with h5py.File(path) as file:
            yield file
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; run the workflow again") from None
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{path} is not a panel of this version of st1k4m ({_first_line(error)}); "
            "run the workflow again with this version"
        ) from None


@contextlib.contextmanager
def _open_slide(path: Path, store: Store) -> Iterator[h5py.File]:
    with _named_errors(path, store), h5py.File(path) as file:
        yield file


@contextlib.contextmanager
def _named_errors(path: Path, store: Store) -> Iterator[None]:
    """Turn an error of reading a slide's AnnData into a `SlideError`."""
    try:
        yield
    except FileNotFoundError:
        raise SlideError(store.slide, f"{path} does not exist", "run the workflow again") from None
    except (OSError, KeyError) as error:
        what = f"{path} is not an AnnData of this version of st1k4m ({_first_line(error)})"
        raise SlideError(store.slide, what, "run the workflow again with this version") from None


def _slide_spans(file: h5py.File, path: Path) -> dict[str, tuple[int, int]]:
    """Return the rows of each slide in a panel, first and end, in the order of the panel."""
    codes, names = panel_file.read_slide_of_spots(file)
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    spans = {}
    for begin, end in itertools.pairwise(edges):
        if begin == end:
            continue
        slide = names[codes[begin]]
        if slide in spans:
            raise ValueError(f"{path}: the spots of {slide} are not one block of rows")
        spans[slide] = begin, end
    return spans


def _rows_of_pairs(
    file: h5py.File, spans: dict[str, tuple[int, int]], stores: Sequence[Store]
) -> np.ndarray:
    """Return the row of the panel for each pair, (pairs,) int64.

    A panel has the spots of a slide in the order of its AnnData, and states which have a tile. The
    number of tiles and the ids of the first and last one show whether the store has the same spots.
    """
    tile = slide_anndata.read_column(file, TILE)
    rows, expected = [np.empty(0, np.int64)], []
    files = OpenStores(1)
    for store in (store for store in stores if store.tiles):
        begin, end = spans[store.slide]
        own = begin + np.flatnonzero(tile[begin:end] >= 0)
        if not np.array_equal(tile[own], np.arange(store.tiles)):
            raise _other_spots(file, store)
        expected += files.open(store).read_barcodes(np.array([0, store.tiles - 1]))
        rows.append(own)
    ends = np.array([row for own in rows[1:] for row in (own[0], own[-1])], np.int64)
    found = slide_anndata.read_spots(file, np.unique(ends))
    place = np.unique(ends, return_inverse=True)[1]
    for number, store in enumerate(store for store in stores if store.tiles):
        if (
            expected[2 * number : 2 * number + 2]
            != found[place[2 * number : 2 * number + 2]].tolist()
        ):
            raise _other_spots(file, store)
    return np.concatenate(rows)


def _other_spots(file: h5py.File, store: Store) -> SlideError:
    what = f"{store.path} has other spots than the panel {file.filename}"
    return SlideError(store.slide, what, _ANOTHER_RUN)


def _spots_with_tile(file: h5py.File, store: Store) -> np.ndarray:
    """Return the rows of an AnnData that have a tile, in the order of the tiles."""
    return _with_tile(slide_anndata.read_column(file, TILE), store, file.filename)


def _with_tile(tile: np.ndarray, store: Store, path: str | Path) -> np.ndarray:
    rows = np.flatnonzero(tile >= 0)
    if not np.array_equal(tile[rows], np.arange(store.tiles)):
        what = f"{path} has {len(rows):,} spots with a tile, {store.path} has {store.tiles:,}"
        raise SlideError(store.slide, what, _ANOTHER_RUN)
    return rows


def _read_rows(matrix: StoredRows | h5py.Dataset, rows: np.ndarray, dtype: type) -> Rows:
    """Read rows of a sparse or dense matrix; ``rows`` are few runs of ascending numbers."""
    width = matrix.shape[1]
    narrow = np.uint16 if width <= 1 << 16 else np.int32
    read = _sparse_runs if isinstance(matrix, StoredRows) else _dense_runs
    sizes, entries = read(matrix, rows)
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    genes, values = np.empty(indptr[-1], narrow), np.empty(indptr[-1], dtype)
    place = 0
    for columns, numbers in entries:
        genes[place : place + len(columns)] = columns
        values[place : place + len(columns)] = numbers
        place += len(columns)
    return Rows(indptr, genes, values, width)


def _sparse_runs(
    matrix: StoredRows, rows: np.ndarray
) -> tuple[np.ndarray, Iterator[tuple[np.ndarray, np.ndarray]]]:
    indptr = matrix.read_ends()

    def entries() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first, end, wanted in _runs(rows):
            kept = np.repeat(wanted, np.diff(indptr[first : end + 1]))
            columns, values = matrix.read(indptr[first], indptr[end])
            yield columns[kept], values[kept]

    return indptr[rows + 1] - indptr[rows], entries()


def _dense_runs(
    matrix: h5py.Dataset, rows: np.ndarray
) -> tuple[np.ndarray, Iterator[tuple[np.ndarray, np.ndarray]]]:
    def blocks() -> Iterator[np.ndarray]:
        for first, end, wanted in _runs(rows):
            yield matrix[first:end][wanted]

    sizes = [np.count_nonzero(block, axis=1) for block in blocks()]

    def entries() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for block in blocks():
            found = np.nonzero(block)
            yield found[1], block[found]

    return np.concatenate([np.empty(0, np.int64), *sizes]), entries()


def _runs(rows: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield first and end of the stretches with all ``rows``, and a mask of the wanted rows."""
    if not len(rows):
        return
    after_gap = np.flatnonzero(np.diff(rows) > _GAP) + 1
    for part in np.split(rows, after_gap):
        for begin in range(int(part[0]), int(part[-1]) + 1, _STRETCH):
            end = min(begin + _STRETCH, int(part[-1]) + 1)
            wanted = np.zeros(end - begin, bool)
            wanted[part[np.searchsorted(part, begin) : np.searchsorted(part, end)] - begin] = True
            yield begin, end, wanted


def _read_present(file: h5py.File, slides: list[str]) -> np.ndarray:
    """Read which slide measured which gene, (slides, genes) bool."""
    present = panel_file.read_present(file)
    row = {slide: row for row, slide in enumerate(panel_file.read_slides(file))}
    nothing = np.zeros(present.shape[1], bool)  # for a slide without spots
    return np.stack([present[row[slide]] if slide in row else nothing for slide in slides])


def _first_line(error: BaseException) -> str:
    return str(error.args[0] if error.args else error).splitlines()[0]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3:,} more slides"
