"""The report over all slides of the published table: size, time to build, time to first view.

python tests/benchmarks/bench_report.py [--quick] [--meta PATH] [--folder bench]

Every slide has about as many spots as the table states and 300 genes; its products are generated,
so this says what the report costs, not the chain before it. Without ``--meta``, the published meta
table, as many slides are made up.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import measure
import published

sys.path.insert(0, str(measure.SCRIPTS))
sys.path.append(str(Path(__file__).parents[1]))

import browser
import report_data
from st1k4m.demo import tissue as demo_tissue

GENES, PIXELS = 300, 1200


def choose_slides(rows: list[dict[str, str]], most: int) -> list[dict]:
    """Arguments of `catalogue.Slide` for the rows, every n-th where fewer are asked."""
    step = max(1, len(rows) // most)
    names = ("slide", "tech", "species", "tissue", "pmid", "title")
    return [
        {name: row[name] for name in names} | {"spots": int(row["spot_num"])}
        for row in rows[::step][:most]
    ]


def make_slide(row: dict, number: int) -> float:
    """Make a slide's products and draw it; seconds of the drawing.

    Slides of one technology with as many spots, to one digit, share their data under own names.
    """
    spots = int(float(f"{row['spots']:.0e}"))
    model = f"model_{row['tech']}_{spots}"
    if not Path(f"results/records/{model}.json").exists():
        wide = 1.3 * spots**0.5 * demo_tissue.ARRAYS[row["tech"]].pitch_um
        size = {"spots": spots, "genes": GENES, "um_per_px": wide / PIXELS}
        report_data.make_products(".", model, tech=row["tech"], **size)
    for kind in ("anndata/{}.h5ad", "tiles/{}.h5", "ledger/{}.parquet"):
        Path("results", kind.format(row["slide"])).hardlink_to(Path("results", kind.format(model)))
    record = json.loads(Path(f"results/records/{model}.json").read_text())
    record |= {"slide": row["slide"], "flags": ["radius_inconsistent"] * (number % 20 == 0)}
    Path(f"results/records/{row['slide']}.json").write_text(json.dumps(record))
    begin = time.perf_counter()
    report_data.draw(".", row["slide"])
    return time.perf_counter() - begin


def look(index: Path) -> list[tuple[str, str]]:
    """Open the report as a person does: seconds and memory by what is seen."""
    if not all(browser.find()):
        return [("browser", "chromium and chromedriver are not installed")]
    first = "[...document.images].slice(0, 5)"
    seen = f"return document.images.length >= 5 && {first}.every((one) => one.complete)"
    found = []
    with browser.opened() as driver:
        driver.execute_cdp_cmd("Performance.enable", {})

        def memory() -> str:
            metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
            values = {metric["name"]: metric["value"] for metric in metrics}
            return f"{values['JSHeapUsedSize'] / 1e6:.0f} MB heap, {values['Nodes']:.0f} nodes"

        begin = time.perf_counter()
        driver.get(index.resolve().as_uri())
        while not driver.execute_script(seen):
            time.sleep(0.01)
        found.append(("first view with its pictures", f"{time.perf_counter() - begin:.2f} s"))
        found.append(("memory at first view", memory()))
        begin = time.perf_counter()
        end = "scrollTo(0, 1e9); return document.querySelectorAll('.card').length"
        last = -1
        while (cards := driver.execute_script(end)) != last:
            last = cards
            time.sleep(0.3)
        found.append((f"memory with all {cards} cards", memory()))
        driver.find_elements("css selector", ".card.done a")[0].click()
        begin = time.perf_counter()
        while not driver.find_elements("css selector", "canvas"):
            time.sleep(0.01)
        found.append(("opening a slide", f"{time.perf_counter() - begin:.2f} s"))
    return found


def main() -> None:
    """Make the slides, build the report, look at it, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="60 slides instead of all")
    parser.add_argument("--meta", type=Path, help="the published meta table")
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    arguments = parser.parse_args()
    rows = choose_slides(
        published.read_slides(arguments.meta), 60 if arguments.quick else 1_000_000
    )
    folder = arguments.folder / "report"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    drawn = [make_slide(row, number) for number, row in enumerate(rows)]
    report_data.finish(rows)
    made = "'results/manifest.tsv', 'results/summary.json', 'results/report', 'logs'"
    built = measure.run_python(
        f"from st1k4m.report import build_report\nbuild_report.build_report({made})"
    )
    files = [path for path in Path("results/report").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    index = sum(path.stat().st_size for path in files if path.parent.name == "report")
    table = [
        ("slides, spots", f"{len(rows):,}, {sum(row['spots'] for row in rows):,}"),
        ("drawing a slide", f"median {statistics.median(drawn):.2f} s, most {max(drawn):.1f} s"),
        ("building the report", f"{built.seconds:.1f} s"),
        ("size of the folder", f"{size / 1e6:.0f} MB in {len(files):,} files"),
        ("a slide", f"{(size - index) / len(rows) / 1e3:.0f} kB"),
        ("what the first view loads beside pictures", f"{index / 1e3:.0f} kB"),
        *look(Path("results/report/index.html")),
    ]
    for name, value in table:
        print(f"{name:45} {value}")


if __name__ == "__main__":
    main()
