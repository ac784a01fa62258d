"""Pairs of tile and expression over many slides, as numpy arrays."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from st1k4m.training.expression import Expression, Rows
from st1k4m.training.stores import OpenStore, OpenStores, Store

if TYPE_CHECKING:
    from st1k4m.training.loader import Loader

Allocate = Callable[[tuple[int, ...], type], np.ndarray]
"""Function that makes an array of a shape and a dtype."""


class Pairs:
    """Pairs of tile and expression of some slides; `Collection.pairs` makes it.

    A pair is a spot that has a tile. Pairs are numbered slide by slide, in the order of the stores.
    ``pairs[i]`` is one pair as a dict. ``pairs[[i, j, ...]]`` and ``pairs[a:b]`` are several pairs,
    stacked; they are read in sorted order, and each file is opened once.

    Parameters
    ----------
    stores
        The slides' tile stores.
    studies
        The study of each slide.
    expression
        Expression of the pairs; None for tiles alone.
    target
        ``log1p``, ``counts`` or ``both``.
    size
        Side in pixels to which every tile is resized; None if all tiles have the same size.
    labels
        Label of each pair, empty for no label. None: pairs have no ``label``.
    transform
        Called with each tile, (3, size, size) uint8.
    max_open
        Largest number of open files, per process.

    Attributes
    ----------
    slides : list of str
        Names of the slides.
    genes : list of str
        Names of the columns of ``expression`` and ``counts``.
    label_names : list of str
        Names of the numbers in ``label``.
    size : int
        Side of a tile in pixels.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        studies: Sequence[str],
        *,
        expression: Expression | None = None,
        target: str = "log1p",
        size: int | None = None,
        labels: Sequence[str] | None = None,
        transform: Callable[[Any], Any] | None = None,
        max_open: int = 128,
    ) -> None:
        self.slides = [store.slide for store in stores]
        self.genes = expression.genes if expression else []
        self.size = size or next((store.side for store in stores if store.tiles), 1)
        self.transform = transform
        self._stores = list(stores)
        self._studies = list(studies)
        self._expression = expression
        self._target = target
        self._starts = np.cumsum([0] + [store.tiles for store in stores])
        self._files = OpenStores(max_open)
        self.label_names = sorted(set(labels) - {""}) if labels is not None else []
        self._labels = None if labels is None else self._number(labels)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int | slice | Iterable[int]) -> dict[str, Any]:
        """Return one pair, or several stacked.

        Returns
        -------
        dict
            ``tile`` uint8 (3, size, size), or the result of the transform; ``expression`` float32
            (genes,), ``counts`` int32 (genes,), by target; ``present`` bool (genes,), whether the
            slide measured the gene; ``slide`` and ``spot``, names; ``index``, the number of the
            pair; ``label``, its number in ``label_names``, -1 for none. Several pairs have one more
            dimension in front, and lists of names. Without a panel the expression of several pairs
            is sparse, CSR.

        Raises
        ------
        IndexError
            The pair does not exist.
        SlideError
            A tile store is missing, was replaced or cannot be read.
        """
        if isinstance(index, slice):
            return self.read(np.arange(len(self))[index])
        if np.ndim(index) == 0:
            return self._single(self._read([int(index)], np.empty))
        return self.read(np.asarray(index))

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several pairs, read at once; ``torch.utils.data.DataLoader`` calls it."""
        batch = self._read(indices, np.empty)
        return [self._single(batch, row) for row in range(len(indices))]

    def read(self, indices: Sequence[int] | np.ndarray, allocate: Allocate = np.empty) -> dict:
        """Read several pairs, stacked.

        Parameters
        ----------
        indices
            Numbers of pairs, in any order; a number may be repeated.
        allocate
            Makes the arrays of the batch.

        Returns
        -------
        dict
            As for several pairs in `__getitem__`, which lists the errors too.
        """
        batch = self._read(indices, allocate)
        return {key: self._finish(value) for key, value in batch.items()}

    def loader(self, batch_size: int = 256, **options: Any) -> "Loader":
        """Make a loader of batches; the options are those of `Loader`."""
        from st1k4m.training.loader import Loader

        return Loader(self, batch_size, **options)

    @property
    def sizes(self) -> np.ndarray:
        """Pairs of each slide, (slides,) int64."""
        return np.diff(self._starts)

    @property
    def studies(self) -> list[str]:
        """The study of each slide."""
        return list(self._studies)

    def expect(self, indices: np.ndarray) -> None:
        """Announce the pairs that are read next; the system can then read ahead in large pieces."""
        rows = np.sort(np.asarray(indices))
        slides = np.searchsorted(self._starts, rows, side="right") - 1
        begins = np.flatnonzero((np.diff(rows, prepend=-2) > 1) | (np.diff(slides, prepend=-1) > 0))
        ends = np.append(begins[1:], len(rows)) - 1
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            slide = slides[begin]
            first = int(rows[begin] - self._starts[slide])
            self._files.expect(self._stores[slide], first, int(rows[end] - rows[begin]) + 1)

    # `TensorPairs` overrides the next three functions.

    def _tile(self, tile: np.ndarray) -> Any:
        """Return tiles, (..., 3, size, size), as the transform and the user get them."""
        return tile

    def _stack(self, tiles: list, allocate: Allocate) -> Any:
        """Stack the transformed tiles."""
        first = np.asarray(tiles[0])
        return np.stack(tiles, out=allocate((len(tiles), *first.shape), first.dtype))

    def _finish(self, value: Any) -> Any:
        """Return a value of a batch in the form that the user gets."""
        if isinstance(value, Rows):
            from scipy.sparse import csr_array

            parts = value.values, value.genes.astype(np.int32), value.indptr
            return csr_array(parts, shape=(len(value.indptr) - 1, value.width))
        return value

    def _read(self, indices: Sequence[int] | np.ndarray, allocate: Allocate) -> dict[str, Any]:
        indices = np.asarray(indices)
        if indices.size and not np.issubdtype(indices.dtype, np.integer):
            raise IndexError(f"pairs are numbered by integers, not by {indices.dtype}")
        indices = indices.astype(np.int64)
        if indices.size and not -len(self) <= indices.min() <= indices.max() < len(self):
            wrong = indices[(indices < -len(self)) | (indices >= len(self))][0]
            raise IndexError(f"pair {wrong} does not exist: there are {len(self):,} pairs")
        indices = np.where(indices < 0, indices + len(self), indices)
        slides = np.searchsorted(self._starts, indices, side="right") - 1
        batch: dict[str, Any] = {}
        tiles, spots = self._read_stores(indices, slides, allocate)
        batch["tile"] = self._transformed(tiles, allocate)
        if self._expression is not None:
            for name, rows in self._expression.read(indices, self._target).items():
                batch[name] = self._dense(rows, allocate)
            if self._expression.present is not None:
                batch["present"] = self._allocated(self._expression.present[slides], allocate)
        batch["slide"] = [self.slides[slide] for slide in slides.tolist()]
        batch["spot"] = spots
        batch["index"] = self._allocated(indices, allocate)
        if self._labels is not None:
            batch["label"] = self._allocated(self._labels[indices].astype(np.int64), allocate)
        return batch

    def _read_stores(
        self, indices: np.ndarray, slides: np.ndarray, allocate: Allocate
    ) -> tuple[np.ndarray, list[str]]:
        """Read tiles and spot ids, file by file."""
        plain = self.transform is None
        tiles = (allocate if plain else np.empty)((len(indices), self.size, self.size, 3), np.uint8)
        spots = [""] * len(indices)
        order = np.argsort(indices, kind="stable")
        edges = np.flatnonzero(np.diff(slides[order], prepend=-1)).tolist()
        for begin, end in itertools.pairwise([*edges, len(order)]):
            places = order[begin:end]
            slide = int(slides[places[0]])
            store = self._files.open(self._stores[slide])
            rows, where = indices[places] - self._starts[slide], places.tolist()
            self._read_tiles(store, self._stores[slide].side, rows, [tiles[at] for at in where])
            for place, spot in zip(where, store.read_barcodes(rows), strict=True):
                spots[place] = spot
        return tiles, spots

    def _read_tiles(
        self, store: OpenStore, side: int, rows: np.ndarray, out: list[np.ndarray]
    ) -> None:
        """Read tiles of one slide, and resize them as ``cut_tiles`` does."""
        if side == self.size:
            store.read_tiles(rows, out)
            return
        native = np.empty((len(rows), side, side, 3), np.uint8)
        store.read_tiles(rows, native)
        how = cv2.INTER_AREA if self.size < side else cv2.INTER_CUBIC
        for tile, place in zip(native, out, strict=True):
            cv2.resize(tile, (self.size, self.size), dst=place, interpolation=how)

    def _transformed(self, tiles: np.ndarray, allocate: Allocate) -> Any:
        planes = self._tile(tiles.transpose(0, 3, 1, 2))
        if self.transform is None or not len(tiles):
            return planes
        return self._stack([self.transform(tile) for tile in planes], allocate)

    def _dense(self, rows: Rows, allocate: Allocate) -> Rows | np.ndarray:
        if self._expression.present is None:
            return rows
        dense = allocate((len(rows.indptr) - 1, rows.width), rows.values.dtype)
        rows.write_dense(dense)
        return dense

    def _allocated(self, values: np.ndarray, allocate: Allocate) -> np.ndarray:
        array = allocate(values.shape, values.dtype)
        array[...] = values
        return array

    def _single(self, batch: dict[str, Any], row: int = 0) -> dict[str, Any]:
        """Return one pair of a batch."""
        pair = {}
        for key, value in batch.items():
            if isinstance(value, Rows):
                dense = np.empty((1, value.width), value.values.dtype)
                value.take(np.array([row])).write_dense(dense)
                value, at = dense, 0
            else:
                at = row
            pair[key] = self._finish(value[at]) if key not in ("index", "label") else int(value[at])
        return pair

    def _number(self, labels: Sequence[str]) -> np.ndarray:
        number = {name: place for place, name in enumerate(self.label_names)} | {"": -1}
        return np.array([number[label] for label in labels], np.int32)
