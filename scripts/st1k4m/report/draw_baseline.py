"""Draw the page of a baseline: its encoders by tissue with intervals, and genes on a slide.

The page is one file without dependencies; a browser opens it from disk.
"""

import base64
import html
from pathlib import Path

import cv2
import numpy as np

from st1k4m.baseline.numbers import numbers, read_json
from st1k4m.run.outputs import write_text

#: Longest side of a painted slide, pixels.
SIDE = 260
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: #222; background: #fff; }
h1, h2 { font-weight: 600; line-height: 1.2; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
td small { color: #555; display: block; white-space: nowrap; }
.note { color: #555; max-width: 48rem; }
.genes { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figure { margin: 0; } figcaption { font-size: 13px; }
figure img { background: #f3f3f3; }
"""
#: (protocol, metric) -> title of the section, in the order of the page.
TITLES = {
    ("clean", "pearson"): "Expression, clean: correlation per slide and gene",
    ("hest", "pearson"): "Expression as HEST's benchmark measures it",
    ("held_out_studies", "macro_f1"): "Labels of studies that were not trained on: macro F1",
    ("held_out_slides", "macro_f1"): "Labels of slides that were not trained on: macro F1",
    ("authors", "macro_f1"): "Labels of random spots, as the dataset's authors measure: macro F1",
    (
        "clean",
        "silhouette",
    ): "How labels stand apart, features scaled by the other folds: silhouette",
    ("authors", "silhouette"): "How labels stand apart in raw features: silhouette",
    ("held_out", "recall@10"): "A tile's expression among the nearest ten, on held-out slides",
    ("chance", "recall@10"): "What chance would find among the nearest ten",
}
NOTES = {
    "clean": "Genes, scale and penalty are learned from the training part; the interval is a 95 % "
    "bootstrap over patients or studies.",
    "hest": "Genes are chosen on all slides, and spots of several slides are correlated together; "
    "mean and deviation over folds.",
}


def draw_baseline(everything: str | Path, painted: dict[str, str | Path], page: str | Path) -> None:
    """Draw the page of a baseline.

    Parameters
    ----------
    everything
        The file of all numbers, from ``build_baseline``.
    painted
        Encoder -> the file for painting, from ``fit_ridge``.
    page
        Where to write the page (HTML).
    """
    content = read_json(everything)
    rows = content["rows"]
    parts = [f"<h1>Baseline {_text(content['baseline'])}</h1>", _describe(content)]
    for (protocol, metric), title in TITLES.items():
        here = [row for row in rows if (row["protocol"], row["metric"]) == (protocol, metric)]
        if here:
            parts += [f"<h2>{title}</h2>", _note(protocol), _table(here)]
    parts.append(_undefined(rows))
    for encoder, path in painted.items():
        shown = read_json(path)
        if shown:
            parts += [f"<h2>Best and worst genes by {_text(encoder)}</h2>", _paint(shown)]
    body = "\n".join(part for part in parts if part)
    write_text(
        page,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Baseline '
        f"{_text(content['baseline'])}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n",
    )


def draw_spots(
    x: np.ndarray, y: np.ndarray, values: np.ndarray, low: float, high: float
) -> np.ndarray:
    """Draw spots as dots, coloured by their values.

    Parameters
    ----------
    x, y
        Positions, ``(n,)``, in any unit.
    values
        ``(n,)``.
    low, high
        `low` and lower values have the darkest colour, `high` and higher values the brightest.

    Returns
    -------
    numpy.ndarray
        ``(h, w, 4)`` uint8 BGRA, the longest side `SIDE`, transparent between the spots.
    """
    extent = max(float(np.ptp(x)), float(np.ptp(y)), 1.0)
    # 0.4 of the distance of spots that fill the square evenly.
    radius = max(1, round(0.4 * SIDE / max(np.sqrt(len(x)), 1)))
    scale = (SIDE - 2 * radius - 2) / extent
    across, down = ((v - v.min()) * scale + radius + 1 for v in (x, y))
    shape = int(down.max()) + radius + 2, int(across.max()) + radius + 2
    share = np.clip((values - low) / (high - low if high > low else 1.0), 0, 1)
    grey = np.round(share * 255).astype(np.uint8).reshape(-1, 1)
    colours = cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS).reshape(-1, 3)
    picture = np.zeros((*shape, 4), np.uint8)
    for centre, colour in zip(zip(across, down, strict=True), colours.tolist(), strict=True):
        cv2.circle(picture, tuple(round(float(v)) for v in centre), radius, (*colour, 255), -1)
    return picture


def _describe(content: dict) -> str:
    options = content["options"]
    ridge = next(iter(content["encoders"].values()))["ridge"]
    groups = {facts["group"] for facts in ridge["slides"].values()}
    folds = len(ridge["protocols"]["clean"])
    mismatch = sorted(
        {
            sentence
            for tasks in content["encoders"].values()
            for sentence in tasks["ridge"]["features"].get("mismatch", {}).values()
        }
    )
    lines = [
        f"{len(ridge['slides'])} slides in {len(groups)} groups; split {_text(options['split'])}, "
        f"{folds} {'fold' if folds == 1 else 'folds'}; genes as panel {_text(options['panel'])} "
        "chooses them. <code>pixels</code> and <code>training_mean</code> are the floors: what "
        "does not beat them has learned nothing about tissue."
    ]
    lines += [f"<strong>Note:</strong> {_text(sentence)}" for sentence in mismatch[:5]]
    return "".join(f'<p class="note">{line}</p>' for line in lines)


def _note(protocol: str) -> str:
    return f'<p class="note">{NOTES[protocol]}</p>' if protocol in NOTES else ""


def _table(rows: list[dict]) -> str:
    encoders = list(dict.fromkeys(row["encoder"] for row in rows))
    tissues = list(dict.fromkeys(row["tissue"] for row in rows))
    cells = {(row["encoder"], row["tissue"]): row for row in rows}
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in ["encoder", *tissues])
    lines = [
        f'<tr><th scope="row">{_text(encoder)}</th>'
        + "".join(_cell(cells.get((encoder, tissue))) for tissue in tissues)
        + "</tr>"
        for encoder in encoders
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cell(row: dict | None) -> str:
    if row is None or row["value"] == "":
        return "<td>not defined</td>" if row else "<td></td>"
    value = f"{float(row['value']):.3f}"
    within = (
        f"<small>{float(row['low']):.3f} to {float(row['high']):.3f}</small>"
        if row["low"] != ""
        else "<small>one group: no interval</small>"
    )
    return f'<td title="{_text(row["groups"])} groups">{value}{within}</td>'


def _undefined(rows: list[dict]) -> str:
    counted = [
        f"{_text(row['encoder'])}, {_text(row['protocol'])}: {row['value']}"
        for row in rows
        if row["metric"] == "undefined" and row["tissue"] == "all" and row["value"] != "0"
    ]
    if not counted:
        return ""
    return (
        '<p class="note">Correlations that are not defined, because a gene is constant or was not '
        f"measured on a slide: {'; '.join(counted)}. The JSON names each with its reason.</p>"
    )


def _paint(shown: dict) -> str:
    x, y = numbers(shown["x"]), numbers(shown["y"])
    figures = []
    for gene in shown["genes"]:
        measured, predicted = numbers(gene["measured"]), numbers(gene["predicted"])
        # Both pictures have one colour scale, so a prediction with too little contrast is visible.
        low, high = np.quantile(measured, [0.02, 0.98])
        pictures = "".join(
            _image(draw_spots(x, y, values, low, high), f"{gene['gene']}, {what}")
            for what, values in (("measured", measured), ("predicted", predicted))
        )
        figures.append(
            f"<figure>{pictures}<figcaption>{_text(gene['gene'])}: measured, predicted; "
            f"correlation {gene['pearson']:.2f}</figcaption></figure>"
        )
    return (
        f'<p class="note">Slide {_text(shown["slide"])}, tested in fold {_text(shown["fold"])}; '
        f'best genes first.</p><div class="genes">{"".join(figures)}</div>'
    )


def _image(picture: np.ndarray, alt: str) -> str:
    data = base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{_text(alt)}">'


def _text(value: object) -> str:
    return html.escape(str(value))
