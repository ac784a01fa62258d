"""The options of a panel: what the configuration says under ``panels``, checked.

Imported while Snakemake parses, so it stays with the standard library.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from st1k4m.errors import ConfigError

#: The keys of ``select``, and the column of ``slides.tsv`` that each one is about.
SELECT = {"tech": "tech", "species": "species", "tissue": "tissue", "slides": "slide"}

#: What each method takes where the configuration says nothing: number of genes, share of the
#: slides that must have a gene, and the total that X is normalised by. 100 and 128 are the numbers
#: of the dataset's authors (their note 04), 50 is that of HEST-bench.
METHODS = {
    "overlap_hvg": {"n": 100, "share": 1.0, "normalise": "candidates"},
    "slide_hvg": {"n": 128, "share": 0.0, "normalise": "slide"},
    "hest": {"n": 50, "share": 1.0, "normalise": "none"},
    "mean": {"n": 100, "share": 1.0, "normalise": "candidates"},
    "list": {"n": None, "share": 0.0, "normalise": "all"},
}

NORMALISE = ("candidates", "all", "none")
"""What a user may ask for; ``slide`` belongs to ``slide_hvg`` alone."""


@dataclass(frozen=True)
class NameOptions:
    """How a printed gene name becomes the name of a panel's gene.

    Attributes
    ----------
    drop_version
        Take the version off an Ensembl gene id: ``ENSG00000141510.17`` is ``ENSG00000141510``.
    drop_species
        Take off the genome that a mixed-species reference puts before a name:
        ``GRCh38_TP53`` is ``TP53``.
    rename
        A table with the columns ``printed`` and ``name``; empty for none. An empty ``name``
        leaves the gene out.
    """

    drop_version: bool = False
    drop_species: bool = False
    rename: str = ""


@dataclass(frozen=True)
class PanelOptions:
    """How one panel is chosen.

    Attributes
    ----------
    method
        A key of `METHODS`.
    n
        How many genes; with ``slide_hvg`` how many of each slide; None with ``list``.
    share
        From 0 to 1: a gene must be had by at least so large a share of the slides that the panel
        is chosen from. To have it means to print it (``overlap_hvg``, ``mean``), to find it in at
        least 10 % of the spots (``hest``), or to have it among its ``n`` (``slide_hvg``).
    normalise
        What ``X`` is normalised by before log1p: the spot's total over the genes that had the
        share (``candidates``), over all genes of its slide (``all``), over the slide's own
        variable genes (``slide``), or nothing (``none``).
    select
        Lists under the keys of `SELECT`; a slide must be in each list that is not empty.
    split, parts
        The split and those of its parts that the panel is chosen from; empty: all selected slides.
    genes
        The file with the genes of method ``list``.
    names
        How names are cleaned.
    """

    method: str
    n: int | None = None
    share: float = 1.0
    normalise: str = "candidates"
    select: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    split: str = ""
    parts: tuple[str, ...] = ()
    genes: str = ""
    names: NameOptions = field(default_factory=NameOptions)

    def takes(self, facts: Mapping[str, str]) -> bool:
        """Return whether a slide with these facts (keys as columns of ``slides.tsv``) is in."""
        return all(
            facts[SELECT[key]] in wanted for key, wanted in self.select.items() if len(wanted)
        )


def read_options(name: str, config: Mapping) -> PanelOptions:
    """Check what the configuration says of a panel and fill in what the method takes.

    Parameters
    ----------
    name
        Of the panel.
    config
        The mapping under ``panels.<name>``; the schema has checked keys and types.

    Raises
    ------
    ConfigError
        Options that do not go together, all of them in one message.
    """
    where = f"panels.{name}"
    method = config.get("method")
    if method not in METHODS:
        found = repr(method) if method else "missing"
        raise ConfigError(f"{where}.method: found {found}, expected one of {', '.join(METHODS)}")
    faults = _find_faults(where, method, config)
    if faults:
        raise ConfigError("\n".join(faults))
    chosen = {**METHODS[method], **{key: config[key] for key in METHODS[method] if key in config}}
    train = config.get("train") or {}
    return PanelOptions(
        method=method,
        **chosen,
        select={key: tuple(values) for key, values in (config.get("select") or {}).items()},
        split=train.get("split", ""),
        parts=tuple(str(part) for part in train.get("part", ())),
        genes=config.get("genes") or "",
        names=NameOptions(**(config.get("names") or {})),
    )


def read_panels(panels: Mapping, splits: Mapping) -> dict[str, PanelOptions]:
    """Check all panels of the configuration.

    Parameters
    ----------
    panels, splits
        The mappings under ``panels`` and ``splits``.

    Raises
    ------
    ConfigError
        All faults of all panels; among them a split or a part of it that is not configured.
    """
    options, faults = {}, []
    for name, config in panels.items():
        try:
            options[name] = read_options(name, config)
            faults += _find_strange_parts(name, options[name], splits)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    return options


def foresee_losses(name: str, options: PanelOptions, genes: Mapping[str, int]) -> str:
    """Say which slides will leave few genes in common, from the numbers of genes alone.

    So that a user knows it before any slide is built; the panel itself counts by name.

    Parameters
    ----------
    name, options
        Of the panel.
    genes
        How many genes each of its slides prints, where that is known.

    Returns
    -------
    str
        A sentence; empty if nothing is to be expected, or a gene need not be on all slides.
    """
    if options.method not in ("overlap_hvg", "hest", "mean") or options.share < 1 or not genes:
        return ""
    usual = statistics.median(genes.values())
    few = sorted(
        (slide for slide in genes if genes[slide] < max(options.n, usual / 2)), key=genes.get
    )
    if not few:
        return ""
    least = genes[few[0]]
    more = f" and {len(few) - 3:,} more" if len(few) > 3 else ""
    named = ", ".join(f"{slide} ({genes[slide]:,})" for slide in few[:3])
    short = f", not the {options.n:,} asked for" if least < options.n else ""
    return (
        f"panels.{name}: {named}{more} print few genes, half of the slides {usual:,.0f} or more: "
        f"at most {least:,} can be common to all{short}. Leave them out by `select`, or set "
        "`share` below 1."
    )


def _find_strange_parts(name: str, options: PanelOptions, splits: Mapping) -> list[str]:
    if not options.split:
        return []
    if options.split not in splits:
        known = ", ".join(splits) or "none"
        return [f"panels.{name}.train.split: {options.split!r} is not under splits ({known})"]
    split = splits[options.split]
    parts = list(split.get("fractions") or map(str, range(int(split.get("folds") or 0))))
    strange = [part for part in options.parts if parts and part not in parts]
    return [
        f"panels.{name}.train.part: {part!r} is not a part of {options.split} ({', '.join(parts)})"
        for part in strange
    ]


def _find_faults(where: str, method: str, config: Mapping) -> list[str]:
    faults = []
    if method == "list" and not config.get("genes"):
        faults.append(f"{where}: method list needs `genes`, the file with the names")
    if method != "list" and config.get("genes"):
        faults.append(f"{where}.genes: only method list reads it, and the method is {method}")
    if method == "list":
        faults += [
            f"{where}.{key}: method list takes the genes as the file has them; remove `{key}`"
            for key in ("n", "share")
            if key in config
        ]
    if method == "slide_hvg" and "normalise" in config:
        faults.append(
            f"{where}.normalise: slide_hvg normalises each slide over its own genes; remove it"
        )
    if "normalise" in config and config["normalise"] not in NORMALISE:
        faults.append(f"{where}.normalise: {config['normalise']!r} is not {', '.join(NORMALISE)}")
    if method == "list" and config.get("normalise") == "candidates":
        faults.append(f"{where}.normalise: method list has no candidates; use all or none")
    train = config.get("train") or {}
    if train and not (train.get("split") and train.get("part")):
        faults.append(f"{where}.train: needs `split`, a name under splits, and `part`, a list")
    return faults
