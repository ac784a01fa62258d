"""Read counts that the programs of 10x Genomics write, piece by piece into a sparse matrix.

Space Ranger stores a matrix by barcode, so its arrays are those of the CSR matrix of spots by
genes. They are read piece by piece. The memory used is the result (8 bytes per non-zero count) and
the names (about 100 bytes per barcode), whatever the size of the file.
"""

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from st1k4m.errors import SlideError

if TYPE_CHECKING:
    import h5py
    from scipy.sparse import csr_matrix

#: Entries of a matrix read at a time.
PIECE = 1 << 22
#: The feature type of genes, as 10x names it.
GENES = "Gene Expression"
_LARGEST = np.iinfo(np.int32).max
_AGAIN = "copy or download the file again"
_RAW = "give the matrix of raw counts, not a normalised or corrected one"


@dataclass(frozen=True)
class TenxCounts:
    """The counts of one matrix.

    Attributes
    ----------
    matrix
        (spots, genes) int32, CSR, columns of a row in ascending order, no stored zeros.
    barcodes
        As printed, in the order of the file.
    genes, gene_ids
        Names and ids of the features that are genes, in the order of the file; names may repeat.
    other_features
        Number of features of each other type; these features are left out.
    software
        The program that wrote the file, as the file states it; empty if the file states none.
    """

    matrix: "csr_matrix"
    barcodes: list[str]
    genes: list[str]
    gene_ids: list[str]
    other_features: dict[str, int] = field(default_factory=dict)
    software: str = ""


def read_h5(path: str | Path, slide: str) -> TenxCounts:
    """Read a feature-barcode matrix in 10x HDF5.

    Parameters
    ----------
    path
        ``filtered_feature_bc_matrix.h5`` or a file of the same format.
    slide
        Name of the slide, for errors.

    Returns
    -------
    TenxCounts
        The counts of the gene expression features.

    Raises
    ------
    SlideError
        The file is missing, is not HDF5, or is another kind of HDF5 file; its arrays contradict
        each other; a barcode occurs twice; a count is not a whole number from 0 to 2,147,483,647.
    """
    import h5py

    path = Path(path)
    try:
        file = h5py.File(path)
    except FileNotFoundError as error:
        raise SlideError(slide, f"there is no file {path}", "put it back") from error
    except OSError as error:
        raise SlideError(
            slide, f"{path} cannot be read as HDF5: it is damaged or cut off", _AGAIN
        ) from error
    with file:
        try:
            return _read_group(file, path, slide)
        except (OSError, KeyError) as error:
            raise SlideError(slide, f"{path} is damaged: {error}", _AGAIN) from error


def _read_group(file: "h5py.File", path: Path, slide: str) -> TenxCounts:
    if "matrix" not in file or "features" not in file["matrix"]:
        groups = ", ".join(list(file)[:5]) or "nothing"
        raise SlideError(
            slide,
            f"{path} is not a feature-barcode matrix: it has no group matrix with features, but "
            f"{groups}",
            "give the filtered_feature_bc_matrix.h5 that Space Ranger wrote",
        )
    group = file["matrix"]
    features = group["features"]
    names, ids = _texts(features["name"]), _texts(features["id"])
    types = _texts(features["feature_type"]) if "feature_type" in features else [GENES] * len(names)
    barcodes = _texts(group["barcodes"])
    starts = group["indptr"][:].astype(np.int64)
    values, places = group["data"], group["indices"]
    count = len(values)
    shape = [int(size) for size in group["shape"][:]]
    agree = (
        shape == [len(names), len(barcodes)]
        and len(ids) == len(types) == len(names)
        and len(starts) == len(barcodes) + 1
        and starts[0] == 0
        and starts[-1] == count == len(places)
        and (np.diff(starts) >= 0).all()
    )
    if not agree:
        raise SlideError(
            slide,
            f"{path} contradicts itself: shape {' x '.join(map(str, shape))}, {len(names):,} "
            f"features, {len(barcodes):,} barcodes, {count:,} counts, {len(starts):,} starts of "
            "barcodes",
            _AGAIN,
        )
    builder = _Builder(slide, path, names, types, barcodes, count)
    for begin in range(0, count, PIECE):
        end = min(begin + PIECE, count)
        builder.add(values[begin:end], places[begin:end], begin, starts)
    software = file.attrs.get("software_version", "")
    software = software.decode() if isinstance(software, bytes) else str(software)
    return builder.counts(builder.finished(starts), ids, software)


def _texts(dataset: "h5py.Dataset") -> list[str]:
    values = dataset[:]
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8").tolist()
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


