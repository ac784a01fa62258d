"""The features of a slide's tiles, ``results/features/{encoder}/{slide}.h5``."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from st1k4m.errors import SlideError
from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import Made

FEATURES, BARCODE, NAME = "features", "barcode", "name"
#: Attributes of the file, all texts.
ATTRIBUTES = ("encoder", "weights", "transform", "mismatch", "tiles", "revision")


@dataclass(frozen=True)
class Features:
    """The features of a slide's tiles.

    Attributes
    ----------
    slide
        Name of the slide.
    features
        ``(n, d)`` float32.
    barcode
        Ids of the ``n`` spots, in the tile store's order.
    encoder, weights, transform
        Name of the encoder, the sha256 of its weights, and its preprocessing of a tile.
    mismatch
        A sentence if the tiles show another extent than the encoder expects, else empty.
    tiles
        The sha256 of the tiles.
    revision
        Revision of the step that made the features.
    """

    slide: str
    features: np.ndarray
    barcode: list[str]
    encoder: str
    weights: str
    transform: str
    mismatch: str
    tiles: str
    revision: str


def write_features(path: str | Path, found: Features, made: Made | None = None) -> None:
    """Write the features of a slide in one atomic step; equal features give equal bytes.

    ``made`` states what they are made from.
    """
    names = [name.encode() for name in found.barcode]
    longest = max(map(len, names), default=1)
    with atomic(path, made) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset(FEATURES, data=found.features, track_times=False)
        barcode = np.array(names, f"S{longest}").reshape(-1, 1)
        file.create_dataset(BARCODE, data=barcode, track_times=False)
        attributes = {name: getattr(found, name) for name in ATTRIBUTES}
        file.attrs.update({NAME: found.slide, **attributes})


def read_features(path: str | Path, slide: str) -> Features:
    """Read the features of a slide.

    Raises
    ------
    SlideError
        The file is missing, damaged or of another slide, or has a value that is not finite.
    """
    hint = f"delete {path} and run again: embed_tiles makes it again"
    try:
        with h5py.File(path) as file:
            attributes = {name: _text(file.attrs[name]) for name in ATTRIBUTES}
            of_slide = _text(file.attrs.get(NAME))
            features = file[FEATURES][:]
            barcode = [name.decode() for name in file[BARCODE][:, 0]]
    except (OSError, KeyError) as error:
        raise SlideError(slide, f"{path} cannot be read: {error}", hint) from error
    if of_slide != slide:
        raise SlideError(slide, f"{path} has the features of another slide", hint)
    if not np.isfinite(features).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise SlideError(
            slide,
            f"{path}: the features of spot {barcode[row]} are not finite numbers",
            f"encoder {attributes['encoder']} returned them; check its weights and this tile",
        )
    return Features(slide, features, barcode, **attributes)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
