"""All slides in one table, and the totals of what was found beside what was declared.

Standard library only: the run that fails writes both in the process that drives it.
"""

import contextlib
import csv
import io
import json
import os
from collections import Counter
from pathlib import Path

from st1k4m.run.failures import read_failure
from st1k4m.run.outputs import write_text
from st1k4m.run.steps import PRODUCTS, SLIDE_STEPS
from st1k4m.source import catalogue
from st1k4m.source.bibliography import citations

COLUMNS = (
    "slide",
    "status",
    "stage",
    "reason",
    "hint",
    "tech",
    "species",
    "tissue",
    "pmid",
    "involve_cancer",
    "spots_declared",
    "genes_declared",
    "spots_in_counts",
    "spots_in_coord",
    "spots_kept",
    "spots_dropped",
    "genes",
    "um_per_px",
    "tier",
    "flags",
    "warnings",
    "anndata",
    "tiles",
)
STATES = ("done", "failed", "excluded", "not_selected")
#: How the reason of a slide begins whose run ended before it, which is no fault of the slide.
UNFINISHED = "not finished"
#: Failed slides that the terminal names.
NAMED = 20


def build_manifest(
    catalogue_path: str | Path,
    status: dict[str, tuple[str, str]],
    manifest: str | Path,
    summary: str | Path,
) -> None:
    """Write the manifest and the summary from what stands in the working directory.

    Parameters
    ----------
    catalogue_path
        The catalogue.
    status
        Per slide ``(selected | excluded | not_selected, reason)``, as ``selection.select`` gives.
    manifest
        Where to write the table: tab-separated, one line a slide of the catalogue, :data:`COLUMNS`.
    summary
        Where to write the totals, JSON.
    """
    slides = catalogue.read(catalogue_path)
    rows = [_row(slides.slides[name], *status[name]) for name in slides.slides]
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, delimiter="\t", lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_text(manifest, table.getvalue())
    totals = summarise(slides, rows)
    write_text(summary, json.dumps(totals, indent=1, ensure_ascii=False) + "\n")


def write_citations(
    catalogue_path: str | Path, status: dict[str, tuple[str, str]], out: str | Path
) -> None:
    """Write the BibTeX of the studies that the selected slides come from.

    Empty but for a comment where the dataset has no bibliography, as a folder may.
    """
    slides = catalogue.read(catalogue_path)
    pmids = [row.pmid for name, row in slides.slides.items() if status[name][0] == "selected"]
    bib = ""
    for path in slides.bibs:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            bib += Path(path).read_text(encoding="utf-8", errors="replace") + "\n"
    write_text(out, citations(bib, pmids) or "% no study is named for the selected slides\n")


