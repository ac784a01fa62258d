"""List all slides in one table, and compare declared totals with those that were found.

When a run fails, the main process writes both.
"""

import contextlib
import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from st1k4m import codes
from st1k4m.formats.record import read_record
from st1k4m.run.failures import read_failure
from st1k4m.run.outputs import remove, write_text
from st1k4m.run.products import read_made, read_origins
from st1k4m.run.steps import PRODUCTS, SLIDE_STEPS, STEPS
from st1k4m.run.text import escape, one_line
from st1k4m.source import catalogue
from st1k4m.source.bibliography import citations

COLUMNS = (
    "slide",
    "status",
    "stage",
    "cause",
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
#: Number of failed slides that are printed by name.
NAMED = 20
#: Warning of a slide that is not selected.
LEFT_OVER = "products of an earlier run are still here; snakemake remove_leftovers removes them"
#: Statuses of slides that are selected.
_BUILT = (codes.DONE, codes.FAILED)


def build_manifest(
    catalogue_path: str | Path,
    status: dict[str, tuple[str, str]],
    manifest: str | Path,
    summary: str | Path,
    references: str | Path,
) -> None:
    """Write the manifest, the summary and the studies from the files in the working directory.

    Parameters
    ----------
    catalogue_path
        The catalogue.
    status
        Slide -> (one of `codes.SELECTIONS`, reason), from ``selection.select``.
    manifest
        Where to write the table: tab-separated, `COLUMNS`, one row per slide of the catalogue.
    summary
        Where to write the totals, JSON.
    references
        Where to write the studies that the selected slides come from, BibTeX.
    """
    slides = catalogue.read(catalogue_path)
    rows = list_slides(slides, status)
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, delimiter="\t", lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_text(manifest, table.getvalue())
    totals = summarise(slides, rows)
    write_text(summary, json.dumps(totals, indent=1, ensure_ascii=False) + "\n")
    write_citations(slides, status, references)


def list_slides(
    slides: catalogue.Catalogue, status: dict[str, tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return one row per slide of the catalogue, by `COLUMNS`, from the files on the disk."""
    rows = [_row(slides.slides[name], *status[name]) for name in slides.slides]
    leftovers = find_leftovers({row["slide"] for row in rows if row["status"] in _BUILT})
    for row in rows:
        if row["slide"] in leftovers:
            row["warnings"] = LEFT_OVER
    return rows


def write_citations(
    slides: catalogue.Catalogue, status: dict[str, tuple[str, str]], out: str | Path
) -> None:
    """Write the BibTeX of the studies that the selected slides come from.

    If no study is known, the file has only a comment: a dataset folder may have no bibliography.
    """
    pmids = [row.pmid for name, row in slides.slides.items() if status[name][0] == codes.SELECTED]
    bib = ""
    for path in slides.bibs:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            bib += Path(path).read_text(encoding="utf-8", errors="replace") + "\n"
    write_text(out, citations(bib, pmids) or "% no study is named for the selected slides\n")


def read_manifest(path: str | Path) -> list[dict[str, str]]:
    """Read a manifest: one dict per slide, every value as text."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def summarise(slides: catalogue.Catalogue, rows: list[dict]) -> dict:
    """Sum up what the catalogue declares and what was built.

    Returns
    -------
    dict
        ``dataset``, ``revision``, ``states`` (slides by status), and under ``declared`` (whole
        catalogue), ``selected`` (declared figures of the selected slides) and ``found`` (slides
        that are done): ``slides``, ``pairs``, ``tech``, ``species``, ``tissue``. The last three
        give slides and pairs by value.
    """
    chosen = [row for row in rows if row["status"] in _BUILT]
    done = [row for row in rows if row["status"] == codes.DONE]
    states = Counter(row["status"] for row in rows)
    return {
        "dataset": slides.dataset,
        "revision": slides.revision,
        "states": {state: states[state] for state in codes.STATUSES},
        "declared": _totals(rows, "spots_declared"),
        "selected": _totals(chosen, "spots_declared"),
        "found": _totals(done, "spots_kept"),
    }


def describe(
    rows: list[dict[str, Any]], results: str | Path, leftovers: Sequence[str], failed: bool
) -> str:
    """Return a summary for the terminal: slides done, slides failed and why, and what to do.

    Parameters
    ----------
    rows
        Rows from `list_slides`.
    results
        The folder of the results.
    leftovers
        Slides that are not selected but have products in the results.
    failed
        Whether the run failed, so that ``failed.yaml`` was written.
    """
    states = Counter(row["status"] for row in rows)
    wrong = [row for row in rows if row["status"] == codes.FAILED]
    unfinished = sum(row["cause"] == codes.NOT_REACHED for row in wrong)
    if not failed:  # only some targets: slides not reached did not fail
        wrong = [row for row in wrong if row["cause"] != codes.NOT_REACHED]
    wrong.sort(key=lambda row: row["cause"] == codes.NOT_REACHED)  # these are listed last
    lines = [
        f"  FAILED {row['slide']} at {row['stage']}: {row['reason']}\n"
        f"    what to do: {row['hint']}\n"
        f"    log: logs/{row['stage']}/{row['slide']}.log"
        for row in wrong[:NAMED]
    ]
    if len(wrong) > NAMED:
        lines.append(f"  ... and {len(wrong) - NAMED} more")
    counts = {state: f"{states[state]} {state.replace('_', ' ')}" for state in codes.STATUSES}
    counts[codes.FAILED] = f"{len(wrong)} failed"
    if unfinished:
        counts[codes.FAILED] += f" ({unfinished} of them not finished)" if failed else ""
        counts |= {} if failed else {"unfinished": f"{unfinished} not finished"}
    if failed and len(wrong) > unfinished:
        lines.append(f"To continue without failed slides, add --configfile {results}/failed.yaml")
    if leftovers:
        lines.append(
            f"{results} has products of {len(leftovers)} slides that are not selected, such as "
            f"{leftovers[0]}. snakemake remove_leftovers lists and removes them."
        )
    lines.append(f"Slides: {', '.join(counts.values())}.")
    pages = [Path(results, name) for name in ("report/index.html", "manifest.tsv")]
    if found := [str(page) for page in pages if page.exists()]:  # not after `describe` alone
        lines.append(f"Look at {' or '.join(found)}.")
    return "\n".join(lines)


def write_failed(rows: list[dict[str, Any]], out: str | Path) -> None:
    """Write a configuration that excludes the slides whose jobs failed, with their reasons.

    If no job failed, the file of an earlier run is removed.
    """
    failed = {
        row["slide"]: f"{row['stage']}: {_cell(row['reason'])}"
        for row in rows
        if row["status"] == codes.FAILED and row["cause"] != codes.NOT_REACHED
    }
    if not failed:
        Path(out).unlink(missing_ok=True)
        return
    lines = [
        "# The slides that failed in the last run. To go on without them:",
        "#   snakemake --cores N --configfile results/failed.yaml   (and your other options)",
        "exclude:",
        *(f"  {json.dumps(slide)}: {json.dumps(reason)}" for slide, reason in failed.items()),
    ]
    write_text(out, "".join(f"{line}\n" for line in lines))


def find_leftovers(selected: Collection[str]) -> dict[str, list[str]]:
    """Find the products of slides that are not selected: slide -> paths."""
    found: dict[str, list[str]] = {}
    for pattern in (path for products in PRODUCTS.values() for path in products):
        folder, suffix = pattern.split("{slide}")
        try:
            names = sorted(os.listdir(folder))
        except FileNotFoundError:
            continue
        for name in names:
            slide = name.removesuffix(suffix)
            if name.endswith(suffix) and slide not in selected and not name.startswith("."):
                found.setdefault(slide, []).append(folder + name)
    return dict(sorted(found.items()))


def remove_leftovers(found: dict[str, list[str]], tell: Callable[[str], None]) -> None:
    """Report the files that `find_leftovers` found, by calling ``tell``, and remove them."""
    for slide, paths in found.items():
        tell(f"{slide}: {', '.join(paths)}")
        for path in paths:
            remove(path)
    remove(STEPS["build_manifest"].makes["complete"])  # the next run writes the manifest again
    tell(f"removed the products of {len(found)} slides that are not selected")


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
    return row | _outcome(slide.slide) if state == codes.SELECTED else row


def _outcome(slide: str) -> dict[str, Any]:
    """Return the state of a selected slide: its failure, the step that is missing, or its record.

    Only files below ``results/`` decide whether it is done: ``work/`` may be removed.
    """
    if failure := read_failure(slide):
        cause = codes.BAD_DATA if failure["final"] else codes.ERROR
        return {"status": codes.FAILED, "cause": cause} | {
            key: failure[key] for key in ("stage", "reason", "hint")
        }
    for step, products in PRODUCTS.items():
        wanted = [path.format(slide=slide) for path in products if path.startswith("results/")]
        if not SLIDE_STEPS[step].optional and not all(map(os.path.exists, wanted)):
            return {
                "status": codes.FAILED,
                "cause": codes.NOT_REACHED,
                "stage": _reached(slide, step),
                "reason": f"not finished: {codes.CAUSES[codes.NOT_REACHED]}",
                "hint": f"run the same command again; if it stays, read logs/{step}/{slide}.log",
            }
    record = _product("build_anndata", "record", slide)
    try:
        found = _found(slide)
    except (ValueError, KeyError) as error:
        return _wrong_product(record, f"it cannot be read: {error!r}")
    origins = {made.step: made for made in read_origins(record)}
    for step, name in (
        ("build_anndata", "anndata"),
        ("build_anndata", "ledger"),
        ("cut_tiles", "tiles"),
    ):
        path = _product(step, name, slide)
        try:
            made = read_made(path) if origins else None
        except (OSError, ValueError) as error:
            return _wrong_product(path, f"it cannot be opened ({escape(str(error))})")
        if made != origins.get(step):
            return _wrong_product(path, "it does not belong to the slide's record")
    return {"status": codes.DONE, "reason": ""} | found


def _product(step: str, name: str, slide: str) -> str:
    return SLIDE_STEPS[step].makes[name].format(slide=slide)


def _reached(slide: str, step: str) -> str:
    """Return the first step of the chain whose product is missing, also those below ``work/``."""
    for earlier, products in PRODUCTS.items():
        paths = [path.format(slide=slide) for path in products]
        if SLIDE_STEPS[earlier].optional:
            continue
        if earlier == step or (paths and not all(map(os.path.exists, paths))):
            return earlier
    return step


def _wrong_product(path: str, why: str) -> dict[str, Any]:
    return {
        "status": codes.FAILED,
        "cause": codes.ERROR,
        "stage": "build_anndata",
        "reason": f"{path}: {why}",
        "hint": f"remove {path} and run the same command again",
    }


def _found(slide: str) -> dict:
    """Return the figures of a finished slide, from its record."""
    record = read_record(_product("build_anndata", "record", slide))
    return {
        "spots_in_counts": record.spots.in_counts,
        "spots_in_coord": record.spots.in_coord,
        "spots_kept": record.spots.kept,
        "spots_dropped": sum(record.spots.dropped.values()),
        "genes": record.genes,
        "um_per_px": record.um_per_px,
        "tier": record.tier,
        "flags": ",".join(record.flags),
        "warnings": " | ".join(record.warnings),
        "anndata": _product("build_anndata", "anndata", slide).removeprefix("results/"),
        "tiles": _product("cut_tiles", "tiles", slide).removeprefix("results/"),
    }


def _cell(value) -> str:
    """Return a value as one line of text: no text of the dataset can break a row or a column."""
    return "" if value is None else one_line(str(value))


def _totals(rows: list[dict], pairs: str) -> dict:
    def by(column: str) -> dict:
        values = sorted({row[column] for row in rows})
        return {value: count([row for row in rows if row[column] == value]) for value in values}

    def count(some: list[dict]) -> dict:
        return {"slides": len(some), "pairs": sum(int(row[pairs]) for row in some)}

    return count(rows) | {column: by(column) for column in ("tech", "species", "tissue")}
