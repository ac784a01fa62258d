"""Make the record of a slide from the facts of its steps."""

import importlib.metadata
import logging
import math
import platform
from collections import Counter
from collections.abc import Mapping

import numpy as np

from st1k4m import __version__, codes
from st1k4m.formats.ledger import Ledger
from st1k4m.formats.record import Record, SpotTotals, compose
from st1k4m.formats.tile_store import StoreFacts
from st1k4m.run.provenance import Made

log = logging.getLogger(__name__)

PACKAGES = (
    "anndata",
    "h5py",
    "numba",
    "numpy",
    "opencv-python-headless",
    "pyarrow",
    "pyvips",
    "scanpy",
    "scipy",
    "tifffile",
)
"""Packages whose versions the record states, because they compute numbers or pixels."""


def make_record(
    slide: str,
    study: dict,
    parameters: dict,
    expression: dict,
    geometry: dict,
    tiles: StoreFacts,
    account: Ledger,
    labels: dict[str, str],
    made: Mapping[str, Made] | None = None,
) -> Record:
    """Make the record of a slide: plain values only, and nothing that differs between runs."""
    facts = (to_plain(expression), to_plain(geometry), to_plain(tiles.facts))
    annotation = count_labels(account, labels)
    unmatched = find_unmatched(labels, annotation)
    for warning in unmatched:
        log.warning(warning)
    warnings = [str(warning) for step in facts for warning in step.get("warnings", [])]
    flags = {flag for step in facts for flag in step.get("flags", [])}
    if unmatched and not annotation:
        flags.add(codes.ANNOTATION_UNMATCHED)
    own = [{key: step[key] for key in step if key not in ("warnings", "flags")} for step in facts]
    return compose(
        slide=slide,
        study=study,
        spots=SpotTotals(
            in_counts=int(account.in_counts.sum()),
            in_coord=int(account.in_coord.sum()),
            total=len(account.reason),
            kept=account.reason.count(""),
            dropped={
                why: account.reason.count(why) for why in codes.REASONS if why in account.reason
            },
        ),
        expression=own[0],
        geometry=own[1],
        tiles={key: own[2][key] for key in own[2] if key != "placement"},
        placement=own[2].get("placement"),
        flags=sorted(flags),
        warnings=[*warnings, *unmatched],
        parameters=parameters,
        versions={name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version(), "workflow": __version__},
        annotation=annotation,
        made=made,
    )


def count_labels(account: Ledger, labels: dict[str, str]) -> dict[str, int]:
    """Count the spots of the AnnData by label."""
    found = Counter(labels[spot] for spot in account.kept if spot in labels)
    return dict(sorted(found.items()))


def find_unmatched(labels: dict[str, str], annotation: dict[str, int]) -> list[str]:
    """Return a sentence with the number of labels without a spot in the AnnData, if any."""
    unmatched = len(labels) - sum(annotation.values())
    if not unmatched:
        return []
    return [f"{unmatched:,} of {len(labels):,} labels are of no spot in the AnnData"]


def to_plain(value):
    """Convert numpy values to Python values, so that they are the same in JSON and in HDF5."""
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
