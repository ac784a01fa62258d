"""Time and memory of the SpatialData export by the size of the image, and without the image.

Run: ``python tests/benchmarks/bench_spatialdata.py [SIDE ...]``; needs the extra spatialdata. Each
export is a process of its own, so that the peak is its own.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import SCRIPTS

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(SCRIPTS)]

from tile_stores import write_store  # noqa: E402

SPOTS, GENES = 5_000, 18_000
PITCH = 128

PROGRAM = """
import json, resource, sys, time
sys.path.insert(0, {scripts!r})
from st1k4m.export.write_spatialdata import write_spatialdata
begin = time.perf_counter()
write_spatialdata(**json.loads(sys.argv[1]))
used = resource.getrusage(resource.RUSAGE_SELF)
seconds = time.perf_counter() - begin
print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def make_slide(folder: Path, side: int) -> dict[str, str]:
    """Write the products of a slide and its image: a smooth texture with noise, as JPEG."""
    import anndata as ad
    import pandas as pd
    import pyvips
    from scipy.sparse import random as random_sparse

    rng = np.random.default_rng(0)
    noise = pyvips.Image.gaussnoise(side, side, mean=180, sigma=20, seed=1)
    noise.bandjoin([noise * 0.8, noise * 0.9]).cast("uchar").jpegsave(str(folder / "image.jpg"))
    counts = random_sparse(SPOTS, GENES, 0.15, "csr", np.float32, rng)
    counts.data[:] = rng.integers(1, 9, counts.nnz)
    centres = rng.uniform(PITCH, side - PITCH, (SPOTS, 2))
    names = [f"S_{i}" for i in range(SPOTS)]
    scale = {"tissue_hires_scalef": 2000 / side, "tissue_lowres_scalef": 600 / side}
    pictures = {
        "hires": np.zeros((2000, 2000, 3), np.uint8),
        "lowres": np.zeros((600, 600, 3), np.uint8),
    }
    table = ad.AnnData(
        counts,
        pd.DataFrame({"tile": np.arange(SPOTS)}, index=names),
        uns={
            "spatial": {
                "S": {"images": pictures, "scalefactors": scale | {"spot_diameter_fullres": 64.0}}
            }
        },
        obsm={"spatial": centres},
        layers={"counts": counts.astype(np.int32)},
    )
    table.write_h5ad(folder / "a.h5ad")
    tiles = np.zeros((len(centres), 1, 1, 3), np.uint8)
    write_store(folder / "t.h5", tiles, table.obs_names, coords=centres - 32, side=64)
    record = {
        "slide": "S",
        "study": {"tech": "Visium"},
        "geometry": {"width": side, "height": side, "um_per_px": 0.5},
        "annotation": {"label": [], "spots": []},
        "flags": [],
    }
    (folder / "r.json").write_text(json.dumps(record))
    paths = {"anndata": "a.h5ad", "tiles": "t.h5", "record": "r.json", "store": "s.zarr"}
    return {name: str(folder / path) for name, path in paths.items()} | {"slide": "S"}


def measure(arguments: dict) -> str:
    program = PROGRAM.format(scripts=str(SCRIPTS))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, json.dumps(arguments)],
        check=True,
        stdout=subprocess.PIPE,
    )
    seconds, cpu, peak = json.loads(done.stdout)
    files = [path for path in Path(arguments["store"]).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return (
        f"{seconds:.1f} s, {cpu:.1f} CPU-s with imports, peak {peak:,.0f} MB, "
        f"{len(files):,} files, {size / 1e6:,.0f} MB"
    )


def main(sides: list[int]) -> None:
    for side in sides:
        with tempfile.TemporaryDirectory() as folder:
            arguments = make_slide(Path(folder), side)
            print(f"{side:,} px, without the image: {measure(arguments)}", flush=True)
            full = arguments | {"image": str(Path(folder) / "image.jpg")}
            print(f"{side:,} px, with the image:    {measure(full)}", flush=True)


if __name__ == "__main__":
    main([int(side) for side in sys.argv[1:]] or [2_000, 10_000, 20_000, 40_000])
