"""Read and write results as JSON, with the versions that made them."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from st1k4m.run.outputs import write_text

#: Packages whose versions may change a number.
PACKAGES = ("numpy", "scipy", "scikit-learn", "anndata", "h5py")


def versions() -> dict[str, str]:
    """Return the versions of `PACKAGES` and of Python."""
    return {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}


def write_json(path: str | Path, value: dict) -> None:
    """Write numbers as JSON, whole or not at all; NaN and infinity become null."""
    text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    write_text(path, text + "\n")


def read_json(path: str | Path) -> dict:
    """Read what `write_json` wrote."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def numbers(values: list) -> np.ndarray:
    """Return a list of JSON as a float64 array; null becomes NaN."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(part) for part in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
