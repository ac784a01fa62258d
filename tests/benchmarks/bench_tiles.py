"""How fast tiles are cut, beside a bare decode of the image and beside other ways to cut.

python tests/benchmarks/bench_tiles.py [--quick] [--folder bench] [--threads 2] [--repeat 3]

Each measurement is a process of its own that imports what it needs and only then is timed; the
fastest of ``--repeat`` runs counts. The bare decode is the faster of libvips and OpenCV, with the
same threads; ratios are taken within this run. Memory is the peak of the whole process, mapped
files included. On a busy machine trust the CPU seconds.
"""

import argparse
import json
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import cv2
import measure
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyvips

TIMED = """
import json, os, time
os.environ["VIPS_CONCURRENCY"] = str({threads})
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(2**34)
{imports}
begin, cpu_begin = time.perf_counter(), time.process_time()
{work}
seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
peak = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
print(json.dumps([seconds, cpu_seconds, int(peak) / 1024]))
"""
OURS = (
    """
import h5py
import pyarrow.parquet

from st1k4m.tiles.cut_tiles import cut_tiles
import pyvips
names = pyarrow.parquet.read_table({spots!r})["spot"].to_pylist()""",
    "cut_tiles({image!r}, {spots!r}, names, {out!r}, slide='S1', options={options!r}, "
    "archive={out!r} + '.tar', threads={threads})",
)
DECODERS = {
    "libvips": (
        "import pyvips",
        "pyvips.Image.new_from_file({image!r}, access='sequential').write_to_memory()",
    ),
    "OpenCV": (
        "import cv2; cv2.setNumThreads({threads})",
        "cv2.imread({image!r}, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)",
    ),
}
SPOTS = """
import os, pyarrow.parquet
table = pyarrow.parquet.read_table({spots!r})
spots = list(zip(*(table[name].to_pylist() for name in ("spot", "x", "y"))))
os.makedirs({out!r}, exist_ok=True)
r = {radius}
"""
OTHERS = {
    "authors' loop: PIL, a PNG per spot": (
        SPOTS + "from PIL import Image; Image.MAX_IMAGE_PIXELS = None",
        """
image = Image.open({image!r}).convert("RGB")
for spot, x, y in spots:
    image.crop((x - r, y - r, x + r, y + r)).save({out!r} + "/" + spot + ".png")""",
    ),
    "one HDF5, opened and closed per tile": (
        SPOTS + "import cv2, h5py",
        """
image = cv2.imread({image!r}, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
side = round(2 * r)
with h5py.File({out!r} + "/tiles.h5", "w") as file:
    file.create_dataset("img", (0, side, side, 3), "u1", maxshape=(None, side, side, 3),
                        chunks=(1, side, side, 3))
for row, (spot, x, y) in enumerate(spots):
    left = min(max(round(x - r), 0), {width} - side)
    top = min(max(round(y - r), 0), {height} - side)
    with h5py.File({out!r} + "/tiles.h5", "a") as file:
        file["img"].resize(row + 1, axis=0)
        file["img"][row] = image[top:top + side, left:left + side]""",
    ),
}


@dataclass
class Slide:
    """An image and its spots, as files."""

    image: Path
    spots: Path
    width: int
    height: int
    side: int


@dataclass
class Result:
    """The fastest of several runs."""

    seconds: float
    cpu_seconds: float
    peak_mb: float

    def beside(self, other: "Result") -> str:
        """Say the ratios to ``other``: by the clock, and by CPU seconds."""
        clock, cpu = self.seconds / other.seconds, self.cpu_seconds / other.cpu_seconds
        return f"{clock:7.2f} {cpu:7.2f}"


