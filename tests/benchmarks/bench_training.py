"""How fast pairs are read and shards written, beside other ways to do the same.

python tests/benchmarks/bench_training.py [--quick] [--folder bench] [--repeat 3]

20 slides of tiles of 224 px and a panel of 128 genes, all in the page cache, batches of 256. Every
rate is the best of --repeat rounds, in which all ways take turns, so that a busy machine slows them
alike. What runs in one process is compared by CPU seconds too: on a busy machine trust these. Ways
that need PyTorch, webdataset or datasets are left out where these are not installed.
"""

import argparse
import contextlib
import importlib.util
import io
import itertools
import json
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anndata
import cv2
import h5py
import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "scripts")]

import made_collection  # noqa: E402
from st1k4m.formats.tile_store import TileStore  # noqa: E402
from st1k4m.training import order  # noqa: E402
from st1k4m.training.collection import Collection  # noqa: E402
from st1k4m.training.shard_options import ShardOptions  # noqa: E402
from st1k4m.training.write_shards import _encoder, open_pairs, write_shards  # noqa: E402

BATCH, SIDE, GENES, SLIDES = 256, 224, 128, 20
FIRST_BATCH = """
import json, sys, time
sys.path[:0] = {paths!r}
{imports}
begin, cpu = time.perf_counter(), time.process_time()
from st1k4m.training.collection import Collection
collection = Collection({results!r})
opened = time.perf_counter()
pairs = collection.pairs("all", "train", "some", size=16)
batch = next(iter(pairs.loader(batch_size=256, seed=0)))
first, used = time.perf_counter(), time.process_time() - cpu
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps([opened - begin, first - begin, used, peak]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, one round")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    tiles, repeat = (32, 1) if arguments.quick else (320, arguments.repeat)
    results = make_large(arguments.folder / f"training_{SLIDES}x{tiles}", tiles)
    measure_loading(results, repeat)
    measure_mixing()
    measure_opening(
        make_many(arguments.folder / "training_slides", 30 if arguments.quick else 1149)
    )
    measure_shards(results, arguments.folder / "training_shards", repeat)


def say(what: str, ratio: float | str, must: str, aim: str, detail: str = "") -> None:
    ratio = ratio if isinstance(ratio, str) else f"{ratio:.2f}"
    print(f"{what:<58} {ratio:>9}   must {must:>6}, aim {aim:>6}   {detail}", flush=True)


def make_large(folder: Path, tiles: int) -> Path:
    """Make slides whose tiles look like tissue to a codec: soft shapes and some grain."""
    results = folder / "results"
    if results.exists():
        return results
    made = made_collection.Made(folder / "making")
    rng = np.random.default_rng(0)
    genes = [f"GENE{i}" for i in range(2000)]
    stacked = {}
    for number in range(SLIDES):
        slide = f"STUDY{number // 4}_{number}"
        pixels = np.stack([paint_tile(rng) for _ in range(tiles)])
        stacked[slide] = made_collection.make_slide(
            made, slide, tiles, side=SIDE, genes=genes, rng=rng, pixels=pixels
        )
        made.tiles.clear()
    made_collection.write_tables(
        made, list(stacked), {"all": dict.fromkeys(stacked, "train")}, genes[:GENES], stacked
    )
    made.folder.rename(results)
    return results


def paint_tile(rng: np.random.Generator) -> np.ndarray:
    soft = cv2.resize(
        rng.uniform(90, 240, (14, 14, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
    )
    return (soft + rng.normal(0, 6, (SIDE, SIDE, 1))).clip(0, 255).astype(np.uint8)


def make_many(folder: Path, slides: int) -> Path:
    results = folder / str(slides) / "results"
    if results.exists():
        return results
    made = made_collection.Made(results.with_name("making"))
    rng = np.random.default_rng(0)
    genes = [f"GENE{i}" for i in range(GENES)]
    names = [f"STUDY{number // 7}_{number}" for number in range(slides)]
    stacked = {
        name: made_collection.make_slide(made, name, 20, side=16, genes=genes, rng=rng)
        for name in names
    }
    made_collection.write_tables(
        made, names, {"all": dict.fromkeys(names, "train")}, genes, stacked
    )
    made.folder.rename(results)
    return results


class Readme:
    """The class of the README, for one slide."""

    def __init__(self, adata: anndata.AnnData, store: Path) -> None:
        self.adata, self.tiles = adata, TileStore(store)

    def __len__(self) -> int:
        return self.adata.n_obs

    def __getitem__(self, i: int):
        import torch

        tile = torch.from_numpy(self.tiles[self.adata.obs["tile"].iloc[i]]).permute(2, 0, 1)
        return tile, torch.from_numpy(self.adata.X[i].toarray()[0])


def measure_loading(results: Path, repeat: int) -> None:
    """Time an epoch in each way; rates in pairs a second."""
    torch = importlib.util.find_spec("torch") and importlib.import_module("torch")
    pairs = Collection(results).pairs("all", "train", "some")
    sizes = pairs.sizes.tolist()
    shuffled = order.shuffle_pairs(sizes, 0, 0, block=1)
    slides = np.searchsorted(np.cumsum(sizes), shuffled, side="right")
    rows = shuffled - (np.cumsum(sizes) - sizes)[slides]
    stores = [results / f"tiles/{slide}.h5" for slide in pairs.slides]
    tables = [anndata.read_h5ad(results / f"anndata/{slide}.h5ad") for slide in pairs.slides]
    tables = [table[:, pairs.genes].copy() for table in tables]

    def opened_per_tile() -> None:
        for begin in range(0, len(rows), BATCH):
            batch = []
            for slide, row in zip(slides[begin:][:BATCH], rows[begin:][:BATCH], strict=True):
                with h5py.File(stores[slide]) as file:
                    batch.append((file["img"][row], tables[slide].X[row].toarray()))
            [np.stack(part) for part in zip(*batch, strict=True)]

    files = [h5py.File(store) for store in stores]

    def sorted_batches(read) -> None:
        out = np.empty((BATCH, SIDE, SIDE, 3), np.uint8)
        for begin in range(0, len(rows), BATCH):
            own_slides, own_rows = slides[begin:][:BATCH], rows[begin:][:BATCH]
            place = 0
            for slide in np.unique(own_slides):
                wanted = np.sort(own_rows[own_slides == slide])
                read(files[slide]["img"], wanted, out, place)
                place += len(wanted)

    def by_list(img, wanted, out, place) -> None:
        img.read_direct(out, np.s_[wanted.tolist()], np.s_[place : place + len(wanted)])

    def by_row(img, wanted, out, place) -> None:
        for number, row in enumerate(wanted.tolist(), start=place):
            img.read_direct(out, np.s_[row], np.s_[number])

    ways = {
        "h5py opened per tile": opened_per_tile,
        "h5py read_direct by lists": lambda: sorted_batches(by_list),
        "h5py read_direct by rows": lambda: sorted_batches(by_row),
    }
    loaders = {0: pairs.loader(BATCH)}
    if torch:
        torch.set_num_threads(1)  # of the class of the README, which stacks its tiles
        readme = torch.utils.data.ConcatDataset(
            [Readme(table, store) for table, store in zip(tables, stores, strict=True)]
        )
        ways["README class"] = lambda: exhaust(
            torch.utils.data.DataLoader(readme, BATCH, shuffle=True)
        )
        loaders |= {workers: pairs.loader(BATCH, workers=workers) for workers in (1, 2)}
    for workers, loader in loaders.items():
        ways[f"loader, {workers} workers"] = lambda loader=loader: exhaust(loader, 4)
    counts = {name: 4 * len(rows) for name in ways if "loader" in name}
    rates = take_turns(ways, repeat, counts, len(rows))
    for name, (wall, cpu) in rates.items():
        print(f"  {name:<30} {wall:>9,.0f} pairs/s, {cpu:>9,.0f} a CPU second of its process")
    own = rates["loader, 0 workers"]
    bare = max((rates[name] for name in ways if "read_direct" in name), key=lambda rate: rate[1])
    compare("loader against an HDF5 opened per tile", own, rates["h5py opened per tile"], "4", "8")
    if torch:
        compare("loader against the class of the README", own, rates["README class"], "1.5", "3")
    compare("loader against h5py in sorted batches", own, bare, "0.8", "0.95")
    if torch:
        say("two workers against one process", rates["loader, 2 workers"][0] / own[0], "1.5", "1.8")


def compare(what: str, own: tuple, other: tuple, must: str, aim: str) -> None:
    say(what, own[0] / other[0], must, aim, f"{own[1] / other[1]:.2f} by CPU seconds")


def exhaust(loader, epochs: int = 1) -> None:
    for _ in range(epochs):
        for batch in loader:
            (batch["tile"] if isinstance(batch, dict) else batch[0])[-1, -1, -1, -1].item()


def take_turns(ways: dict, repeat: int, counts: dict, count: int) -> dict[str, tuple[float, float]]:
    """Return the best rates of each way, by wall and by CPU seconds of this process.

    One round goes before, so that nothing is cold.
    """
    best = dict.fromkeys(ways, (0.0, 0.0))
    for turn in range(repeat + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            taken = time.perf_counter() - wall, time.process_time() - cpu
            if turn:
                found = (counts.get(name, count) / seconds for seconds in taken)
                best[name] = tuple(map(max, best[name], found))
    return best


def measure_mixing() -> None:
    slides = [2000] * 1149

    def distinct(block: int) -> float:
        found = order.shuffle_pairs(slides, 0, 0, block)[: 1000 * BATCH] // slides[0]
        return np.mean([len(set(batch.tolist())) for batch in found.reshape(-1, BATCH)])

    say(
        "distinct slides in a batch, against a perfect shuffle",
        distinct(order.BLOCK) / distinct(1), "-", "1",
        f"1,149 slides, blocks of {order.BLOCK} in windows of {order.WINDOW:,}",
    )  # fmt: skip


def measure_opening(results: Path) -> None:
    imports = "import torch\n" if importlib.util.find_spec("torch") else ""
    code = FIRST_BATCH.format(paths=sys.path[:2], imports=imports, results=str(results))
    runs = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        runs.append(json.loads(done.stdout))
    opened, first, used, peak = np.min(runs, axis=0)
    detail = f"{used:.2f} CPU seconds; opening alone {opened:.2f} s"
    say("first batch after opening", f"{first:.2f} s", "3 s", "1 s", detail)
    say("memory of the process", f"{peak / 1024:.2f} GB", "3 GB", "1.5 GB")


def measure_shards(results: Path, folder: Path, repeat: int) -> None:
    """Write each format, and read it by the program it is for; beside encoding and decoding alone.

    Decoding alone is that program's own decoder on files in memory. For webdataset its reading of
    tars that hold JPEGs and nothing else is said too: what no layout of the samples can undercut.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (tars,) = measure_writing(results, folder, "webdataset", repeat)
    (table,) = measure_writing(results, folder, "parquet", repeat)
    with tarfile.open(tars) as tar:
        jpegs = [tar.extractfile(member).read() for member in tar if member.name.endswith("jpg")]
    if importlib.util.find_spec("webdataset"):
        read_by_webdataset(tars, jpegs, repeat)
    if importlib.util.find_spec("datasets"):
        read_by_datasets(table, jpegs, folder / "cache", repeat)
    shutil.rmtree(folder)


