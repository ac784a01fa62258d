"""The record: what is known of a slide."""

import importlib.metadata
import math
import platform

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st1k4m import __version__
from st1k4m.join.ledger import REASONS
from st1k4m.tiles.store import StoreFacts

PACKAGES = ("anndata", "h5py", "numba", "numpy", "opencv-python-headless", "pyvips", "scipy")
"""Whose versions the record states: those that make numbers or pixels."""


def make_record(
    slide: str,
    study: dict,
    parameters: dict,
    expression: dict,
    geometry: dict,
    tiles: StoreFacts,
    account: pa.Table,
) -> dict:
    """Gather what is known of the slide: plain values only, nothing that differs between runs."""
    reasons = account["reason"].to_pylist()
    warnings = [*expression.pop("warnings", []), *geometry.get("warnings", [])]
    warnings += tiles.facts.pop("warnings", [])
    flags = [
        *expression.pop("flags", []),
        *geometry.get("flags", []),
        *tiles.facts.pop("flags", []),
    ]
    return {
        "slide": slide,
        "study": study,
        "spots": {
            "in_counts": int(pc.sum(account["in_counts"]).as_py() or 0),
            "in_coord": int(pc.sum(account["in_coord"]).as_py() or 0),
            "total": len(reasons),
            "kept": reasons.count(""),
            "dropped": {why: reasons.count(why) for why in REASONS if why in reasons},
        },
        "expression": to_plain(expression),
        "geometry": to_plain(
            {key: value for key, value in geometry.items() if key not in ("warnings", "flags")}
        ),
        "tiles": to_plain({key: tiles.facts[key] for key in tiles.facts if key != "placement"}),
        "placement": to_plain(tiles.facts.get("placement")),
        "flags": sorted(set(flags)),
        "warnings": [str(warning) for warning in warnings],
        "parameters": parameters,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version(), "workflow": __version__},
    }


def to_plain(value):
    """Turn numpy's values into Python's, so that they are the same in JSON and in HDF5."""
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
