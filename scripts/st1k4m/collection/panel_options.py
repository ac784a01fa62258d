"""Check the options of panels: ``panels`` in the configuration.

Snakemake imports this while it parses, so only the standard library is used.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from st1k4m.errors import ConfigError

#: The keys of ``select``, and the column of ``slides.tsv`` that each one compares.
SELECT = {"tech": "tech", "species": "species", "tissue": "tissue", "slides": "slide"}

#: Defaults of each method: number of genes, share of the slides that must have a gene, and the
#: total that X is normalised by. The dataset's authors use 100 and 128 genes (their note 04),
#: HEST-bench uses 50.
METHODS = {
    "overlap_hvg": {"n": 100, "share": 1.0, "normalise": "candidates"},
    "slide_hvg": {"n": 128, "share": 0.0, "normalise": "slide"},
    "hest": {"n": 50, "share": 1.0, "normalise": "none"},
    "mean": {"n": 100, "share": 1.0, "normalise": "candidates"},
    "list": {"n": None, "share": 0.0, "normalise": "all"},
}

NORMALISE = ("candidates", "all", "none")
"""Values that a user may give; only ``slide_hvg`` uses ``slide``."""


@dataclass(frozen=True)
class NameOptions:
    """How a printed gene name becomes the name of a panel's gene.

    Attributes
    ----------
    drop_version
        Remove the version of an Ensembl gene id: ``ENSG00000141510.17`` is ``ENSG00000141510``.
    drop_species
        Remove the genome that a mixed-species reference puts before a name: ``GRCh38_TP53`` is
        ``TP53``.
    rename
        Path of a table with the columns ``printed`` and ``name``, or empty. An empty ``name`` in
        the table leaves the gene out.
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
        Number of genes; with ``slide_hvg``, the number per slide; None with ``list``.
    share
        Share of the training slides, 0 to 1, that must have a gene. A slide has a gene if its file
        prints it (``overlap_hvg``, ``mean``), if at least 10 % of its spots have counts of it
        (``hest``), or if it is among the slide's ``n`` variable genes (``slide_hvg``).
    normalise
        What ``X`` is normalised by before log1p: the spot's total over the genes that enough slides
        have (``candidates``), over all genes of its slide (``all``), over the slide's own variable
        genes (``slide``), or nothing (``none``).
    select
        Lists of values under the keys of `SELECT`; a slide must match each list that is not empty.
    split, parts
        The split, and its parts that the genes are chosen from; empty: all selected slides.
    genes
        Path of the file with the genes of method ``list``.
    names
        How gene names are cleaned.
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
        """Return whether a slide with these facts (columns of ``slides.tsv``) is selected."""
        return all(
            facts[SELECT[key]] in wanted for key, wanted in self.select.items() if len(wanted)
        )


def read_options(name: str, config: Mapping) -> PanelOptions:
    """Check the options of a panel and fill in the defaults of its method.

    Parameters
    ----------
    name
        Name of the panel.
    config
        The mapping under ``panels.<name>``; the schema has checked keys and types.

    Raises
    ------
    ConfigError
        Options do not fit together; one message names all of them.
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
        A panel is invalid, or its split or part is not configured; one message has all faults.
    """
    options, faults = {}, []
    for name, config in panels.items():
        try:
            options[name] = read_options(name, config)
            faults += _find_unknown_parts(name, options[name], splits)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    return options


def foresee_losses(name: str, options: PanelOptions, genes: Mapping[str, int]) -> str:
    """Find slides that will leave few common genes, from the numbers of genes alone.

    A user is then warned before any slide is built. The panel itself compares names of genes.

    Parameters
    ----------
    name, options
        Name and options of the panel.
    genes
        Slide -> number of genes that it prints, for slides where this is known.

    Returns
    -------
    str
        A sentence; empty if no slide has few genes, or if a gene need not be on all slides.
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
        f"panels.{name}: {named}{more} print few genes; the median is {usual:,.0f}. At most "
        f"{least:,} can be common to all{short}. Leave these slides out by `select`, or set "
        "`share` below 1."
    )


def _find_unknown_parts(name: str, options: PanelOptions, splits: Mapping) -> list[str]:
    if not options.split:
        return []
    if options.split not in splits:
        known = ", ".join(splits) or "none"
        return [f"panels.{name}.train.split: no split {options.split!r}; configured are: {known}"]
    split = splits[options.split]
    parts = list(split.get("fractions") or map(str, range(int(split.get("folds") or 0))))
    unknown = [part for part in options.parts if parts and part not in parts]
    return [
        f"panels.{name}.train.part: {part!r} is not a part of {options.split} ({', '.join(parts)})"
        for part in unknown
    ]


def _find_faults(where: str, method: str, config: Mapping) -> list[str]:
    faults = []
    if method == "list" and not config.get("genes"):
        faults.append(f"{where}: method list needs `genes`, the path of a file with gene names")
    if method != "list" and config.get("genes"):
        faults.append(f"{where}.genes: only method list uses `genes`, not {method}; remove it")
    if method == "list":
        faults += [
            f"{where}.{key}: method list takes all genes of the file; remove `{key}`"
            for key in ("n", "share")
            if key in config
        ]
    if method == "slide_hvg" and "normalise" in config:
        faults.append(
            f"{where}.normalise: slide_hvg normalises each slide over its own genes; remove it"
        )
    if "normalise" in config and config["normalise"] not in NORMALISE:
        faults.append(
            f"{where}.normalise: found {config['normalise']!r}, expected one of "
            f"{', '.join(NORMALISE)}"
        )
    if method == "list" and config.get("normalise") == "candidates":
        faults.append(f"{where}.normalise: method list has no candidates; use all or none")
    train = config.get("train") or {}
    if train and not (train.get("split") and train.get("part")):
        faults.append(f"{where}.train: give `split`, a name under splits, and `part`, a list")
    return faults