def main() -> None:
    """Measure everything and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the sides")
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    global arguments
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    scale = 4 if arguments.quick else 1
    print(f"{'':44}{'seconds':>8}{'CPU s':>8}{'MB':>7}   times the bare decode (clock, CPU)")
    spots(10_000 // scale)
    bins(20_000 // scale, 300_000 // scale**2)
    large(40_000 // scale)
    growth(5_000 // scale)


def spots(side: int) -> None:
    """A Visium slide, beside other ways to cut it; sizes and formats of tiles."""
    number = 2_261 if side == 10_000 else 141
    for suffix in (".png", ".jpg"):
        slide = make(side, side, suffix, scatter(side, side, number), 185)
        bare = decode(slide)
        whole = cut(slide, "whole job", bare)
        for name, program in OTHERS.items():
            other = run(slide, *program, repeat=1)
            show(name, other, bare)
            print(f"{'':44}  {other.seconds / whole.seconds:.1f} times as long as the whole job")
    for options in (
        {"compression": "lzf"},
        {"compression": "gzip"},
        {"size": 112},
        {"size": 224},
    ):
        name = ", ".join(f"{key} {value}" for key, value in options.items())
        cut(slide, name, bare, **options)
        size = sum(path.stat().st_size for path in arguments.folder.glob("tiles.h5*"))
        print(
            f"{'':44}  {size / 2**20:.0f} MB on disk; tiles are {number * 185**2 * 3 / 2**20:.0f}"
        )
    print()


def bins(side: int, number: int) -> None:
    """A VisiumHD slide: very many small squares, in the order of the image and in no order."""
    across = int(number**0.5)
    grid = np.stack(np.meshgrid(*[np.arange(across) * side / across + 15] * 2), axis=-1)
    grid = grid.reshape(-1, 2)
    shuffled = np.random.default_rng(0).permutation(grid)
    for suffix in (".png", ".jpg"):
        bare = decode(make(side, side, suffix, grid, 30))
        for order, places in (("in order", grid), ("in no order", shuffled)):
            slide = make(side, side, suffix, places, 30)
            cut(slide, f"{len(places)} bins of 30 px {order}", bare)
    print()


def large(side: int) -> None:
    """The largest images there are; the bare decode needs no more than a band either."""
    for suffix in (".png", ".jpg", ".tif"):
        slide = make(side, side, suffix, scatter(side, side, 5_000), 290)
        cut(slide, "5000 spots of 290 px", decode(slide, repeat=1), repeat=1)
    print()


def growth(width: int) -> None:
    """Time and memory as the image grows in height."""
    for height in (width, 2 * width, 4 * width, 8 * width):
        slide = make(width, height, ".png", scatter(width, height, height // 10), 100)
        cut(slide, "spots of 100 px, one for 10 rows", decode(slide))
    print()


def decode(slide: Slide, repeat: int | None = None) -> Result:
    """Measure both decoders; return the faster."""
    found = {name: run(slide, *program, repeat=repeat) for name, program in DECODERS.items()}
    name = min(found, key=lambda name: found[name].seconds)
    print(f"{slide.image.name}")
    show(f"bare decode ({name}; OpenCV {found['OpenCV'].seconds:.2f} s)", found[name])
    return found[name]


def cut(slide: Slide, name: str, bare: Result, repeat: int | None = None, **options) -> Result:
    """Measure the whole job."""
    result = run(slide, *OURS, repeat=repeat, options=options)
    show(name, result, bare)
    return result


def run(slide: Slide, imports: str, work: str, *, repeat: int | None = None, **more) -> Result:
    """Run a program in fresh processes, with nothing in its place; the fastest."""
    values = {**vars(slide), "radius": slide.side / 2, "threads": arguments.threads, **more}
    values |= {key: str(value) for key, value in values.items() if isinstance(value, Path)}
    values["out"] = str(arguments.folder / "tiles.h5")
    code = TIMED.format(
        threads=arguments.threads, imports=imports.format(**values), work=work.format(**values)
    )
    results = []
    for _ in range(repeat or arguments.repeat):
        for left in arguments.folder.glob("tiles.h5*"):
            remove(left)
        output = measure.run_python(code).output
        results.append(Result(*json.loads(output.splitlines()[-1])))
    return min(results, key=lambda result: result.seconds)


def remove(path: Path) -> None:
    """Remove a file, or a folder of files."""
    if path.is_dir():
        for inside in path.iterdir():
            inside.unlink()
        path.rmdir()
    else:
        path.unlink()


def show(name: str, result: Result, bare: Result | None = None) -> None:
    """Print one line of the table."""
    figures = f"{result.seconds:8.2f}{result.cpu_seconds:8.2f}{result.peak_mb:7.0f}"
    print(f"  {name:42}{figures}   {result.beside(bare) if bare else ''}", flush=True)


def scatter(width: int, height: int, number: int) -> np.ndarray:
    """Return places all over an image, some at its very edge."""
    return np.random.default_rng(1).uniform(0, (width, height), (number, 2))


def make(width: int, height: int, suffix: str, places: np.ndarray, side: int) -> Slide:
    """Write an image, unless it is there, and the spots as ``align_spots`` would."""
    image = arguments.folder / f"tiles_{width}x{height}{suffix}"
    if not image.exists():
        painter = multiprocessing.get_context("spawn").Process(
            target=write_image, args=(image, width, height)
        )
        painter.start()
        painter.join()
    spots = arguments.folder / "tiles_spots.parquet"
    names = [f"S1_{row}" for row in range(len(places))]
    columns = {"spot": names, "x": places[:, 0], "y": places[:, 1]}
    table = pa.table(columns | {"outside": np.zeros(len(places), bool)})
    facts = {"width": width, "height": height, "radius": side / 2, "um_per_px": 0.5}
    pq.write_table(table.replace_schema_metadata({b"st1k4m": json.dumps(facts)}), spots)
    return Slide(image, spots, width, height, side)


def write_image(image: Path, width: int, height: int) -> None:
    """Write an image of the format its name says: one painting, again and again downwards."""
    block = paint(width, min(height, 2_500))
    whole = pyvips.Image.new_from_array(block).copy(interpretation="srgb")
    whole = whole.replicate(1, -(-height // len(block))).crop(0, 0, width, height)
    tiled = {"tile": True, "tile_width": 512, "tile_height": 512, "pyramid": True}
    how = {
        ".png": {"compression": 6},
        ".jpg": {"Q": 90},
        ".tif": {"compression": "jpeg", "Q": 90, "bigtiff": True, **tiled},
    }
    whole.write_to_file(str(image), **how[image.suffix])


def paint(width: int, height: int) -> np.ndarray:
    """Paint something that compresses like stained tissue: blotches of many sizes, and grain."""
    rng = np.random.default_rng(0)
    shade = np.zeros((height, width), np.float32)
    for size, strength in ((512, 30), (64, 20), (12, 18), (3, 8)):
        coarse = rng.standard_normal((height // size + 2, width // size + 2), np.float32)
        shade += strength * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    picture = np.empty((height, width, 3), np.uint8)
    for colour, (mean, gain) in enumerate(((205, 0.6), (160, 1.0), (200, 0.5))):
        grain = rng.integers(-3, 4, (height, width), np.int8)
        picture[..., colour] = np.clip(mean + gain * shade + grain, 0, 255)
    return picture


if __name__ == "__main__":
    main()