def measure_writing(results: Path, folder: Path, format: str, repeat: int) -> list[Path]:
    """Return the files of the last round."""
    options = ShardOptions("all", ("train",), "some", jobs=1, format=format)
    pairs = open_pairs(results, options)
    tiles = pairs.read(order.shuffle_pairs(pairs.sizes, 0, 0, block=1)[:2000])["tile"]
    tiles = np.ascontiguousarray(tiles.transpose(0, 2, 3, 1))
    encode = _encoder(options)
    cv2.setNumThreads(1)
    outs = (folder / f"{format}{number}" for number in itertools.count())
    written = []

    def encode_alone(threads: int) -> None:
        def encode_all(part: np.ndarray) -> None:
            for tile in part:
                encode(tile)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(encode_all, np.array_split(tiles, threads)))

    def write(threads: int) -> None:
        written.append(next(outs))
        write_shards(results, "bench", options, 0, written[-1], threads)

    ways, counts = {}, {}
    for threads in (1, 2):
        ways[f"encoding {threads}"] = lambda threads=threads: encode_alone(threads)
        ways[f"writing {threads}"] = lambda threads=threads: write(threads)
        counts |= {f"encoding {threads}": len(tiles), f"writing {threads}": len(pairs)}
    rates = take_turns(ways, repeat, counts, 0)
    for threads in (1, 2):
        compare(
            f"shards: writing {format}, {threads} thread(s), time against encoding",
            rates[f"encoding {threads}"], rates[f"writing {threads}"], "1.3", "1.1",
        )  # fmt: skip
    for out in written[:-1]:
        shutil.rmtree(out)
    return sorted(written[-1].glob("*" + options.ending))


