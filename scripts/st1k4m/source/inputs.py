"""Check the files that a job reads, and open a slide's image wherever it is."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from st1k4m.errors import SlideError
from st1k4m.run import outputs
from st1k4m.source import places
from st1k4m.source.own_layout import files_of

if TYPE_CHECKING:
    import h5py

#: Images that an AnnData file may contain, the larger first.
PICTURES = ("hires", "lowres")


def require(slide: str, kind: str, path: str, layout: dict) -> str:
    """Return ``path`` if all files of this kind exist.

    Parameters
    ----------
    slide
        Name of the slide.
    kind
        ``counts``, ``coord`` or ``image``.
    path
        The path or place of the file.
    layout
        See `st1k4m.source.catalogue.Catalogue.layout`; empty for the dataset's own layout.

    Raises
    ------
    SlideError
        A file is missing, or the catalogue states that the slide's folder had no such file.
    """
    if not layout:
        labels = {"counts": "count file", "coord": "coordinate file", "image": "image"}
        return outputs.require(slide, labels[kind], path)
    if kind in layout["missing"]:
        raise SlideError(
            slide,
            layout["missing"][kind],
            "add the file or correct the table of slides, and run with refresh=true; or list the "
            "slide under exclude",
        )
    for place in files_of(layout[kind]):
        if not os.path.isfile(places.split(place)[0]):
            raise places.missing(slide, place)
    return path


@contextlib.contextmanager
def image_at_hand(
    slide: str, image: str | Path, layout: dict, folder: str | Path
) -> Iterator[Path]:
    """Provide a path from which the image can be read.

    Parameters
    ----------
    slide
        Name of the slide.
    image
        Its path or place, or the path of the AnnData file that contains it.
    layout
        See `st1k4m.source.catalogue.Catalogue.layout`; empty for the dataset's own layout.
    folder
        Folder of the temporary copy, if one is needed.

    Yields
    ------
    Path
        The image file, or its temporary copy.

    Raises
    ------
    SlideError
        The image is missing, cannot be unpacked, or the AnnData file has no image.
    """
    if layout.get("image", {}).get("format") != "h5ad":
        with places.at_hand(slide, str(image), folder) as path:
            yield path
        return
    which, picture = _read_picture(slide, str(image))
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked.") as copies:
        path = Path(copies, f"{which}.png")
        import cv2

        cv2.imwrite(str(path), picture[..., 2::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        yield path


def open_h5ad(slide: str, path: str) -> "h5py.File":
    """Open an AnnData file.

    Raises
    ------
    SlideError
        The file is missing, or is not HDF5.
    """
    import h5py

    try:
        return h5py.File(path)
    except FileNotFoundError as error:
        raise places.missing(slide, path) from error
    except OSError as error:
        raise SlideError(slide, f"{path} cannot be read as HDF5", "copy the file again") from error


def _read_picture(slide: str, path: str):
    """Read the largest image of an AnnData file: its name and (h, w, 3 or 4) uint8."""
    import numpy as np

    with open_h5ad(slide, path) as file:
        libraries = list(file.get("uns/spatial", {}).values())
        for which in PICTURES:
            for library in libraries:
                if which in library.get("images", {}):
                    picture = library[f"images/{which}"][:]
                    if picture.dtype.kind == "f":  # matplotlib reads PNG as 0 to 1
                        picture = np.rint(picture.clip(0, 1) * 255)
                    if picture.ndim == 3 and picture.shape[2] in (3, 4):
                        return which, picture.astype(np.uint8)
    raise SlideError(
        slide,
        f"{path} has no image: no hires and no lowres in uns['spatial']",
        "give the image in column image of the table of slides",
    )
