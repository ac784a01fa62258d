"""Join the scores of a baseline's encoders into one table and one file of all numbers.

The table gives each value with its interval and its number of groups. The interval of published
recipes (``hest``, ``authors``) is mean -+ deviation over their folds, seeds or slides. Other
protocols have a bootstrap interval over the groups of the split: patients or studies.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from st1k4m.baseline import score_clusters
from st1k4m.baseline.numbers import numbers, read_json, write_json
from st1k4m.baseline.probe_labels import AUTHORS, BY_SLIDE, BY_STUDY
from st1k4m.baseline.scores import interval, mean_of, mean_over_groups
from st1k4m.run.outputs import write_text

COLUMNS = ("encoder", "protocol", "metric", "tissue", "value", "low", "high", "groups", "gap")
ALL = "all"
#: Comments at the head of the table.
HEAD = (
    "value, its interval from low to high, and the number of groups; empty if not defined.",
    "hest, authors: mean and deviation over folds, seeds or slides, as these recipes state.",
    "others: 95 % bootstrap interval over patients or studies.",
    "gap: the value of the published recipe minus this value.",
)


@dataclass(frozen=True)
class Row:
    """A row of the table; ``low`` and ``high`` are NaN if the interval is not defined."""

    encoder: str
    protocol: str
    metric: str
    tissue: str
    value: float
    low: float
    high: float
    groups: int
    gap: float = float("nan")


def build_baseline(
    measured: dict[str, list[str | Path]],
    table: str | Path,
    everything: str | Path,
    *,
    name: str,
    options: dict,
    contrastive: str | Path | None = None,
) -> None:
    """Write the table and the numbers of a baseline.

    Parameters
    ----------
    measured
        The files of scores of all encoders, by task: ``ridge``, and, if configured, ``probe`` and
        ``clusters``. Each file names its encoder.
    table
        TSV with `COLUMNS`.
    everything
        JSON: every number by encoder, fold, slide and gene, and the rows of the table.
    name
        Name of the baseline.
    options
        As configured; ``bootstrap`` (number of draws) and ``seed`` are used here.
    contrastive
        The scores that ``train_contrastive`` wrote, if configured.
    """
    draws, seed = options["bootstrap"], options["seed"]
    read: dict[str, dict[str, dict]] = {}
    for task, paths in measured.items():
        for path in paths:
            scores = read_json(path)
            read.setdefault(scores["encoder"], {})[task] = scores
    rows: list[Row] = []
    for encoder, tasks in read.items():
        for task, summarise in SUMMARIES.items():
            if task in tasks:
                rows += summarise(encoder, tasks[task], draws, seed)
    content = {"baseline": name, "options": options, "encoders": read}
    if contrastive is not None:
        content["contrastive"] = read_json(contrastive)
        rows += summarise_contrastive(content["contrastive"], draws, seed)
    content["rows"] = [dict(zip(COLUMNS, cells(row), strict=True)) for row in rows]
    write_text(table, write_table(rows))
    write_json(everything, content)


def summarise_ridge(encoder: str, scores: dict, draws: int, seed: int) -> list[Row]:
    """Return the rows of an encoder's ridge: first over all slides, then by tissue."""
    hest, clean = scores["protocols"]["hest"], scores["protocols"]["clean"]
    slides = [facts for fold in clean for facts in fold["slides"].values()]
    tissues = sorted({facts["tissue"] for facts in slides})
    rows = []
    for tissue in [ALL, *tissues]:
        found = [
            numbers(fold["pearson"] if tissue == ALL else fold["tissues"][tissue])
            for fold in hest
            if tissue == ALL or tissue in fold["tissues"]
        ]
        # As HEST does: if one gene has no correlation, the mean is undefined.
        by_fold = np.array([values.mean() for values in found])
        undefined = sum(int(np.isnan(values).sum()) for values in found)
        published = _spread(encoder, "hest", "pearson", tissue, by_fold)
        rows += [published, _count(encoder, "hest", tissue, undefined, len(found))]
        here = [facts for facts in slides if tissue in (ALL, facts["tissue"])]
        groups = [facts["group"] for facts in here]
        for metric in ("pearson", "mse"):
            by_slide = np.array([mean_of(numbers(facts[metric])) for facts in here])
            gap = published.value if metric == "pearson" else float("nan")
            rows.append(
                _over_groups(encoder, "clean", metric, tissue, by_slide, groups, draws, seed, gap)
            )
        undefined = sum(len(facts["undefined"]) for facts in here)
        rows.append(_count(encoder, "clean", tissue, undefined, len(set(groups))))
    return rows


