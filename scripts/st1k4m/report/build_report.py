"""Assemble the report from what each slide's own chain has drawn.

Standard library only, and seconds for a thousand slides: the run that fails builds it as well.
"""

import json
import statistics
from pathlib import Path

from st1k4m import codes
from st1k4m.collection import build_manifest
from st1k4m.run.job import usage_path
from st1k4m.run.outputs import write_text
from st1k4m.run.steps import PRODUCTS

ASSETS = Path(__file__).parent / "assets"
#: Of the manifest, for the gallery; what a slide's own card says comes on top.
ROW = ("slide", "status", "stage", "reason", "hint", "tech", "species", "tissue", "pmid")
CARD = (
    "spots",
    "dropped",
    "genes",
    "um_per_px",
    "tier",
    "flags",
    "medians",
    "placement",
    "picture",
)


def script_json(value) -> str:
    """Write JSON that is safe within a script: no text can end it or begin a tag."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    escapes = {letter: f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
    return text.translate(str.maketrans(escapes))


def write_page(path: str | Path, card: dict, data: dict) -> None:
    """Write a slide's data: the first line is its card, the second its own page."""
    write_text(path, f"card({script_json(card)});\npage({script_json(data)});\n")


def read_card(path: str | Path) -> dict:
    """Read the card from the first line of what `write_page` wrote."""
    with open(path, encoding="utf-8") as file:
        line = file.readline()
    return json.loads(line.removeprefix("card(").removesuffix(");\n"))


def build_report(
    manifest_path: str | Path, summary: str | Path, folder: str | Path, logs: str | Path
) -> tuple[Path, ...]:
    """Write the gallery, the dataset's page and what both need.

    Parameters
    ----------
    manifest_path, summary
        What ``build_manifest`` wrote.
    folder
        The report's folder, which holds what ``draw_slide`` drew of the slides that are done.
    logs
        The folder of logs, a folder per step in it; seconds and memory of the jobs come from it.

    Returns
    -------
    tuple of Path
        What was written.
    """
    folder = Path(folder)
    rows = build_manifest.read_manifest(manifest_path)
    totals = json.loads(Path(summary).read_text(encoding="utf-8"))
    cards = [make_row(row, folder) for row in rows]
    columns = [*ROW, "declared", *CARD, "bytes"]
    table = {"columns": columns, "rows": [[card[column] for column in columns] for card in cards]}
    names = [row["slide"] for row in rows if row["status"] in (codes.DONE, codes.FAILED)]
    texts = {asset.name: asset.read_text(encoding="utf-8") for asset in sorted(ASSETS.iterdir())}
    meanings = {"flags": codes.FLAGS, "reasons": codes.REASONS}
    texts["cards.js"] = (
        f"codes({script_json(meanings)});\n"
        f"totals({script_json(totals)});\ncards({script_json(table)});\n"
    )
    texts["run.js"] = f"run({script_json(time_steps(names, Path(logs)))});\n"
    for name, text in texts.items():
        write_text(folder / name, text)
    return tuple(folder / name for name in texts)


def make_row(row: dict[str, str], folder: Path) -> dict:
    """Join a slide's row of the manifest and its card; what is not known is None."""
    name = row["slide"]
    card = dict.fromkeys(CARD)
    size = 0
    if row["status"] == codes.DONE:
        card |= read_card(folder / "slides" / f"{name}.js")
        drawn = ("slides/{}.js", "tissue/{}.jpg", "thumbs/{}.jpg", "tiles/{}.jpg")
        size = sum((folder / path.format(name)).stat().st_size for path in drawn)
    declared = int(row["spots_declared"] or 0)
    return card | {key: row[key] for key in ROW} | {"declared": declared, "bytes": size}


def time_steps(slides: list[str], logs: Path) -> list[dict]:
    """Sum up what the jobs of each step took, from the files beside their logs.

    Returns
    -------
    list of dict
        A dict a step that has run: ``step``, ``jobs``, ``seconds`` in total, ``median`` seconds,
        ``longest`` and ``largest``: seconds, and peak MB, each with the slide.
    """
    steps = []
    for step in PRODUCTS:
        ended = [(*read_usage(logs / step / f"{slide}.log"), slide) for slide in slides]
        ended = [(seconds, memory, slide) for seconds, memory, slide in ended if memory]
        if ended:
            steps.append(
                {
                    "step": step,
                    "jobs": len(ended),
                    "seconds": round(sum(seconds for seconds, _, _ in ended), 1),
                    "median": round(statistics.median(seconds for seconds, _, _ in ended), 1),
                    "longest": max((seconds, slide) for seconds, _, slide in ended),
                    "largest": max((memory, slide) for _, memory, slide in ended),
                }
            )
    return steps


def read_usage(log: Path) -> tuple[float, int]:
    """Return seconds and peak MB of a job by its log; zeros if it did not end well."""
    try:
        usage = json.loads(usage_path(log).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0.0, 0
    return usage["seconds"], usage["peak_mb"]