def read_manifest(path: str | Path) -> list[dict[str, str]]:
    """Read a manifest: one dict a slide, every value as text."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def summarise(slides: catalogue.Catalogue, rows: list[dict]) -> dict:
    """Total what the catalogue declares and what was built.

    Returns
    -------
    dict
        ``dataset``, ``revision``, ``states`` (slides by status), and under ``declared`` (whole
        catalogue), ``selected`` (the same figures of the selected slides) and ``found`` (slides
        that are done): ``slides``, ``pairs``, ``tech``, ``species``, ``tissue``; the last three
        give slides and pairs by value.
    """
    chosen = [row for row in rows if row["status"] in ("done", "failed")]
    done = [row for row in rows if row["status"] == "done"]
    states = Counter(row["status"] for row in rows)
    return {
        "dataset": slides.dataset,
        "revision": slides.revision,
        "states": {state: states[state] for state in STATES},
        "declared": _totals(rows, "spots_declared"),
        "selected": _totals(chosen, "spots_declared"),
        "found": _totals(done, "spots_kept"),
    }


def describe(path: str | Path) -> str:
    """Sum a manifest up for the terminal: how many slides are done, which failed and why.

    Those that an interrupted run did not come to are named last.
    """
    rows = read_manifest(path)
    states = Counter(row["status"] for row in rows)
    failed = [row for row in rows if row["status"] == "failed"]
    failed.sort(key=_is_unfinished)
    lines = [
        f"  FAILED {row['slide']} at {row['stage']}: {row['reason']}\n"
        f"    what to do: {row['hint']}\n"
        f"    log: logs/{row['stage']}/{row['slide']}.log"
        for row in failed[:NAMED]
    ]
    if len(failed) > NAMED:
        lines.append(f"  ... and {len(failed) - NAMED} more")
    counts = {state: f"{states[state]} {state.replace('_', ' ')}" for state in STATES}
    if unfinished := sum(map(_is_unfinished, failed)):
        counts["failed"] += f" ({unfinished} of them {UNFINISHED})"
    lines.append(f"Slides: {', '.join(counts.values())}.")
    lines.append(f"Look at {Path(path).parent / 'report/index.html'} or {path}.")
    return "\n".join(lines)


def _is_unfinished(row: dict[str, str]) -> bool:
    """Whether a row of the manifest is of a slide that the run did not come to the end of."""
    return row["reason"].startswith(UNFINISHED)


def _row(slide: catalogue.Slide, state: str, reason: str) -> dict:
    row = {
        "slide": slide.slide,
        "status": state,
        "reason": reason,
        "tech": slide.tech,
        "species": slide.species,
        "tissue": slide.tissue,
        "pmid": slide.pmid,
        "involve_cancer": slide.involve_cancer,
        "spots_declared": slide.spots,
        "genes_declared": slide.genes,
    }
    return row | _outcome(slide.slide) if state == "selected" else row


def _outcome(slide: str) -> dict:
    """Say what became of a selected slide: its record, its failure, or where its chain stopped."""
    failure = read_failure(slide)
    if failure:
        return {"status": "failed"} | {key: failure[key] for key in ("stage", "reason", "hint")}
    for step, products in PRODUCTS.items():
        if SLIDE_STEPS[step].optional:
            continue
        if not all(os.path.exists(product.format(slide=slide)) for product in products):
            return {
                "status": "failed",
                "stage": step,
                "reason": f"{UNFINISHED}: the run ended, or the job was killed, before this step",
                "hint": f"run the same command again; if it stays, read logs/{step}/{slide}.log",
            }
    try:
        return {"status": "done", "reason": ""} | _found(slide)
    except (ValueError, KeyError) as error:
        return {
            "status": "failed",
            "stage": "build_anndata",
            "reason": f"its record cannot be read: {error!r}",
            "hint": f"remove results/records/{slide}.json and run the same command again",
        }


def _found(slide: str) -> dict:
    """Say what the record of a finished slide holds."""
    record = json.loads(Path(f"results/records/{slide}.json").read_text(encoding="utf-8"))
    return {
        "spots_in_counts": record["spots"]["in_counts"],
        "spots_in_coord": record["spots"]["in_coord"],
        "spots_kept": record["spots"]["kept"],
        "spots_dropped": sum(record["spots"]["dropped"].values()),
        "genes": record["expression"]["genes"],
        "um_per_px": record["geometry"]["um_per_px"],
        "tier": record["geometry"]["tier"],
        "flags": ",".join(record["flags"]),
        "warnings": " | ".join(record["warnings"]),
        "anndata": f"anndata/{slide}.h5ad",
        "tiles": f"tiles/{slide}.h5",
    }


def _cell(value) -> str:
    """Render a value so that no text of the dataset can break a line or a column."""
    text = "" if value is None else str(value)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _totals(rows: list[dict], pairs: str) -> dict:
    def by(column: str) -> dict:
        values = sorted({row[column] for row in rows})
        return {value: count([row for row in rows if row[column] == value]) for value in values}

    def count(some: list[dict]) -> dict:
        return {"slides": len(some), "pairs": sum(int(row[pairs]) for row in some)}

    return count(rows) | {column: by(column) for column in ("tech", "species", "tissue")}
