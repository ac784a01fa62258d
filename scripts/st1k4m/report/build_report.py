"""Build the report from the files that each slide's own chain has drawn.

Only the standard library is used, and a thousand slides take seconds, because the main process of a
failed run builds the report too.
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
#: Columns of the manifest that the gallery shows, and keys of a slide's own card.
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
    """Return JSON that is safe within a script: no text can end the script or begin a tag."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    escapes = {letter: f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
    return text.translate(str.maketrans(escapes))


def write_page(path: str | Path, card: dict, data: dict) -> None:
    """Write a slide's data: the first line is its card, the second the data of its page."""
    write_text(path, f"card({script_json(card)});\npage({script_json(data)});\n")


def read_card(path: str | Path) -> dict:
    """Read the card from the first line of a file of `write_page`."""
    with open(path, encoding="utf-8") as file:
        line = file.readline()
    return json.loads(line.removeprefix("card(").removesuffix(");\n"))


def build_report(
    manifest_path: str | Path, summary: str | Path, folder: str | Path, logs: str | Path
) -> tuple[Path, ...]:
    """Write the gallery, the page of the dataset, and the files that both need.

    Parameters
    ----------
    manifest_path, summary
        The files that ``build_manifest`` wrote.
    folder
        The report's folder, with the files of ``draw_slide`` for the slides that are done.
    logs
        The folder of logs, with a folder per step. Seconds and memory of the jobs are read there.

    Returns
    -------
    tuple of Path
        The files that were written.
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
    """Join a slide's row of the manifest and its card; unknown values are None."""
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
    """Sum up time and memory of the jobs of each step, from the files next to their logs.

    Returns
    -------
    list of dict
        One dict per step that has run: ``step``, ``jobs``, ``seconds`` in total, ``median``
        seconds; ``longest`` (seconds, slide) and ``largest`` (peak MB, slide).
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
    """Return seconds and peak MB of the job with this log; zeros if the job did not succeed."""
    try:
        usage = json.loads(usage_path(log).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0.0, 0
    return usage["seconds"], usage["peak_mb"]