def summarise_probe(encoder: str, scores: dict, draws: int, seed: int) -> list[Row]:
    """Return the rows of an encoder's probe; all studies have the same weight."""
    studies = scores["studies"]
    rows = []
    for tissue in [ALL, *sorted({study["tissue"] for study in studies})] if studies else []:
        here = [study for study in studies if tissue in (ALL, study["tissue"])]
        by_seed = np.array([_f1(study, AUTHORS) for study in here]).mean(axis=0)
        published = _spread(encoder, AUTHORS, "macro_f1", tissue, by_seed)
        rows.append(published)
        for protocol in (BY_SLIDE, BY_STUDY):
            tested = [study for study in here if protocol in study["protocols"]]
            if not tested:
                continue
            units = [
                (study["study"], value)
                for study in tested
                for fold in study["protocols"][protocol]["folds"]
                for value in fold["units"].values()
            ]
            # Of the same studies only: otherwise the gap would include differences between studies.
            same = mean_of(np.concatenate([_f1(study, AUTHORS) for study in tested]))
            # Units of one study are not independent: if there are several studies, draw studies.
            by_unit = np.array([value for _, value in units])
            owners = [owner for owner, _ in units]
            several = len(set(owners)) > 1
            groups = owners if several else [str(number) for number in range(len(units))]
            rows.append(
                _over_groups(
                    encoder, protocol, "macro_f1", tissue, by_unit, groups, draws, seed, same
                )
            )
    return rows


def summarise_clusters(encoder: str, scores: dict, draws: int, seed: int) -> list[Row]:
    """Return the rows of an encoder's cluster scores."""
    slides = list(scores["slides"].values())
    rows = []
    for tissue in [ALL, *sorted({facts["tissue"] for facts in slides})] if slides else []:
        here = [facts for facts in slides if tissue in (ALL, facts["tissue"])]
        groups = [facts["group"] for facts in here]
        for metric in score_clusters.METRICS:
            raw, clean = (
                numbers([facts["protocols"][protocol][metric] for facts in here])
                for protocol in (score_clusters.AUTHORS, score_clusters.CLEAN)
            )
            published = _spread(encoder, AUTHORS, metric, tissue, raw)
            rows.append(published)
            rows.append(
                _over_groups(
                    encoder, "clean", metric, tissue, clean, groups, draws, seed, published.value
                )
            )
    return rows


def summarise_contrastive(scores: dict, draws: int, seed: int) -> list[Row]:
    """Return the rows of the retrieval on held-out slides, and of retrieval by chance."""
    slides = list(scores["slides"].values())
    rows = []
    for tissue in [ALL, *sorted({facts["tissue"] for facts in slides})]:
        here = [facts for facts in slides if tissue in (ALL, facts["tissue"])]
        groups = [facts["group"] for facts in here]
        for protocol, key in (("held_out", "recall"), ("chance", "chance")):
            for rank in here[0][key]:
                values = numbers([facts[key][rank] for facts in here])
                rows.append(
                    _over_groups(
                        scores["encoder"],
                        protocol,
                        f"recall@{rank}",
                        tissue,
                        values,
                        groups,
                        draws,
                        seed,
                    )
                )
    return rows


SUMMARIES = {
    "ridge": summarise_ridge,
    "probe": summarise_probe,
    "clusters": summarise_clusters,
}


def write_table(rows: Iterable[Row]) -> str:
    """Return the table as text: comments, the header row, one line per row."""
    text = io.StringIO()
    text.writelines(f"# {line}\n" for line in HEAD)
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(cells(row) for row in rows)
    return text.getvalue()


def cells(row: Row) -> list[str]:
    """Return a row as texts, in the order of `COLUMNS`; NaN becomes empty."""
    values = [getattr(row, column) for column in COLUMNS]
    return [
        ("" if np.isnan(value) else f"{value:.6g}") if isinstance(value, float) else str(value)
        for value in values
    ]


def _f1(study: dict, protocol: str) -> np.ndarray:
    return numbers([fold["macro_f1"] for fold in study["protocols"][protocol]["folds"]])


def _spread(encoder: str, protocol: str, metric: str, tissue: str, values: np.ndarray) -> Row:
    """Return mean and mean -+ deviation of values, (n,); NaN if a value is NaN."""
    mean, deviation = float(values.mean()), float(values.std())
    return Row(
        encoder, protocol, metric, tissue, mean, mean - deviation, mean + deviation, len(values)
    )


def _over_groups(
    encoder: str,
    protocol: str,
    metric: str,
    tissue: str,
    values: np.ndarray,
    groups: list[str],
    draws: int,
    seed: int,
    published: float = float("nan"),
) -> Row:
    means = list(mean_over_groups(values, groups).values())
    value = float(np.mean(means)) if means else float("nan")
    low, high = interval(means, draws, seed)
    return Row(encoder, protocol, metric, tissue, value, low, high, len(means), published - value)


def _count(encoder: str, protocol: str, tissue: str, number: int, groups: int) -> Row:
    nothing = float("nan")
    return Row(encoder, protocol, "undefined", tissue, float(number), nothing, nothing, groups)
