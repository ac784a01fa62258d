"""What a product was made from: stored in the product, compared when products are joined."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from st1k4m.errors import StaleProductError

#: Files up to this size in bytes are identified by their content, as in Snakemake. Then a file that
#: has only a new time stamp is the same file.
SMALL = 1_000_000
#: Length of a digest in hexadecimal digits: 64 bits.
DIGITS = 16
#: Key of this statement in a product.
KEY = "made"


@dataclass(frozen=True)
class Made:
    """What one product was made from.

    Attributes
    ----------
    step
        The step that made it.
    revision
        Revision of the step.
    parameters
        All options of the step, as JSON values.
    inputs
        By kind: sizes in bytes of the source files that were read; see `sizes`.
    reads
        By step: the digest of its product that was read.
    """

    step: str
    revision: int
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """A digest of all fields: equal only for products of equal content."""
        return digest_of(self.text)

    @property
    def text(self) -> str:
        """All fields as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=True)

    @classmethod
    def from_text(cls, text: str) -> "Made":
        """Read the JSON that `text` returns.

        Raises
        ------
        ValueError
            The text is not of this form.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a statement of what a product was made from: {error}") from None


def digest_of(text: str) -> str:
    """Return the first `DIGITS` digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def parameters_digest(parameters: Mapping[str, Any]) -> str:
    """Return a digest of a step's options: equal only for equal options."""
    return digest_of(json.dumps(plain(parameters), sort_keys=True))


def plain(value: Any) -> Any:
    """Return a value as it is after it was written to JSON and read again."""
    return json.loads(json.dumps(value, sort_keys=True))


def file_identity(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> str:
    """Return a text that identifies the content of one file or of several.

    Comparing time stamps is not enough: ``cp -p`` or ``mv`` can replace a file by an older one.

    Returns
    -------
    str
        For each file its size in bytes, a colon, and a second part, or ``missing``. The second part
        is the start of the SHA-256 for files up to `SMALL` bytes, else the time of the last change
        in nanoseconds. Files are separated by a space.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    return " ".join(_identify(Path(path)) for path in paths)


def sizes(identity: str) -> str:
    """Return the sizes from a result of `file_identity`.

    The rest depends on the time stamp and the source of a file. A product must not depend on them:
    it is the same from a folder and from a hub.
    """
    return " ".join(part.partition(":")[0] for part in identity.split(" "))


def _identify(path: Path) -> str:
    try:
        status = path.stat()
        if status.st_size > SMALL:
            return f"{status.st_size}:{status.st_mtime_ns}"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS]
        return f"{status.st_size}:{digest}"
    except OSError:  # the job that reads the file reports the error
        return "missing"


def check_reads(slide: str, made: Mapping[str, tuple[str, Made | None]]) -> dict[str, str]:
    """Compare products before they are joined, and return the digest of each.

    Parameters
    ----------
    slide
        Name of the slide.
    made
        By step: the path of its product, and what the product was made from.

    Returns
    -------
    dict
        By step: the digest of its product.

    Raises
    ------
    StaleProductError
        A product does not state what it was made from, has another step or another revision than
        expected, or was made from another file than the current one. The error names the product.
    """
    from st1k4m.run.steps import REVISIONS

    digests: dict[str, str] = {}
    for step, (path, origin) in made.items():
        if origin is None or origin.step != step:
            raise StaleProductError(slide, path, f"does not state that {step} made it")
        if origin.revision != REVISIONS[step]:
            raise StaleProductError(
                slide,
                path,
                f"is of revision {origin.revision} of {step}, which is at {REVISIONS[step]}",
            )
        digests[step] = origin.digest
    for path, origin in made.values():
        for step, digest in (origin.reads if origin else {}).items():
            if step in digests and digest != digests[step]:
                raise StaleProductError(
                    slide, path, f"was made from another {made[step][0]} than the current one"
                )
    return digests


def check_parameters(slide: str, path: str, made: Made | None, digest: str) -> None:
    """Compare the options that a product was made with to the options of this run.

    Raises
    ------
    StaleProductError
        The `parameters_digest` of the product's options is not ``digest``.
    """
    if made and parameters_digest(made.parameters) != digest:
        raise StaleProductError(slide, path, "was made with other options than those of this run")


def check_same(slide: str, first: str, made: Made | None, second: str, other: Made | None) -> None:
    """Compare two products of one job.

    Raises
    ------
    StaleProductError
        They were not made from the same data. The error names the second product.
    """
    if made != other:
        raise StaleProductError(slide, second, f"was not made by the same job as {first}")


def difference(old: Any, new: Any, name: str = "") -> str:
    """Return the first option that differs between two sets of options, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                where = f"{name}.{key}" if name else key
                return difference(old.get(key), new.get(key), where)
    return f"{name or 'value'} {_short(old)}, now {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
