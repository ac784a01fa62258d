"""The features of a baseline's slides, held to one encoder and stacked."""

from pathlib import Path

import numpy as np

from st1k4m.baseline.targets import Targets
from st1k4m.errors import SlideError, StaleProductError
from st1k4m.formats.features import Features, read_features
from st1k4m.run.products import read_made

#: Fields of `Features` that are the same on all slides of a baseline.
SAME = ("weights", "transform", "revision")


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
        same = {key: getattr(first, key) for key in SAME}
        for key, expected in ({"encoder": encoder} | same).items():
            if getattr(found, key) != expected:
                raise SlideError(
                    slide,
                    f"{features[slide]} has {key} {getattr(found, key)!r}, "
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
    first = next(iter(read.values()))
    return {
        **{key: getattr(first, key) for key in SAME},
        "tiles": {slide: found.tiles for slide, found in read.items()},
        "mismatch": {slide: found.mismatch for slide, found in read.items() if found.mismatch},
    }
