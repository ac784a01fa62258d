"""Product files: read and write what a product was made from, and check that it is complete."""

import errno
import json
import os
import zipfile
from pathlib import Path

from st1k4m.run.provenance import KEY, Made

_JPEG_START, _JPEG_COMMENT = b"\xff\xd8", b"\xff\xfe"


def read_made(path: str | os.PathLike[str]) -> Made | None:
    """Read from a product what it was made from.

    Returns
    -------
    Made or None
        None if the product does not state it.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or is damaged.
    """
    path = Path(path)
    text = _READERS[path.suffix](path)
    return Made.from_text(text) if text else None


def read_origins(record: str | os.PathLike[str]) -> list[Made]:
    """Read from a slide's record what its products were made from; empty if it is damaged."""
    try:
        text = Path(record).read_text(encoding="utf-8")
        return [Made(**made) for made in json.loads(text)[KEY].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def stamp(path: str | os.PathLike[str], suffix: str, made: Made) -> None:
    """Write into a product what it was made from, before the file is put in place.

    Parameters
    ----------
    path
        An HDF5 file or a JPEG. Products of other formats are written with this statement.
    suffix
        Suffix of the product's final name: ``.h5``, ``.h5ad`` or ``.jpg``.
    made
        What the product was made from.
    """
    if suffix == ".jpg":
        text = made.text.encode()
        content = Path(path).read_bytes()
        length = (len(text) + 2).to_bytes(2, "big")
        Path(path).write_bytes(
            _JPEG_START + _JPEG_COMMENT + length + text + content[len(_JPEG_START) :]
        )
        return
    import h5py

    with h5py.File(path, "r+") as file:
        file.attrs[KEY] = made.text


def is_damaged(path: str | os.PathLike[str]) -> bool:
    """Return whether a product exists but cannot be opened: it is truncated or empty."""
    if not os.path.isfile(path) or Path(path).suffix not in _READERS:
        return False
    try:
        read_made(path)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError):
        return True
    return False


def _from_hdf5(path: Path) -> str:
    import h5py
    import numpy as np

    if not path.exists():  # h5py's message does not always state this
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    # h5py's low-level interface takes a third of the time; a training reads every slide's files.
    file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY)
    if not h5py.h5a.exists(file, KEY.encode()):
        return ""
    attribute = h5py.h5a.open(file, KEY.encode())
    text = np.empty((), attribute.dtype)
    attribute.read(text)
    content = text.item()
    return content.decode() if isinstance(content, bytes) else str(content)


def _from_parquet(path: Path) -> str:
    import pyarrow.parquet as pq

    with open(path, "rb") as file:
        metadata = pq.ParquetFile(file).schema_arrow.metadata or {}
    return str(metadata.get(KEY.encode(), b"").decode())


def _from_npz(path: Path) -> str:
    import numpy as np

    try:
        with np.load(path) as file:
            return str(file[KEY]) if KEY in file.files else ""
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _from_json(path: Path) -> str:
    made = json.loads(path.read_text(encoding="utf-8")).get(KEY)
    return json.dumps(made["build_anndata"]) if made else ""


def _from_jpeg(path: Path) -> str:
    with open(path, "rb") as file:
        if file.read(2) != _JPEG_START:
            raise ValueError(f"{path} is not a JPEG file")
        if file.read(2) != _JPEG_COMMENT:
            return ""
        return file.read(int.from_bytes(file.read(2), "big") - 2).decode()


def _from_script(path: Path) -> str:
    """Check that a page of the report is complete; it does not state what it was made from.

    A truncated page does not end with the end of its last call.
    """
    if not path.read_bytes().endswith(b");\n"):
        raise ValueError(f"{path} is truncated")
    return ""


_READERS = {
    ".h5": _from_hdf5,
    ".h5ad": _from_hdf5,
    ".parquet": _from_parquet,
    ".json": _from_json,
    ".npz": _from_npz,
    ".jpg": _from_jpeg,
    ".js": _from_script,
}
