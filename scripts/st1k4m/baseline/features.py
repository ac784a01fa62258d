"""Read and write the features of a slide's tiles: one HDF5 file per slide."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from st1k4m.baseline.targets import Targets
from st1k4m.errors import SlideError, StaleProductError
from st1k4m.run.outputs import atomic
from st1k4m.run.products import read_made
from st1k4m.run.provenance import Made

#: Attributes of the file, all texts: the encoder of the features, and its preprocessing.
ATTRIBUTES = ("encoder", "weights", "transform", "mismatch", "tiles")


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
    attributes
        `ATTRIBUTES` and ``revision``.
    """

    slide: str
    features: np.ndarray
    barcode: list[str]
    attributes: dict[str, str]


def write_features(path: str | Path, found: Features, made: Made | None = None) -> None:
    """Write the features of a slide, whole or not at all; the same bytes for the same features.

    ``made`` states what they are made from.
    """
    names = [name.encode() for name in found.barcode]
    longest = max(map(len, names), default=1)
    with atomic(path, made) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("features", data=found.features, track_times=False)
        barcode = np.array(names, f"S{longest}").reshape(-1, 1)
        file.create_dataset("barcode", data=barcode, track_times=False)
        file.attrs.update({"name": found.slide, **found.attributes})


def read_features(path: str | Path, slide: str) -> Features:
    """Read the features of a slide.

    Raises
    ------
    SlideError
        The file is missing, damaged or of another slide, or has a value that is not finite.
    """
    hint = f"remove {path} and run again: embed_tiles makes it again"
    try:
        with h5py.File(path) as file:
            attributes = {key: _text(value) for key, value in file.attrs.items()}
            features = file["features"][:]
            barcode = [name.decode() for name in file["barcode"][:, 0]]
    except (OSError, KeyError) as error:
        raise SlideError(slide, f"{path} cannot be read: {error}", hint) from error
    if attributes.pop("name", None) != slide:
        raise SlideError(slide, f"{path} has the features of another slide", hint)
    if not np.isfinite(features).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise SlideError(
            slide,
            f"{path}: the features of spot {barcode[row]} are not finite numbers",
            f"encoder {attributes['encoder']} returned them; check its weights and this tile",
        )
    return Features(slide, features, barcode, attributes)


def read_all(
    targets: Targets, features: dict[str, str | Path], encoder: str
) -> dict[str, Features]:
    """Read the features of every slide of a baseline; check that one encoder made all of them.

    Raises
    ------
    SlideError
        A slide's features are from another encoder, or from other weights or another transform than
        the first slide's.
    StaleProductError
        They are from another tile store than the slide's AnnData.
    """
    read = {slide: read_features(features[slide], slide) for slide in targets.slides.index}
    for slide, store in targets.about["tiles"].items():
        made = read_made(features[slide])
        if store and made and made.reads.get("cut_tiles") != store:
            why = "is from another tile store than the slide's AnnData"
            raise StaleProductError(slide, str(features[slide]), why)
    first = next(iter(read.values()))
    for slide, found in read.items():
        same = {key: first.attributes[key] for key in ("weights", "transform", "revision")}
        for key, expected in ({"encoder": encoder} | same).items():
            if found.attributes[key] != expected:
                raise SlideError(
                    slide,
                    f"{features[slide]} has {key} {found.attributes[key]!r}, "
                    f"expected {expected!r} as for the other slides",
                    f"remove the folder {Path(features[slide]).parent} and run again",
                )
    return read


def stack(targets: Targets, read: dict[str, Features]) -> np.ndarray:
    """Return the features of all spots of a baseline, float32 ``(spots, d)``, in their order.

    Raises
    ------
    SlideError
        A spot of the slide has no features, or the number of features differs between slides.
    """
    parts = []
    for slide, found in read.items():
        row = {barcode: number for number, barcode in enumerate(found.barcode)}
        spots = targets.spots.index[targets.rows([slide])]
        lacking = [spot for spot in spots if spot not in row]
        if lacking:
            raise SlideError(
                slide,
                f"{len(lacking)} of its {len(spots)} spots have no features, for example "
                f"{lacking[0]}",
                "remove the slide's features and run again: they are from an earlier tile store",
            )
        part = found.features[[row[spot] for spot in spots]]
        if parts and part.shape[1] != parts[0].shape[1]:
            raise SlideError(
                slide,
                f"its tiles have {part.shape[1]} features each, those of other slides "
                f"{parts[0].shape[1]}",
                "the encoder must return the same number of features for tiles of every size",
            )
        parts.append(part)
    return np.concatenate(parts)


def describe(read: dict[str, Features] | None) -> dict:
    """Return the facts about features for the scores: how they were made, and from which tiles."""
    if read is None:
        return {}
    first = next(iter(read.values())).attributes
    return {
        **{key: first[key] for key in ("weights", "transform", "revision")},
        "tiles": {slide: found.attributes["tiles"] for slide, found in read.items()},
        "mismatch": {
            slide: found.attributes["mismatch"]
            for slide, found in read.items()
            if found.attributes["mismatch"]
        },
    }


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
