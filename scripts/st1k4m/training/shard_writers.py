"""Write files of samples: tar for WebDataset, parquet for Hugging Face's datasets."""

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from st1k4m.training.shard_options import TILES, ShardOptions

_BLOCK = 512  # bytes in a block of a tar
_RECORD = 20 * _BLOCK  # the length of a tar is a multiple of this
_BATCH = 256  # samples


@dataclass(frozen=True)
class Sample:
    """One pair: the encoded tile, and the other values of `Pairs`."""

    tile: bytes
    values: dict[str, Any]


class HashingFile:
    """A file to write to; ``digest`` is the SHA-256 of the bytes written."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Write all of ``content``."""
        self.digest.update(content)
        self._file.write(content)
        return len(content)

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._file.tell()

    def flush(self) -> None:
        """Do nothing: the code that opened the file closes it."""

    close = flush


class TarWriter(contextlib.AbstractContextManager):
    """A tar whose bytes depend only on the samples.

    A sample is ``{key}.jpg``, ``.webp`` or ``.png``; ``{key}.npy``, the expression;
    ``{key}.counts.npy``, the counts; ``{key}.json``, everything else. The key is the number of the
    pair. It is not the name of the slide, because WebDataset cuts keys at a dot.
    """

    def __init__(
        self,
        out: HashingFile,
        genes: Sequence[str],
        labels: Sequence[str],
        options: ShardOptions,
        group: int,
    ) -> None:
        self._out = out
        self._ending = TILES[options.tile]
        self._labels = [*labels, None]
        self._headers: dict[str, bytes] = {}
        self._present: dict[bytes, str] = {}

    def __exit__(self, *error: object) -> None:
        written = self._out.tell() + 2 * _BLOCK
        self._out.write(bytes(2 * _BLOCK + -written % _RECORD))

    def add(self, sample: Sample) -> None:
        """Add a sample."""
        values = sample.values
        files = {self._ending: sample.tile}
        for name, ending in (("expression", ".npy"), ("counts", ".counts.npy")):
            if name in values:
                files[ending] = self._npy(values[name])
        files[".json"] = self._describe(values)
        parts = []
        for ending, content in files.items():
            header = tar_header(f"{values['index']:09d}{ending}", len(content))
            parts += [header, content, bytes(-len(content) % _BLOCK)]
        self._out.write(b"".join(parts))

    def _describe(self, values: dict[str, Any]) -> bytes:
        """Return the values other than tile and arrays, as JSON."""
        about = {"slide": values["slide"], "spot": values["spot"], "index": int(values["index"])}
        if "label" in values:
            about["label"] = self._labels[values["label"]]
        if "present" in values:
            present = values["present"].tobytes()
            if present not in self._present:  # it is the same for all pairs of a slide
                self._present[present] = json.dumps(values["present"].astype(int).tolist())
            return f'{_to_json(about)[:-1]}, "present": {self._present[present]}}}'.encode()
        return _to_json(about).encode()

    def _npy(self, values: np.ndarray) -> bytes:
        """Return an array in the npy format; all arrays of a dtype have the same header."""
        kind = values.dtype.str
        if kind not in self._headers:
            head = io.BytesIO()
            np.lib.format.write_array(head, values)
            self._headers[kind] = head.getvalue()[: -values.nbytes or None]
        return self._headers[kind] + values.tobytes()


def tar_header(name: str, size: int) -> bytes:
    """Return the tar header of a file.

    It equals that of ``tarfile.TarInfo.tobuf``. Only name, size and checksum are written into a
    prepared header: a sample has three files, and ``tobuf`` for each took a third of the time of
    encoding a JPEG tile.
    """
    path, length = name.encode("ascii"), b"%011o" % size
    header = bytearray(_HEADER)
    header[: len(path)] = path
    header[124:135] = length
    header[148:155] = b"%06o\0" % (_HEADER_SUM + sum(path) + sum(length))
    return bytes(header)


def _blank_header() -> bytes:
    """Return a header without name and size, and with spaces as its checksum.

    The format defines the checksum as the sum of the header's bytes with these spaces.
    """
    header = bytearray(tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT))
    header[124:135] = bytes(11)
    header[148:156] = b" " * 8
    return bytes(header)


_HEADER = _blank_header()
_HEADER_SUM = sum(_HEADER)