class _Builder:
    """Collect the counts of genes, piece by piece, in the arrays of a CSR matrix."""

    def __init__(
        self,
        slide: str,
        path: Path,
        names: list[str],
        types: list[str],
        barcodes: list[str],
        count: int,
    ) -> None:
        self.slide, self.path = slide, path
        self.names, self.types, self.barcodes = names, types, barcodes
        if not barcodes or not names:
            raise SlideError(
                slide, f"{path} has {len(barcodes):,} barcodes and {len(names):,} features", _AGAIN
            )
        if len(set(barcodes)) < len(barcodes):
            barcode, often = Counter(barcodes).most_common(1)[0]
            raise SlideError(
                slide,
                f"{path}: barcode {barcode[:80]!r} occurs {often} times",
                "give the matrix of one sample, as Space Ranger wrote it",
            )
        self.is_gene = np.array([kind == GENES for kind in types], bool)
        if not self.is_gene.any():
            raise SlideError(
                slide,
                f"{path} has no feature of the type {GENES!r}, only "
                f"{', '.join(sorted(set(types)))}",
                "give the matrix with the gene expression",
            )
        self.column = (np.cumsum(self.is_gene) - 1).astype(np.int32)
        # Space for every entry of the file; unused pages cost no memory.
        self.values, self.columns = np.empty(count, np.int32), np.empty(count, np.int32)
        self.used = 0
        self.dropped: list[np.ndarray] = [np.empty(0, np.int64)]

    def add(self, values: np.ndarray, places: np.ndarray, begin: int, starts: np.ndarray) -> None:
        """Add the entries ``begin``, ``begin + 1``, ... of the file."""
        if places.min() < 0 or places.max() >= len(self.names):
            raise SlideError(
                self.slide,
                f"{self.path} contradicts itself: a count refers to feature {places.max():,} of "
                f"{len(self.names):,} (numbered from 0)",
                _AGAIN,
            )
        wrong = ~((values >= 0) & (values <= _LARGEST))
        if values.dtype.kind == "f":
            wrong |= values != np.rint(values)
        if wrong.any():
            first = int(np.argmax(wrong))
            spot = int(np.searchsorted(starts, begin + first, side="right")) - 1
            raise SlideError(
                self.slide,
                f"{self.path}: the count of {self.names[int(places[first])]} at barcode "
                f"{self.barcodes[spot]} is {values[first]}, expected a whole number from 0 to "
                f"{_LARGEST:,}",
                _RAW,
            )
        keep = (values != 0) & self.is_gene[places]
        if not keep.all():
            self.dropped.append(begin + np.flatnonzero(~keep))
            values, places = values[keep], places[keep]
        end = self.used + len(values)
        self.values[self.used : end] = values
        self.columns[self.used : end] = self.column[places]
        self.used = end

    def finished(self, starts: np.ndarray) -> "csr_matrix":
        """Return the matrix; ``starts`` is the index pointer over all entries of the file."""
        from scipy.sparse import csr_matrix

        starts = starts - np.searchsorted(np.concatenate(self.dropped), starts)
        if starts[-1] <= _LARGEST:
            starts = starts.astype(np.int32)
        shape = (len(self.barcodes), int(self.is_gene.sum()))
        for array in (self.values, self.columns):
            array.resize(self.used, refcheck=False)
        matrix = csr_matrix((self.values, self.columns, starts), shape=shape)
        if not matrix.has_sorted_indices:
            matrix.sort_indices()
        if not matrix.has_canonical_format:
            raise SlideError(
                self.slide, f"{self.path} has two counts of one gene and barcode", _AGAIN
            )
        return matrix

    def counts(self, matrix: "csr_matrix", ids: list[str], software: str) -> TenxCounts:
        """Return the matrix with the names of its rows and columns."""
        genes = np.flatnonzero(self.is_gene).tolist()
        return TenxCounts(
            matrix,
            self.barcodes,
            [self.names[place] for place in genes],
            [ids[place] for place in genes],
            dict(sorted(Counter(kind for kind in self.types if kind != GENES).items())),
            software,
        )


def read_mtx(
    matrix: BinaryIO, barcodes: BinaryIO, features: BinaryIO, slide: str, names: dict[str, str]
) -> TenxCounts:
    """Read a feature-barcode matrix in Market Exchange format.

    Parameters
    ----------
    matrix, barcodes, features
        The three files, open for reading and decompressed. ``features`` is ``features.tsv`` (id,
        name, type), ``genes.tsv`` (id, name), or a file of names only.
    slide
        Name of the slide, for errors.
    names
        Names of the three files for errors; the keys are ``matrix``, ``barcodes``, ``features``.

    Returns
    -------
    TenxCounts
        The counts of the gene expression features. The entries of the file may be in any order.

    Raises
    ------
    SlideError
        A file is empty, truncated or not text; the three files contradict each other; a count is
        not a whole number from 0 to 2,147,483,647, or occurs twice.
    """
    rows = _rows(features, slide, names["features"])
    ids = [row[0] for row in rows]
    genes = [row[1] if len(row) > 1 else row[0] for row in rows]
    types = [row[2] if len(row) > 2 else GENES for row in rows]
    spots = [row[0] for row in _rows(barcodes, slide, names["barcodes"])]
    (height, width, count), software, line = _read_head(matrix, slide, names["matrix"])
    if (height, width) != (len(ids), len(spots)):
        turned = (height, width) == (len(spots), len(ids))
        raise SlideError(
            slide,
            f"{names['matrix']} is {height:,} x {width:,}, but {names['features']} has "
            f"{len(ids):,} features and {names['barcodes']} {len(spots):,} barcodes"
            + ("; the matrix is transposed" if turned else ""),
            "give the three files of one matrix: features are its rows, barcodes its columns",
        )
    builder = _Builder(slide, Path(names["matrix"]), genes, types, spots, count)
    places, owners, values = _read_entries(matrix, line, (height, width, count), slide, names)
    if (np.diff(owners) < 0).any():  # programs other than Space Ranger write any order
        order = np.argsort(owners, kind="stable")
        places, owners, values = places[order], owners[order], values[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=width))])
    del owners
    for begin in range(0, count, PIECE):
        piece = slice(begin, min(begin + PIECE, count))
        builder.add(values[piece], places[piece], begin, starts)
    del places, values
    return builder.counts(builder.finished(starts), ids, software)


