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

    Opens the meta table only; of the other files it takes names and sizes, and reads them for
    their sha256 when ``checksums`` asks for it.

    Raises
    ------
    CatalogueError
        There is no such folder, no meta table in it, or one that cannot be used.
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
    """List the files of the layout's own folders, and what else lies directly in the dataset.

    An entry that cannot be followed (a link that leads nowhere or to itself) counts as no file. A
    folder that is not of the layout is listed as one entry, its name and a slash, and not searched.
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
                except OSError:  # a link that leads to itself
                    continue
                if is_file:
                    listing[path] = Entry(entry.stat().st_size)
                elif entry.is_dir() and path not in own and path not in TECHS:
                    listing[f"{path}/"] = Entry(0)
    return dict(sorted(listing.items()))
