"""The catalogue of a folder in the dataset's layout."""

import hashlib
import logging
import os
from pathlib import Path

from st1k4m.dataset import KINDS
from st1k4m.errors import CatalogueError
from st1k4m.source.assemble import Entry, Listing, assemble
from st1k4m.source.catalogue import Catalogue
from st1k4m.source.meta_table import choose_table
from st1k4m.technologies import TECHS

log = logging.getLogger(__name__)


def from_folder(folder: str | os.PathLike, checksums: bool = False) -> Catalogue:
    """Make the catalogue of a folder in the dataset's layout.

    Only the meta table is opened; the other files give their names and sizes. With ``checksums``
    they are read too, for their sha256.

    Raises
    ------
    CatalogueError
        There is no such folder, or its meta table is missing or invalid.
    """
    folder = os.path.realpath(folder)
    if not os.path.isdir(folder):
        raise CatalogueError(
            f"dataset: there is no folder {folder}; give 'demo', a folder in the dataset's layout, "
            "or hf://datasets/OWNER/NAME@REVISION"
        )
    listing = list_folder(folder)
    table = choose_table(listing, folder)
    if checksums:
        for path, entry in listing.items():
            log.info("sha256 of %s", path)
            with open(os.path.join(folder, path), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            listing[path] = entry._replace(sha256=digest)
    return assemble(folder, "", listing, table, Path(folder, table).read_bytes())


def list_folder(folder: str) -> Listing:
    """List the files in the layout's folders and the entries directly in the dataset's folder.

    A broken link, or a link to itself, is left out. A folder outside the layout is listed as one
    entry, its name and a slash, and not searched.
    """
    own = {f"{tech}/{KINDS[kind][0]}" for tech in TECHS for kind in ("image", "counts", "coord")}
    own |= {"annotation", "meta"}
    listing: Listing = {}
    for within in ("", *TECHS, *sorted(own)):
        place = os.path.join(folder, within)
        if not os.path.isdir(place):
            continue
        with os.scandir(place) as entries:
            for entry in entries:
                path = f"{within}/{entry.name}" if within else entry.name
                try:
                    is_file = entry.is_file()
                except OSError:  # a link to itself
                    continue
                if is_file:
                    listing[path] = Entry(entry.stat().st_size)
                elif entry.is_dir() and path not in own and path not in TECHS:
                    listing[f"{path}/"] = Entry(0)
    return dict(sorted(listing.items()))
