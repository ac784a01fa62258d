"""Write the card of the collection, with the YAML head that the Hugging Face hub reads."""

import itertools
from collections.abc import Iterable

import yaml

from st1k4m.export import croissant
from st1k4m.export.contents import Contents, Study
from st1k4m.export.options import CardOptions

SIZES = (
    ("n<1K", 1e3),
    ("1K<n<10K", 1e4),
    ("10K<n<100K", 1e5),
    ("100K<n<1M", 1e6),
    ("1M<n<10M", 1e7),
    ("10M<n<100M", 1e8),
)
"""Size categories of the hub, each with the upper bound of samples, excluded."""

PRODUCTS = (
    ("anndata", "`anndata/{slide}.h5ad`", "counts, normalised expression, positions, pictures"),
    ("tiles", "`tiles/{slide}.h5`", "the tile of every spot: `img`, `coords`, `barcode`"),
    ("ledger", "`ledger/{slide}.parquet`", "every spot, and why it was dropped if it was"),
    ("records", "`records/{slide}.json`", "what is known of the slide, parameters, versions"),
    ("spatialdata", "`spatialdata/{slide}.zarr`", "images, shapes and table, with micrometres"),
    ("overlay", "`overlay/{slide}.jpg`", "the spots drawn over the image"),
)
"""Folder, path and content of each product of a slide."""


