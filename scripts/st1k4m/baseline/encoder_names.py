"""How encoders are named in the configuration, and the folders that their features go to.

Imported while Snakemake parses, so it stays with the standard library.
"""

import hashlib
import importlib.util
import re
from pathlib import Path

from st1k4m.errors import ConfigError

PIXELS = "pixels"
KINDS = ("pixels", "timm:NAME", "hf:OWNER/NAME", "python:module:function")
#: What the folder of an encoder may be called, for the wildcard `{encoder}`.
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
        The name is none of the four kinds, or holds characters that no folder may have.
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
    """Return what an encoder's features depend on beyond its name, as far as a file can say.

    Returns
    -------
    str
        For ``python:`` the sha256 of the module's file, so that an edited module runs again; for
        the others, whose names (with ``@REVISION``) are their identity, the name itself.

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
        No such module, or it is not a file of Python code.
    """
    try:
        found = importlib.util.find_spec(module)
    except ImportError:
        found = None
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise ConfigError(
            f"encoder python:{module}: no module {module} is found; put its folder on PYTHONPATH"
        )
    return Path(found.origin)


def folders_of(encoders: list[str]) -> dict[str, str]:
    """Return the encoders by folder.

    Raises
    ------
    ConfigError
        Two encoders would share a folder.
    """
    found: dict[str, str] = {}
    for encoder in encoders:
        folder = folder_of(encoder)
        if found.setdefault(folder, encoder) != encoder:
            raise ConfigError(
                f"encoders {found[folder]!r} and {encoder!r} would share the folder {folder}; "
                "rename one"
            )
    return found
