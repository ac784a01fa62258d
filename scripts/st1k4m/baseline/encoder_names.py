"""Names of encoders in the configuration, and the folders of their features.

Standard library only, because Snakemake imports it at parse time.
"""

import hashlib
import importlib.util
import re
from pathlib import Path

from st1k4m.errors import ConfigError

PIXELS = "pixels"
KINDS = ("pixels", "timm:NAME", "hf:OWNER/NAME", "python:module:function")
#: Pattern of the name of an encoder's folder, for the wildcard `{encoder}`.
FOLDER = r"[A-Za-z0-9_][A-Za-z0-9_.+@=-]*"


def folder_of(encoder: str) -> str:
    """Return the name of an encoder's folder below ``results/features``.

    Parameters
    ----------
    encoder
        As configured: ``pixels``, ``timm:NAME``, ``hf:OWNER/NAME`` or ``python:module:function``.

    Returns
    -------
    str
        The name with every ``:`` and ``/`` as ``--``: ``hf--vinid--plip``.

    Raises
    ------
    ConfigError
        The name is not of one of the four kinds, or has characters that a folder must not have.
    """
    kind, _, rest = encoder.partition(":")
    known = {
        PIXELS: not rest and ":" not in encoder,
        "timm": bool(rest),
        "hf": bool(rest),
        "python": bool(re.fullmatch(r"[\w.]+:\w+", rest)),
    }
    folder = re.sub(r"[:/]+", "--", encoder)
    if not known.get(kind) or not re.fullmatch(FOLDER, folder):
        raise ConfigError(f"encoder {encoder!r}: expected one of {', '.join(KINDS)}")
    return folder


def identity_of(encoder: str) -> str:
    """Return the identity of an encoder: if it changes, its features are computed again.

    Returns
    -------
    str
        For ``python:`` the name and the sha256 of the module's file, so an edited module runs
        again. For other encoders the name, with its ``@REVISION`` if given.

    Raises
    ------
    ConfigError
        The module of a ``python:`` encoder is not found.
    """
    if not encoder.startswith("python:"):
        return encoder
    module = encoder.split(":")[1]
    return f"{encoder} sha256:{hashlib.sha256(source_of(module).read_bytes()).hexdigest()}"


def source_of(module: str) -> Path:
    """Return the file of an importable module, without importing it.

    Raises
    ------
    ConfigError
        There is no such module, or it is not a Python file.
    """
    try:
        found = importlib.util.find_spec(module)
    except ImportError:
        found = None
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise ConfigError(
            f"encoder python:{module}: module {module} is not found; add its folder to PYTHONPATH"
        )
    return Path(found.origin)


def folders_of(encoders: list[str]) -> dict[str, str]:
    """Return the encoders by the names of their folders.

    Raises
    ------
    ConfigError
        A name is invalid, or two encoders would have the same folder.
    """
    found: dict[str, str] = {}
    for encoder in encoders:
        folder = folder_of(encoder)
        if found.setdefault(folder, encoder) != encoder:
            raise ConfigError(
                f"encoders {found[folder]!r} and {encoder!r} would have the same folder {folder}; "
                "remove or rename one of them"
            )
    return found