def _rows(file: BinaryIO, slide: str, name: str) -> list[list[str]]:
    """Read rows separated by tabs; fields may be quoted, empty lines are skipped."""
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        rows = [row for row in csv.reader(text, delimiter="\t") if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SlideError(slide, f"{name} cannot be read as text: {error}", _AGAIN) from error
    finally:
        text.detach()
    if not rows:
        raise SlideError(slide, f"{name} is empty", _AGAIN)
    return rows


def _read_head(file: BinaryIO, slide: str, name: str) -> tuple[tuple[int, int, int], str, int]:
    """Read the lines before the entries: sizes, the program that wrote them, number of lines."""
    first = file.readline(1 << 16)
    wanted = "give the matrix.mtx that Space Ranger wrote"
    if not first.startswith(b"%%MatrixMarket matrix coordinate"):
        raise SlideError(
            slide,
            f"{name} is not a matrix in Market Exchange format: it begins with "
            f"{first[:40].decode(errors='replace')!r}",
            wanted,
        )
    software, line, number = "", b"%", 1
    while line.startswith(b"%") or line.isspace():
        line = file.readline(1 << 16)
        number += 1
        if stated := re.search(rb'"software_version":\s*"([^"]+)"', line):
            software = stated[1].decode(errors="replace")
    try:
        height, width, count = map(int, line.split())
    except ValueError:
        raise SlideError(
            slide,
            f"{name}, line {number}: expected the numbers of rows, columns and counts, found "
            f"{line[:60].decode(errors='replace')!r}",
            _AGAIN,
        ) from None
    if min(height, width, count) < 0 or count > height * width:
        raise SlideError(
            slide,
            f"{name}, line {number}: {count:,} counts in a matrix of {height:,} x {width:,}",
            _AGAIN,
        )
    if count and (b"pattern" in first or b"general" not in first):
        kind = " ".join(first.decode(errors="replace").split()[3:])
        raise SlideError(slide, f"{name} is a matrix of the kind {kind!r}, not of counts", wanted)
    return (height, width, count), software, number


def _read_entries(
    file: BinaryIO, line: int, sizes: tuple[int, int, int], slide: str, names: dict[str, str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the entries: rows and columns counted from 0, and values; three int32 arrays."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    height, width, count = sizes
    name = names["matrix"]
    places, owners, values = (np.empty(count, np.int32) for _ in range(3))
    if count == 0:
        return places, owners, values
    done = 0
    try:
        reader = arrow_csv.open_csv(
            pa.PythonFile(file, mode="r"),
            read_options=arrow_csv.ReadOptions(
                column_names=["row", "column", "value"], block_size=1 << 24
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=" "),
            convert_options=arrow_csv.ConvertOptions(
                column_types={"row": pa.int64(), "column": pa.int64(), "value": pa.float64()}
            ),
        )
        for batch in reader:
            row, column, value = (batch[i].to_numpy(zero_copy_only=False) for i in range(3))
            end = done + len(row)
            wrong = ~((value >= 0) & (value <= _LARGEST) & (value == np.rint(value)))
            wrong |= ~((row >= 1) & (row <= height) & (column >= 1) & (column <= width))
            if wrong.any():
                first = int(np.argmax(wrong))
                raise SlideError(
                    slide,
                    f"{name}, line {line + 1 + done + first}: found {row[first]} {column[first]} "
                    f"{value[first]:g}, expected a row up to {height:,}, a column up to {width:,} "
                    f"and a whole number from 0 to {_LARGEST:,}",
                    _RAW,
                )
            if end > count:
                raise SlideError(
                    slide, f"{name} has more counts than its header states ({count:,})", _AGAIN
                )
            places[done:end], owners[done:end], values[done:end] = row - 1, column - 1, value
            done = end
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0][:200]
        raise SlideError(
            slide, f"{name} cannot be read after line {line + done}: {reason}", _AGAIN
        ) from error
    except (EOFError, ValueError) as error:
        raise SlideError(slide, f"{name} is cut off: {error}", _AGAIN) from error
    if done < count:
        raise SlideError(
            slide,
            f"{name} has {done:,} counts, but its header states {count:,}: it is cut off",
            _AGAIN,
        )
    return places, owners, values
