"""Read and write checksums of the results in the format of ``sha256sum -c``."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from st1k4m.run import outputs

_HEX = 64


@dataclass(frozen=True, order=True)
class File:
    """A file of the results.

    Attributes
    ----------
    path
        Relative to the folder of the results, with ``/``.
    sha256
        Checksum of its content, 64 hexadecimal digits.
    """

    path: str
    sha256: str


def hash_products(root: str | Path, products: Iterable[str | Path], sums: str | Path) -> None:
    """Write the checksums of some products.

    Parameters
    ----------
    root
        The folder of the results.
    products
        Files below it, and folders, which stand for all their files.
    sums
        The file to write.
    """
    write_sums(sums, [hash_file(root, path) for path in list_files(products)])


def list_files(products: Iterable[str | Path]) -> list[Path]:
    """Return the files among ``products`` and in the folders among them, sorted.

    Snakemake's marker file of a folder's time is left out.
    """
    files = set()
    for product in map(Path, products):
        if not product.is_dir():
            files.add(product)
            continue
        for folder, _, names in os.walk(product):
            files.update(Path(folder, name) for name in names if name != ".snakemake_timestamp")
    return sorted(files)


def hash_file(root: str | Path, path: str | Path) -> File:
    """Return the path relative to ``root`` and the checksum of a file."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return File(Path(path).relative_to(root).as_posix(), digest)


def write_sums(path: str | Path, files: Iterable[File]) -> None:
    """Write checksums, one line per file, sorted by path; whole or not at all."""
    outputs.write_text(path, "".join(f"{file.sha256}  {file.path}\n" for file in sorted(files)))


def read_sums(path: str | Path) -> list[File]:
    """Read what `write_sums` wrote."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [File(line[_HEX + 2 :], line[:_HEX]) for line in lines]
