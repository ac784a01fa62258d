"""Check the options of splits. Snakemake imports this while it parses: standard library only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from st1k4m.collection import relations
from st1k4m.collection.groups import LEVELS
from st1k4m.errors import ConfigError

#: The part of slides that are held out.
HELD_OUT = "test"
#: Columns of slides.tsv by which slides may be stratified, and keys by which they may be held out.
STRATA = ("tech", "species", "tissue", "study", "tier")
HOLD_OUT = ("study", "tissue", "species", "tech", "slide", "also_in")


@dataclass(frozen=True)
class SplitOptions:
    """How to split.

    Attributes
    ----------
    by
        What stays together: ``study``, ``patient``, ``block``, ``section`` or ``slide``. Closer
        relations stay together too. A slide of unknown patient or block stays with its study.
    folds
        Number of folds, named ``0``, ``1``, ...; 0 if fractions are given.
    fractions
        Share of each part by name, such as ``{train: 0.8, val: 0.1, test: 0.1}``; they sum to 1.
    stratify
        Columns of ``slides.tsv``, of `STRATA`. Their values are spread evenly over the parts.
    size
        Unit of the size of a part: ``slides`` or ``spots``.
    confidence
        Lowest confidence of a relation that is kept: ``possible``, ``likely`` or ``certain``.
    hold_out
        Values of keys in `HOLD_OUT`. Slides with them go to the part ``test``, with their whole
        groups: ``{tissue: [lung], also_in: [HEST-1k]}``. With folds, ``test`` is an extra part;
        with fractions, they count as part of ``test``.
    seed
        Chooses between assignments that are equally good.
    """

    by: str = "study"
    folds: int = 0
    fractions: Mapping[str, float] = field(default_factory=dict)
    stratify: Sequence[str] = ("tech", "tissue")
    size: str = "slides"
    confidence: str = "likely"
    hold_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        faults = []
        if self.by not in LEVELS:
            faults.append(f"by must be one of {', '.join(reversed(LEVELS))}, not {self.by!r}")
        if bool(self.folds) == bool(self.fractions):
            faults.append("give either folds (2 or more) or fractions (the share of each part)")
        elif not self.fractions and self.folds < 2:
            faults.append(f"folds must be 2 or more, not {self.folds}")
        elif self.fractions and (
            abs(sum(self.fractions.values()) - 1) > 1e-6 or min(self.fractions.values()) <= 0
        ):
            faults.append(
                f"fractions must be above 0 and sum to 1; these sum to "
                f"{sum(self.fractions.values()):g}"
            )
        faults += [
            f"stratify accepts {', '.join(STRATA)}, not {column!r}"
            for column in self.stratify
            if column not in STRATA
        ]
        if self.size not in ("slides", "spots"):
            faults.append(f"size must be slides or spots, not {self.size!r}")
        if self.confidence not in relations.CONFIDENCES:
            faults.append(
                f"confidence must be one of {', '.join(relations.CONFIDENCES)}, "
                f"not {self.confidence!r}"
            )
        faults += [
            f"hold_out accepts {', '.join(HOLD_OUT)}, not {key!r}"
            for key in self.hold_out
            if key not in HOLD_OUT
        ]
        if self.hold_out and self.fractions and HELD_OUT not in self.fractions:
            faults.append(f"hold_out needs a part {HELD_OUT!r} among the fractions")
        if faults:
            raise ConfigError("; ".join(faults))

    @classmethod
    def from_config(cls, name: str, section: Mapping[str, Any]) -> "SplitOptions":
        """Make the options of a split from its section of the configuration.

        Raises
        ------
        ConfigError
            An option is unknown or has an invalid value; the message names the split.
        """
        known = set(cls.__dataclass_fields__)
        unknown = sorted(set(section) - known)
        if unknown:
            raise ConfigError(
                f"splits.{name}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        try:
            return cls(**section)
        except ConfigError as error:
            raise ConfigError(f"splits.{name}: {error}") from None

    @property
    def parts(self) -> dict[str, float]:
        """Share of each part, in order; with folds, without the part that is held out."""
        if self.fractions:
            return {str(name): float(share) for name, share in self.fractions.items()}
        return {str(fold): 1 / self.folds for fold in range(self.folds)}