_to_json = json.JSONEncoder(ensure_ascii=False).encode


class ParquetWriter(contextlib.AbstractContextManager):
    """A parquet file that ``datasets`` opens with an Image feature and lists of fixed length."""

    def __init__(
        self,
        out: HashingFile,
        genes: Sequence[str],
        labels: Sequence[str],
        options: ShardOptions,
        group: int,
    ) -> None:
        self._labels = [*labels, None]
        self._ending = TILES[options.tile]
        self._group = group
        self._schema = _schema(len(genes), options, genes)
        self._writer = pq.ParquetWriter(
            out,
            self._schema,
            compression={
                **dict.fromkeys(_leaves(self._schema), "zstd"),
                "image.bytes": "none",  # is compressed
            },
            use_dictionary=["slide"],
            write_page_index=True,
        )
        self._rows: list[Sample] = []
        self._batches: list[pa.RecordBatch] = []
        self._held = 0

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._writer.close()

    def add(self, sample: Sample) -> None:
        """Add a sample."""
        self._rows.append(sample)
        self._held += 1
        if self._held == self._group:
            self._flush()
        elif len(self._rows) == _BATCH:
            self._pack()

    def _pack(self) -> None:
        """Convert the samples to an Arrow batch, which frees the memory of each sample."""
        columns = [self._column(field) for field in self._schema]
        self._batches.append(pa.record_batch(columns, schema=self._schema))
        self._rows = []

    def _flush(self) -> None:
        """Write a row group."""
        if self._rows:
            self._pack()
        if self._batches:
            group = pa.Table.from_batches(self._batches)
            self._writer.write_table(group, row_group_size=self._group)
        self._batches, self._held = [], 0

    def _column(self, field: pa.Field) -> pa.Array:
        if field.name == "image":
            names = [f"{row.values['index']:09d}{self._ending}" for row in self._rows]
            parts = [pa.array([row.tile for row in self._rows], pa.binary()), pa.array(names)]
            return pa.StructArray.from_arrays(parts, ["bytes", "path"])
        values = [row.values[field.name] for row in self._rows]
        if field.name == "label":
            return pa.array([self._labels[value] for value in values], field.type)
        if pa.types.is_fixed_size_list(field.type):
            flat = pa.array(np.concatenate(values), field.type.value_type)
            return pa.FixedSizeListArray.from_arrays(flat, field.type.list_size)
        return pa.array(values, field.type)


WRITERS = {"webdataset": TarWriter, "parquet": ParquetWriter}


def _schema(width: int, options: ShardOptions, genes: Sequence[str]) -> pa.Schema:
    """Return the schema; its metadata has the features for ``datasets``, and the genes."""
    fields = {"image": pa.struct([("bytes", pa.binary()), ("path", pa.string())])}
    features: dict[str, dict] = {"image": {"_type": "Image"}}
    arrays = {
        "expression": (pa.float32(), "float32", options.target in ("log1p", "both")),
        "counts": (pa.int32(), "int32", options.target in ("counts", "both")),
        "present": (pa.bool_(), "bool", options.target != "none"),
    }
    for name, (kind, dtype, wanted) in arrays.items():
        if wanted:
            fields[name] = pa.list_(kind, width)
            value = {"dtype": dtype, "_type": "Value"}
            # releases of datasets before 4 have no List, and later ones read Sequence as List
            features[name] = {"feature": value, "length": width, "_type": "Sequence"}
    for name, kind, dtype in (
        ("slide", pa.string(), "string"),
        ("spot", pa.string(), "string"),
        ("index", pa.int64(), "int64"),
        *([("label", pa.string(), "string")] if options.labels else []),
    ):
        fields[name] = kind
        features[name] = {"dtype": dtype, "_type": "Value"}
    about = {"info": {"features": features}}
    return pa.schema(
        fields,
        {"huggingface": json.dumps(about), "genes": json.dumps(list(genes), ensure_ascii=False)},
    )


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the paths of the columns in parquet."""
    leaves = []
    for field in schema:
        if pa.types.is_struct(field.type):
            leaves += [f"{field.name}.{part.name}" for part in field.type]
        elif pa.types.is_fixed_size_list(field.type):
            leaves.append(f"{field.name}.list.element")
        else:
            leaves.append(field.name)
    return leaves
