"""Open the image of a user's own slide from a file, an archive or an AnnData file."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from st1k4m.errors import SlideError
from st1k4m.source import places

#: Images that an AnnData file may contain, the larger first.
PICTURES = ("hires", "lowres")


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


def _read_picture(slide: str, path: str):
    """Read the largest image of an AnnData file: its name and (h, w, 3 or 4) uint8."""
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
                    if picture.dtype.kind == "f":  # matplotlib reads PNG as 0 to 1
                        picture = np.rint(picture.clip(0, 1) * 255)
                    if picture.ndim == 3 and picture.shape[2] in (3, 4):
                        return which, picture.astype(np.uint8)
    raise SlideError(
        slide,
        f"{path} has no image: no hires and no lowres in uns['spatial']",
        "give the image in column image of the table of slides",
    )