def read_by_webdataset(path: Path, jpegs: list[bytes], repeat: int) -> None:
    import webdataset
    from webdataset.autodecode import Decoder, ImageHandler

    alone = path.with_name("jpegs.tar")
    with tarfile.open(alone, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, content in enumerate(jpegs):
            info = tarfile.TarInfo(f"{number:09d}.jpg")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

    def read(path: Path, decoded: bool = True):
        samples = webdataset.WebDataset([str(path)], shardshuffle=False)
        return samples.decode("rgb8") if decoded else samples

    image, decoder, samples = ImageHandler("rgb8"), Decoder([ImageHandler("rgb8")]), []
    ways = {
        "JPEGs in memory": lambda: exhaust_quietly(image("jpg", jpeg) for jpeg in jpegs),
        "samples in memory": lambda: exhaust_quietly(map(decoder, samples)),
        "tars, not decoded": lambda: exhaust_quietly(read(path, decoded=False)),
        "tars": lambda: exhaust_quietly(read(path)),
        "tars of JPEGs alone": lambda: exhaust_quietly(read(alone)),
    }
    with contextlib.redirect_stderr(io.StringIO()):
        samples += read(path, decoded=False)
    rates = take_turns(ways, repeat, {}, len(jpegs))
    for name, (wall, cpu) in rates.items():
        print(f"  webdataset, {name:<22} {wall:>9,.0f} samples/s, {cpu:>9,.0f} a CPU second")
    for name, what in (
        ("tars", "shards: reading (webdataset), rate against decoding alone"),
        ("tars of JPEGs alone", "  the same of tars that hold JPEGs alone"),
    ):
        compare(what, rates[name], rates["JPEGs in memory"], "0.8", "0.95")


def read_by_datasets(path: Path, jpegs: list[bytes], cache: Path, repeat: int) -> None:
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(cache)
    )
    ways = {
        "decoding": lambda: exhaust_quietly(
            np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in jpegs
        ),
        "rows": lambda: exhaust_quietly(np.asarray(row["image"]) for row in rows),
        "batches": lambda: exhaust_quietly(rows.with_format("numpy").iter(64)),
    }
    rates = take_turns(ways, repeat, {}, len(jpegs))
    for name in ("rows", "batches"):
        compare(
            f"shards: reading (datasets, {name}), rate against decoding",
            rates[name], rates["decoding"], "0.8", "0.95",
        )  # fmt: skip


def exhaust_quietly(items) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        for _ in items:
            pass


if __name__ == "__main__":
    main()
