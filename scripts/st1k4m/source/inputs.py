"""The files of a slide that a job reads: that they are there, and an image that can be opened."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from st1k4m.errors import SlideError
from st1k4m.run import outputs
from st1k4m.source import places
from st1k4m.source.own_layout import files_of

#: Pictures that an AnnData file may hold, the larger first.
PICTURES = ("hires", "lowres")


def require(slide: str, kind: str, path: str, layout: dict) -> str:
    """Return a slide's file of a kind if it and all that belongs to it is there.

    Parameters
    ----------
    slide
        Name of the slide.
    kind
        ``counts``, ``coord`` or ``image``.
    path
        The path or place of the file.
    layout
        As `st1k4m.source.catalogue.Catalogue.layout` gives it; empty for the dataset's own.

    Raises
    ------
    SlideError
        The file is missing, or the catalogue says that the slide's folder had none.
    """
    if not layout:
        labels = {"counts": "count file", "coord": "coordinate file", "image": "image"}
        return outputs.require(slide, labels[kind], path)
    if kind in layout["missing"]:
        raise SlideError(
            slide,
            layout["missing"][kind],
            "put the file there, or correct the table of slides, and run with refresh=true; or "
            "list the slide under exclude",
        )
    for place in files_of(layout[kind]):
        if not os.path.isfile(places.split(place)[0]):
            raise places.missing(slide, place)
    return path


@contextlib.contextmanager
def image_at_hand(
    slide: str, image: str | Path, layout: dict, folder: str | Path
) -> Iterator[Path]:
    """Give a path from which the image can be read.

    Parameters
    ----------
    slide
        Name of the slide.
    image
        Its path or place; of an AnnData file the file itself.
    layout
        As `st1k4m.source.catalogue.Catalogue.layout` gives it; empty for the dataset's own.
    folder
        Where a copy is made for the moment, if one is needed.

    Raises
    ------
    SlideError
        The image is missing, cannot be unpacked, or the AnnData file holds none.
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


def _read_picture(slide: str, path: str):
    """Read the largest picture of an AnnData file, as (h, w, 3 or 4) uint8."""
    import h5py
    import numpy as np

    try:
        file = h5py.File(path)
    except FileNotFoundError as error:
        raise places.missing(slide, path) from error
    except OSError as error:
        raise SlideError(slide, f"{path} cannot be read as HDF5", "copy the file again") from error
    with file:
        libraries = list(file.get("uns/spatial", {}).values())
        for which in PICTURES:
            for library in libraries:
                if which in library.get("images", {}):
                    picture = library[f"images/{which}"][:]
                    if picture.dtype.kind == "f":  # as matplotlib reads PNG: from 0 to 1
                        picture = np.rint(picture.clip(0, 1) * 255)
                    if picture.ndim == 3 and picture.shape[2] in (3, 4):
                        return which, picture.astype(np.uint8)
    raise SlideError(
        slide,
        f"{path} holds no image: no hires and no lowres in uns['spatial']",
        "name the image in column image of the table of slides",
    )
