"""Read dense count files (spots by genes) in one pass into a sparse matrix."""

import contextlib
import csv
import itertools
import os
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from st1k4m import codes
from st1k4m.dataset import slide_of
from st1k4m.errors import SlideError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_BLOCK = 1 << 21
"""Bytes read at a time; small enough that a block and its result fit the processor's cache."""

_LONGEST_LINE = 1 << 24
"""Bytes; a longer line means that a quote is never closed or that this is not a count file."""

_MOST_AT_FIRST = 1 << 28
"""Entries; the largest array that is allocated before its entries are read."""

_NUMBER = re.compile(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*")
_FIRST_NAMES = {"spot", "barcode", "id", "index", "unnamed: 0"}
"""Names that programs give to the column of spot ids; no gene has such a name."""

_LARGEST = np.iinfo(np.int32).max
_HINT = "fetch the file again, or export it again as whole numbers, one row per spot"


@dataclass(frozen=True)
class Counts:
    """The counts of one slide.

    Attributes
    ----------
    matrix
        (spots, genes) int32, CSR, columns of a row in ascending order, no stored zeros.
    spots
        Spot ids as printed, in the order of the file.
    genes
        Gene names as printed, in the order of the file; a name may occur more than once.
    warnings
        Problems of a file that could be read, as sentences.
    gene_ids
        One id per gene if the file has ids in addition to names, else empty.
    flags
        Codes of problems to check before the counts are used; each also has a warning.
    """

    matrix: "csr_matrix"
    spots: list[str]
    genes: list[str]
    warnings: tuple[str, ...] = ()
    gene_ids: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def read_counts(path: str | Path, threads: int = 1) -> Counts:
    """Read ``<slide>_count.csv``: a header of gene names, then a row ``spot,count,...`` per spot.

    Counts may be printed as ``3``, ``3.0`` or any other form of a whole number. Fields may be
    quoted, lines may end in LF or CRLF, and the last line end may be missing. A byte order mark
    and empty lines are skipped. The header may have a name for the first column, an empty one, or
    none.

    The file is read in blocks of whole lines. The memory used is the result and a few blocks,
    whatever the length of the file.

    Parameters
    ----------
    path
        The file.
    threads
        Number of blocks read at the same time. The result does not depend on it.

    Returns
    -------
    Counts
        Exactly the contents of the file.

    Raises
    ------
    SlideError
        The file is missing, empty, has no genes or no spots, or is not UTF-8 text; the header
        names the column of spot ids but has one name less than the first row has fields; a row
        has too few values (for example in a truncated file) or too many, no spot id, or the id of
        an earlier row; a value is not a whole number from 0 to 2,147,483,647. The message names
        file, line, column, gene and what was found.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _Reader(path, file).read(threads)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise SlideError(
            slide_of(path, "counts"), f"{path.name} is not a file", "fetch it again"
        ) from error


class _Fault(Exception):
    """An error in a line of the file; ``line`` is counted from 0."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(line, what)
        self.line = line
        self.what = what


@dataclass
class _Rows:
    """Rows of one block; the arrays are views, valid until the block is filled again."""

    indices: np.ndarray
    values: np.ndarray
    sizes: np.ndarray
    spots: list[str]
    lines: np.ndarray
    bytes_read: int
    lines_read: int


class _Reader:
    """One reading of one file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        self.line = 0
        with self._naming_faults():
            self.genes, self.begin, self.line = self._read_header()

    @contextlib.contextmanager
    def _naming_faults(self) -> Iterator[None]:
        """Turn a fault in the current block into a SlideError with file and line."""
        try:
            yield
        except _Fault as fault:
            place = f"{self.path.name}, line {self.line + fault.line + 1}"
            raise SlideError(
                slide_of(self.path, "counts"), f"{place}: {fault.what}", _HINT
            ) from None

    def _read_header(self) -> tuple[list[str], int, int]:
        """Return the genes, and the byte and the line where the rows begin."""
        records = _records(self.file)
        header, begin, line = next(records, (None, 0, 0))
        if header is None:
            raise _Fault(0, "the file is empty")
        first, *_ = next(records, (None, 0, 0))
        # R writes no name for the first column; a row then has one field more than the header.
        unnamed = first is not None and len(first) == len(header) + 1 and header[0] != ""
        if unnamed and header[0].casefold() in _FIRST_NAMES:
            raise _Fault(
                line - 1,
                f"the header names its first column, {header[0]!r}, and has {len(header):,} names "
                f"where the next line has {len(first):,} fields: a gene's name is missing",
            )
        self.unnamed = unnamed
        genes = header if unnamed else header[1:]
        if not genes:
            raise _Fault(0, f"the header has no gene, it is {','.join(header)[:80]!r}")
        for gene in genes:
            if "\0" in gene:
                raise _Fault(line - 1, f"{gene[:80]!r} is not a gene name")
        if first is None:
            raise _Fault(0, f"no spot follows the header of {len(genes):,} genes")
        return genes, begin, line

    def read(self, threads: int) -> Counts:
        """Read the rows."""
        from scipy.sparse import csr_matrix

        indices, values = _Column(), _Column()
        sizes: list[np.ndarray] = [np.zeros(1, np.int64)]
        spots: list[str] = []
        lines: list[np.ndarray] = []
        done = 0
        with self._naming_faults():
            for rows in self._read_blocks(threads):
                done += rows.bytes_read
                share = done / (self.size - self.begin)
                indices.extend(rows.indices, share)
                values.extend(rows.values, share)
                sizes.append(rows.sizes)
                spots += rows.spots
                lines.append(rows.lines + self.line)
                self.line += rows.lines_read
            self.line = 0
            _refuse_repeated(spots, np.concatenate(lines))
        ends = np.cumsum(np.concatenate(sizes))
        if ends[-1] <= _LARGEST:
            ends = ends.astype(np.int32)
        matrix = csr_matrix(
            (values.finished(), indices.finished(), ends), shape=(len(spots), len(self.genes))
        )
        matrix.has_canonical_format = True
        flags = (codes.FIRST_GENE_UNSURE,) if self.unnamed else ()
        return Counts(matrix, spots, self.genes, self._warnings(), flags=flags)

    def _read_blocks(self, threads: int) -> Iterator[_Rows]:
        """Yield the rows of the file, block by block in order, while later blocks are being read.

        A block ends with a line end. If that line end is within quotes, reading starts again at
        the incomplete line. If a block has no complete line, larger blocks are used.
        """
        position, size = self.begin, _BLOCK
        free: list[_Block] = []
        ahead = threads + 1 if threads > 1 else 1
        with ThreadPoolExecutor(threads) as pool:
            while position < self.size:
                begin = position
                blocks = self._fill_blocks(position, size, free)
                for rows in self._read_run(blocks, pool, ahead, free):
                    position += rows.bytes_read
                    if rows.bytes_read:
                        yield rows
                if position == begin:
                    size, free = _larger(size), []

    def _fill_blocks(self, position: int, size: int, free: list["_Block"]) -> Iterator["_Block"]:
        """Yield blocks of whole lines from a byte on; stop at a line longer than a block."""
        while position < self.size:
            block = free.pop() if free else _Block(size)
            block.fill(self.file, position, self.size)
            if block.stop == 0:
                return
            position += block.stop
            yield block

    def _read_run(
        self, blocks: Iterator["_Block"], pool: ThreadPoolExecutor, ahead: int, free: list["_Block"]
    ) -> Iterator[_Rows]:
        """Yield the rows of blocks; ``ahead`` blocks are read at once.

        Stop after the first block that is not read to its end. Put used blocks into ``free``.
        """
        pending: deque[tuple[_Block, Future[_Rows]]] = deque()

        def begin(number: int) -> None:
            for block in itertools.islice(blocks, number):
                pending.append((block, pool.submit(block.scan, self.genes)))

        begin(ahead)
        while pending:
            block, scan = pending.popleft()
            rows = scan.result()
            yield rows
            free.append(block)
            if rows.bytes_read < block.stop:
                break
            begin(1)
        for block, scan in pending:  # these blocks began at a wrong byte
            with contextlib.suppress(_Fault):
                scan.result()
            free.append(block)

    def _warnings(self) -> tuple[str, ...]:
        warnings = []
        if self.unnamed:
            warnings.append(
                f"the header of {self.path.name} has no name for the first column, as R writes it: "
                f"its first name, {self.genes[0][:80]!r}, is taken for a gene; if it is not one, "
                "every value has the name of the gene before its own"
            )
        self.file.seek(-1, 2)
        if self.file.read() != b"\n":
            warnings.append(
                f"{self.path.name} does not end with a line end: its last value may be cut off"
            )
        return tuple(warnings)


def _larger(size: int) -> int:
    """Return the next block size, for a line that is longer than a block."""
    if size >= _LONGEST_LINE:
        raise _Fault(0, f"the line is longer than {size >> 20:,} MB, or a quote is never closed")
    return 2 * size


def _refuse_repeated(spots: list[str], lines: np.ndarray) -> None:
    if len(set(spots)) == len(spots):
        return
    seen: dict[str, int] = {}
    for spot, line in zip(spots, lines.tolist(), strict=True):
        if spot in seen:
            raise _Fault(line, f"spot {spot[:80]!r} is on line {seen[spot] + 1} already")
        seen[spot] = line


class _Column:
    """An int32 array that grows in place, without a second copy of its values."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None
        self.used = 0

    def extend(self, part: np.ndarray, share: float) -> None:
        """Add ``part``; ``share`` is the fraction of the file that has then been read."""
        end = self.used + len(part)
        if self.array is None:
            # Enough for the whole file if the rest is similar; unused pages cost no memory.
            self.array = np.empty(min(int(1.2 * end / share) + 1, _MOST_AT_FIRST), np.int32)
        if end > len(self.array):
            self.array.resize(end + end // 16, refcheck=False)
        self.array[self.used : end] = part
        self.used = end

    def finished(self) -> np.ndarray:
        self.array.resize(self.used, refcheck=False)
        return self.array


class _Block:
    """A piece of the file, and the arrays for the values read from it."""

    def __init__(self, size: int) -> None:
        from st1k4m.expression.dense_csv_scan import SLACK

        self.size = size
        self.bytes = bytearray(size + SLACK)
        # Each value takes at least one byte, its comma. Unused pages cost no memory.
        self.indices = np.empty(size + SLACK, np.int32)
        self.values = np.empty(size + SLACK, np.int32)
        self.odd = np.empty((size + SLACK, 3), np.int32)

    def fill(self, file: BinaryIO, start: int, end: int) -> None:
        """Read whole lines of a file of ``end`` bytes, from ``start`` on.

        ``stop`` becomes the number of bytes of these lines: 0 if the first does not fit.
        """
        file.seek(start)
        self.start = start
        self.last = end - start <= self.size
        wanted = min(self.size, end - start)
        if file.readinto(memoryview(self.bytes)[:wanted]) < wanted:
            raise _Fault(0, "the file became shorter while it was read, here or further down")
        self.stop = wanted if self.last else self.bytes.rfind(b"\n", 0, wanted) + 1

    def scan(self, genes: list[str]) -> _Rows:
        """Read the rows of the block.

        Raises
        ------
        _Fault
            A row is wrong; the fault is that of the first such row of the block.
        """
        from st1k4m.expression import dense_csv_scan

        most = self.stop // len(genes) + 1
        ends, names = np.empty(most, np.int64), np.empty((most, 3), np.int64)
        text = np.frombuffer(self.bytes, np.uint8)
        status, rows, bytes_read, lines_read, odds = dense_csv_scan.scan_rows(
            text, self.stop, len(genes), self.indices, self.values, ends, names, self.odd
        )
        entries = self._read_odd(odds, ends[:rows], names, genes)
        spots = [self._read_name(*name) for name in names[:rows].tolist()]
        if status == dense_csv_scan.OPEN_QUOTE and self.last:
            raise _Fault(lines_read, "a quote is opened and never closed")
        if status in (dense_csv_scan.TOO_SHORT, dense_csv_scan.TOO_LONG):
            raise _Fault(lines_read, self._miscounted(text, bytes_read, genes))
        return _Rows(
            indices=self.indices[:entries],
            values=self.values[:entries],
            sizes=np.diff(ends[:rows], prepend=0),
            spots=spots,
            lines=names[:rows, 2],
            bytes_read=bytes_read,
            lines_read=lines_read,
        )

    def _read_odd(self, odds: int, ends: np.ndarray, names: np.ndarray, genes: list[str]) -> int:
        """Fill in the values that the scan left open, drop zeros; return the number of entries."""
        for entry, begin, end in self.odd[:odds].tolist():
            text = self.bytes[begin:end].decode(errors="replace")
            try:
                self.values[entry] = _whole_number(text)
            except ValueError as error:
                row = np.searchsorted(ends, entry, side="right")
                column = self.indices[entry]
                what = f"column {column + 2} (gene {genes[column][:40]}): {text[:40]!r} {error}"
                raise _Fault(int(names[row, 2]), what) from None
        entries = int(ends[-1]) if len(ends) else 0
        if odds:
            kept = self.values[:entries] != 0
            ends[:] = np.concatenate([[0], np.cumsum(kept)])[ends]
            count = int(kept.sum())
            self.indices[:count] = self.indices[:entries][kept]
            self.values[:count] = self.values[:entries][kept]
            entries = count
        return entries

    def _read_name(self, begin: int, end: int, line: int) -> str:
        try:
            name = self.bytes[begin:end].decode()
            if '"' in name or "\r" in name:
                name = next(csv.reader([name]))[0]
        except (UnicodeDecodeError, csv.Error) as error:
            raise _Fault(line, f"the spot id cannot be read: {error}") from None
        if not name or "\0" in name:
            raise _Fault(line, f"{name[:80]!r} is not a spot id")
        return name

    def _miscounted(self, text: np.ndarray, begin: int, genes: list[str]) -> str:
        """Return a message that compares the number of values with the number of genes."""
        from st1k4m.expression.dense_csv_scan import end_of_field

        ends = [end_of_field(text, begin, self.stop)]
        while 0 <= ends[-1] < self.stop and self.bytes[ends[-1]] == ord(","):
            ends.append(end_of_field(text, ends[-1] + 1, self.stop))
        spot = self.bytes[begin : ends[0]].decode(errors="replace")
        what = f"spot {spot[:80]!r} has {len(ends) - 1:,} values for {len(genes):,} genes"
        if ends[-1] == self.stop and len(ends) <= len(genes):
            what += "; there is no line end, so the file is cut off here"
        return what


def _whole_number(text: str) -> int:
    """Return the count that a field states, in any notation.

    Raises
    ------
    ValueError
        The field is not a count. The message completes the sentence "<text> ...".
    """
    try:
        if text.startswith('"'):
            text = next(csv.reader([text]))[0]
        if not text.strip():
            raise ValueError("is empty")
        if not _NUMBER.fullmatch(text):
            raise ValueError("is not a number")
        number = Decimal(text.strip())
    except (csv.Error, InvalidOperation):
        raise ValueError("is not a usable number") from None
    if number < 0:
        raise ValueError("is negative")
    if number > _LARGEST:
        raise ValueError(f"is larger than {_LARGEST:,}")
    if number != number.to_integral_value():
        raise ValueError("is not a whole number")
    return int(number)


def _records(file: BinaryIO) -> Iterator[tuple[list[str], int, int]]:
    """Yield the fields of each line that is not empty, and the byte and line where it ends."""
    position = 0

    def lines() -> Iterator[str]:
        nonlocal position
        while raw := file.readline(_LONGEST_LINE):
            if len(raw) == _LONGEST_LINE:
                raise csv.Error(f"the line is longer than {_LONGEST_LINE >> 20} MB")
            encoding = "utf-8" if position else "utf-8-sig"
            position += len(raw)
            yield raw.decode(encoding)

    reader = csv.reader(lines())
    try:
        for fields in reader:
            if fields:
                yield fields, position, reader.line_num
    except (csv.Error, UnicodeDecodeError) as error:
        raise _Fault(max(reader.line_num - 1, 0), f"cannot be read as text: {error}") from None
