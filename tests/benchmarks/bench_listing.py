"""How long a run takes to see what there is to do, over all slides of a hub and multiples of them.

python tests/benchmarks/bench_listing.py [--quick] [--meta PATH] [--folder bench]

``--meta`` is the published meta table; without it rows of the same number are made up.
"""

import argparse
import csv
import shutil
import sys
from pathlib import Path

import measure
import published

sys.path.append(str(Path(__file__).parents[1]))

from hub import REPO, File, LoopbackHub

COMMIT = "0123456789" * 4
TABLE = "meta/meta_all_gene02122025.csv"


def serve(hub: LoopbackHub, rows: list[dict[str, str]], folder: Path) -> None:
    """Make a commit of the rows' files: names and sizes without bytes, but for the table."""
    path = folder / "meta.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, published.COLUMNS, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    files = {TABLE: File.of(path, large=False)}
    for row in rows:
        size = 4 * int(row["spot_num"]) * int(row["gene_num"])
        for name, bytes_, large in (
            ("gene_exp/{}_count.csv", size, True),
            ("image/{}.png", 60_000_000, True),
            ("coord/{}_coord.csv", 70 * int(row["spot_num"]), False),
        ):
            place = f"{row['tech']}/{name.format(row['slide'])}"
            files[place] = File(path, bytes_, "0" * 64, "0" * 40, large)
    hub.commits[COMMIT] = files


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the slides once, no multiples")
    parser.add_argument("--meta", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    arguments = parser.parse_args()
    rows = published.read_slides(arguments.meta)
    print(
        "slides  what                        wall s   CPU s  peak MB  per slide, CPU ms  requests"
    )
    for factor in (1,) if arguments.quick else (1, 2, 4):
        folder = arguments.folder / f"listing{factor}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        many = [
            {**row, "slide": f"{row['slide']}.{copy}" if copy else row["slide"]}
            for copy in range(factor)
            for row in rows
        ]
        with LoopbackHub() as hub:
            serve(hub, many, folder)
            for what in ("dry run, making the catalogue", "dry run, catalogue there"):
                before = len(hub.requests)
                usage = measure.run(
                    measure.workflow(
                        folder / "run",
                        *("-n", "--quiet", "all", "--cores", "2"),
                        *("--config", f"dataset=hf://datasets/{REPO}@{COMMIT}"),
                    ),
                    HF_ENDPOINT=hub.endpoint,
                    HF_HOME=str(folder / "hf"),
                    HF_HUB_DISABLE_TELEMETRY="1",
                )
                print(
                    f"{len(many):6,}  {what:30}{usage.seconds:6.1f}{usage.cpu_seconds:8.1f}"
                    f"{usage.peak_mb:9.0f}{1000 * usage.cpu_seconds / len(many):19.1f}"
                    f"{len(hub.requests) - before:10}"
                )
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
