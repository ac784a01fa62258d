"""How well misplaced spots are found on generated tissue of many shapes, and how long a look takes.

python tests/benchmarks/bench_placement.py [--slides 800] [--first 1000]

Each slide is a mask of tissue (ten shapes; some with faint parts or dirt) and the spots of an array
on it (all of the tissue, some of them missing, a region of it, or the whole array). It is surveyed
as it is and after four of the disturbances that keep the spots inside. A disturbance can be told if
the true placement exceeds the disturbed one by 0.1 in likeness and 0.05 in the share on tissue.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from st1k4m.demo.tissue import smooth_noise
from st1k4m.geometry import placement
from st1k4m.geometry.correction import outside

SHAPES = (
    "blob",
    "two",
    "notch",
    "holes",
    "large",
    "full",
    "strip",
    "biopsies",
    "round",
    "square",
)
UNIT = 10.0  # pixels of the image to one of the mask


def paint(rng, shape, height, width):
    """Return a mask of tissue of a shape, bool (height, width)."""
    down, across = np.mgrid[0:height, 0:width]
    across, down = across / width - 0.5, down / height - 0.5
    rough = smooth_noise(rng, (height, width), int(rng.integers(3, 7)), 3) * rng.uniform(0.02, 0.15)
    (x, y), (a, b) = rng.uniform(-0.12, 0.12, 2), rng.uniform(0.18, 0.42, 2)
    turn = rng.uniform(0, np.pi)
    u = (across - x) * np.cos(turn) + (down - y) * np.sin(turn)
    v = -(across - x) * np.sin(turn) + (down - y) * np.cos(turn)
    inward = 1 - np.hypot(u / a, v / b)
    if shape == "blob":
        return inward + 2 * rough > 0
    if shape == "two":
        other = 1 - np.hypot((across - x - 0.28) / (0.5 * a), (down - y + 0.2) / (0.6 * b))
        return np.maximum(1.2 * inward - 0.2, other) + 1.5 * rough > 0
    if shape == "notch":
        return (inward + rough > 0) & ~((u > 0) & (abs(v) < 0.08))
    if shape == "holes":
        return (inward + 2 * rough > 0) & (smooth_noise(rng, (height, width), 9, 2) < 1.0)
    if shape == "large":
        return 1 - np.hypot(u / (1.9 * a), v / (1.9 * b)) + 2 * rough > 0
    if shape == "full":
        return down > -0.5 + rng.uniform(0, 0.1)
    if shape == "strip":
        return (abs(v) < 0.12 + rough) & (abs(u) < 0.4)
    if shape == "biopsies":
        cores = (abs(v) < 0.05 + 0.3 * rough) | (abs(v - 0.2) < 0.06 + 0.3 * rough)
        return cores & (abs(u) < rng.uniform(0.2, 0.4))
    if shape == "round":
        return np.hypot(across - x, down - y) < rng.uniform(0.2, 0.35)
    return (abs(across - x) < 0.3) & (abs(down - y) < 0.25)


def lay(rng, height, width):
    """Return centres (x, y) of a whole array in pixels of the mask, and its pitch."""
    array = rng.choice(["hexagonal", "hexagonal", "square", "staggered", "bins"])
    number = int(
        {
            "hexagonal": rng.choice([30, 64, 64, 128]),
            "square": 33,
            "staggered": 60,
            "bins": rng.choice([120, 300]),
        }[array]
    )
    pitch = rng.uniform(0.6, 0.95) * min(height, width) / number
    if array == "hexagonal":
        row, col = np.mgrid[: int(1.22 * number), : 2 * number]
        there = (row + col) % 2 == 0
        x, y = col[there] * 0.5 * pitch, row[there] * np.sqrt(0.75) * pitch
    else:
        row, col = np.mgrid[:number, :number]
        there = (row + col) % 2 == 0 if array == "staggered" else np.ones(row.shape, bool)
        x, y = col[there] * pitch, row[there] * pitch
    x = x + (width - np.ptp(x)) * rng.uniform(0.3, 0.7)
    y = y + (height - np.ptp(y)) * rng.uniform(0.3, 0.7)
    inside = (x >= 1) & (y >= 1) & (x < width - 1) & (y < height - 1)
    return x[inside], y[inside], pitch


def make_slide(seed):
    """Return what the slide covers, centres in pixels of the image, pitch, and the tissue map."""
    rng = np.random.default_rng(seed)
    width, height = [(500, 500), (500, 400), (380, 500), (500, 470)][rng.integers(4)]
    tissue = paint(rng, SHAPES[seed % len(SHAPES)], height, width)
    x, y, pitch = lay(rng, height, width)
    seen = tissue.copy()
    if rng.random() < 0.4:  # faint parts
        faint = smooth_noise(rng, (height, width), int(rng.integers(3, 10)), 2)
        seen &= faint < rng.uniform(0.8, 1.8)
    if rng.random() < 0.3:  # dirt
        seen |= smooth_noise(rng, (height, width), 12, 2) > rng.uniform(2, 3.2)
    covers = rng.choice(["tissue", "some missing", "region", "array"], p=[0.65, 0.2, 0.1, 0.05])
    kept = tissue[y.astype(int), x.astype(int)]
    if covers == "some missing":
        kept = kept & (rng.random(len(x)) > rng.uniform(0.1, 0.5))
    elif covers == "region":
        middle = rng.integers(len(x))
        kept = kept & (np.hypot(x - x[middle], y - y[middle]) < rng.uniform(0.1, 0.3) * width)
    elif covers == "array":
        kept = np.ones(len(x), bool)
    kept = kept | (rng.random(len(x)) < rng.uniform(0, 0.05) * kept.mean())
    size = int(width * UNIT), int(height * UNIT)
    found = placement.map_tissue(seen, size)
    return covers, x[kept] * UNIT, y[kept] * UNIT, pitch * UNIT, found, rng


def disturbances(size):
    """Return what is done to x and y, by name, and by how much distances change."""
    width, height = size
    found = {
        "turned by 90": (lambda x, y: (height - y, x), 1.0),
        "turned by 180": (lambda x, y: (width - x, height - y), 1.0),
        "turned by 270": (lambda x, y: (y, width - x), 1.0),
        "mirrored in x": (lambda x, y: (width - x, y), 1.0),
        "mirrored in y": (lambda x, y: (x, height - y), 1.0),
        "axes swapped": (lambda x, y: (y, x), 1.0),
        "swapped and turned": (lambda x, y: (height - y, width - x), 1.0),
        "halved": (lambda x, y: (x / 2, y / 2), 0.5),
        "times 0.75": (lambda x, y: (x * 0.75, y * 0.75), 0.75),
    }
    for share in (0.1, 0.25, 0.4):
        for across, down in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            step = across * share * width, down * share * height
            name = f"shifted by {share}"
            found[f"{name} {across:+d}{down:+d}"] = (
                lambda x, y, step=step: (x + step[0], y + step[1]),
                1.0,
            )
    return found


def main():
    """Survey the slides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slides", type=int, default=800)
    parser.add_argument("--first", type=int, default=1000, help="seed of the first slide")
    options = parser.parse_args()
    sound, wrong, seconds = Counter(), Counter(), []
    for seed in range(options.first, options.first + options.slides):
        covers, x, y, pitch, tissue, rng = make_slide(seed)
        if tissue is None or len(x) < 20:
            continue
        begin = time.process_time()
        true = placement.survey(tissue, x, y, pitch)
        seconds.append(time.process_time() - begin)
        sound[covers, placement.weigh(true).verdict] += 1
        possible = [
            (name, scale, change(x, y))
            for name, (change, scale) in disturbances(tissue.size).items()
            if outside(*change(x, y), tissue.size).mean() <= 0.02
        ]
        for place in rng.permutation(len(possible))[:4]:
            _, scale, there = possible[place]
            seen = placement.survey(tissue, *there, pitch * scale)
            verdict = placement.weigh(seen).verdict
            if verdict != "misplaced" and seen.as_is.on_tissue < placement.OFF_TISSUE:
                verdict = "off the tissue"
            told = (
                true.as_is.likeness >= max(placement.LEAST, seen.as_is.likeness + 0.1)
                and true.as_is.on_tissue >= seen.as_is.on_tissue + 0.05
            )
            wrong["can be told" if told else "cannot be told", verdict] += 1
    for title, table in (("sound", sound), ("disturbed", wrong)):
        print(f"{title}:")
        for (group, verdict), number in sorted(table.items()):
            print(f"  {group:16} {verdict:16} {number:6}")
    print(f"CPU seconds a look: median {np.median(seconds):.3f}, largest {max(seconds):.3f}")


if __name__ == "__main__":
    main()