def make_card(contents: Contents, options: CardOptions) -> str:
    """Return the text of the card.

    Parameters
    ----------
    contents
        The contents of the results.
    options
        The configuration's ``card``.

    Returns
    -------
    str
        Markdown with a head of YAML. Paths are relative to the folder of the results, because that
        folder is uploaded.
    """
    head = yaml.safe_dump(_head(contents, options), sort_keys=False, allow_unicode=True, width=100)
    parts = [
        f"# {options.name}",
        describe(contents),
        _products(contents),
        _totals(contents),
        _splits(contents),
        _panels(contents),
        _shards(contents),
        _making(contents),
        _licences(contents, options),
        "## Citation\n\nCite the dataset, and the studies whose slides you use "
        f"(`citations.bib`):\n\n```bibtex\n{croissant.CITATION}\n```",
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def describe(contents: Contents) -> str:
    """Return a description of the collection in a few sentences."""
    found = contents.summary["found"]
    sources = " and ".join(dict.fromkeys(itertools.starmap(_source, contents.sources)))
    return (
        f"{found['slides']:,} slides of spatial transcriptomics with {found['pairs']:,} pairs of "
        f"histology tile and gene expression, from {len(contents.studies):,} studies. Built by the "
        f"STimage-1K4M workflow {contents.version} from {sources}. Counts are those of "
        "the studies; tiles are cut around each spot from the images as published."
    )


def _source(name: str, revision: str) -> str:
    """Return the source of slides in words; a path of this machine is not useful to others."""
    if name.startswith("hf://"):
        repository = name.removeprefix("hf://datasets/").partition("@")[0]
        return f"https://huggingface.co/datasets/{repository} at revision {revision}"
    if name == "demo":
        return "generated slides"
    return "own slides" if name.endswith(".tsv") else "a folder"


def _head(contents: Contents, options: CardOptions) -> dict:
    head: dict = {"pretty_name": options.name, "license": options.licence}
    if options.licence == "other":
        head |= {"license_name": "per-study", "license_link": "README.md"}
    size = next((name for name, end in SIZES if contents.pairs < end), "100M<n<1B")
    head |= {
        "size_categories": [size],
        "task_categories": ["image-feature-extraction"],
        "tags": ["biology", "medical", "histopathology", "spatial-transcriptomics", "croissant"],
        "configs": list(_configs(contents)),
    }
    return head


def _configs(contents: Contents) -> Iterable[dict]:
    """Yield the tables that the hub's viewer and `datasets.load_dataset` can open by name.

    Both read only one format in a folder: parquet. Shards in tars are opened separately.
    """
    paths = {"slides": croissant.SLIDES, "pairs": "ledger/*.parquet"}
    if contents.splits:
        paths["splits"] = croissant.SPLITS
    for shards in contents.shards:
        if shards.ending == ".parquet":
            paths[f"shards_{shards.name}"] = shards.pattern
    for name, path in paths.items():
        config = {"config_name": name, "data_files": [{"split": "train", "path": path}]}
        yield config | ({"default": True} if name == "slides" else {})


def _products(contents: Contents) -> str:
    rows = [(path, about) for folder, path, about in PRODUCTS if contents.below(folder)]
    rows += [
        ("`manifest.tsv`, `summary.json`", "every slide with its state; totals"),
        ("`collection/`", "tables over all slides, `croissant.json`, `SHA256SUMS`"),
    ]
    text = _table(("file", "holds"), rows)
    return f"""## Files

{text}

Check a copy with `sha256sum -c collection/SHA256SUMS`, in this folder.

```python
import scanpy as sc
from datasets import load_dataset

adata = sc.read_h5ad("anndata/SLIDE.h5ad")      # adata.layers["counts"], adata.obsm["spatial"]
slides = load_dataset(".", "slides")["train"]   # or the name of this dataset on the hub
pairs = load_dataset(".", "pairs")["train"]     # every spot: slide, position, tile, status
```"""


def _totals(contents: Contents) -> str:
    rows = [
        (kind, value, f"{count['slides']:,}", f"{count['pairs']:,}")
        for kind in ("tech", "species", "tissue")
        for value, count in contents.summary["found"][kind].items()
    ]
    return "## Contents\n\n" + _table(("", "value", "slides", "pairs"), rows)


def _splits(contents: Contents) -> str:
    if not contents.splits:
        return ""
    parts = []
    for name, table in contents.splits.items():
        counts: dict[str, int] = {}
        for row in table.rows:
            counts[row["part"]] = counts.get(row["part"], 0) + 1
        numbers = ", ".join(f"{part}: {count:,}" for part, count in sorted(counts.items()))
        text = f"**{name}** (`{table.path}`): slides by part {numbers}."
        parts.append(f"{text}\n{_quote(table.head)}")
    return "## Splits\n\n" + "\n\n".join(parts)


def _panels(contents: Contents) -> str:
    if not contents.panels:
        return ""
    parts = [
        f"**{name}** (`{table.path}`): {len(table.rows):,} genes.\n{_quote(table.head)}"
        for name, table in contents.panels.items()
    ]
    return "## Gene panels\n\n" + "\n\n".join(parts)


def _quote(lines: Iterable[str]) -> str:
    return "\n" + "\n".join(f"- {_plain(line)}" for line in lines if line)


def _shards(contents: Contents) -> str:
    if not contents.shards:
        return ""
    rows = [
        (shards.name, str(len(shards.paths)), ", ".join(shards.columns))
        for shards in contents.shards
    ]
    text = "## Shards\n\n" + _table(("set", "shards", "in a sample"), rows)
    if any(shards.ending == ".tar" for shards in contents.shards):
        text += (
            "\n\nTars are WebDataset: "
            '`load_dataset("webdataset", data_files="shards/SET/**/*.tar", streaming=True)`.'
        )
    return text


def _making(contents: Contents) -> str:
    states = contents.summary["states"]
    numbers = (f"{number:,} {state.replace('_', ' ')}" for state, number in states.items())
    return (
        "## How it was made\n\n"
        f"By the STimage-1K4M workflow {contents.version}. "
        f"Slides of the catalogue: {', '.join(numbers)}. "
        "Each slide's record states its parameters, the versions that made it, how the micrometres "
        "per pixel were found, and what is unusual about it."
    )


def _licences(contents: Contents, options: CardOptions) -> str:
    text = (
        "The images and counts keep the licences of the studies that published them."
        if options.licence == "other"
        else f"The collection is published under {options.licence}. What the studies state:"
    )
    rows = [_study_row(study) for study in contents.studies]
    return f"## Licences and studies\n\n{text}\n\n" + _table(
        ("study", "slides", "publication", "licence"), rows
    )


def _study_row(study: Study) -> tuple[str, str, str, str]:
    name = _plain(study.name) or "not known"
    if study.url:
        name = f"[{name}]({study.url})"
    numbers = ", ".join(f"PMID {pmid}" for pmid in study.pmids)
    publication = ". ".join(text for text in (_plain(study.title), numbers) if text)
    licence = f"[{study.licence}]({study.licence_url})" if study.licence else "not known"
    return name, f"{study.slides:,}", publication or "not known", licence


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Escape the characters of a text that Markdown reads as markup."""
    text = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>|#$" else c for c in text)
