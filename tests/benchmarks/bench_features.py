"""What features cost: 100,000 tiles by `pixels` and by a small model, beside the bare model.

python tests/benchmarks/bench_features.py [--quick] [--tiles 100000] [--model test_vit]

The model has random weights, because only its speed matters, and the tiles have its size, as
``tiles: {size: ...}`` cuts them. The bare model runs on batches that are ready in memory, as many
as there are tiles, before and after; both on one core.
"""

import argparse
import json
import tempfile
from pathlib import Path

import measure

MUST = 1.15
MAKE = """
import numpy as np
from st1k4m.formats import tile_store
rng = np.random.default_rng(0)
block = rng.integers(0, 256, (min(500, {tiles}), {side}, {side}, 3), dtype=np.uint8)
names = np.array([f"S_{{i}}" for i in range({tiles})], object)
coords, ones = np.zeros(({tiles}, 2), np.int64), np.ones({tiles}, np.float32)
places = tile_store.Places("S", names, coords, ones, {side}, {side}, 0.5)
with tile_store.create({store!r}, places, "none") as writer:
    for start in range(0, {tiles}, len(block)):
        tiles = block[:{tiles} - start]
        writer.write(np.arange(start, start + len(tiles)), tiles)
    writer.finish(ones, {{}}, {{}}, {{}})
"""
SAVE = """
import timm, torch
from timm.models import save_for_hf
model = timm.create_model({model!r}, pretrained=False, num_classes=0)
save_for_hf(model, {folder!r}, safe_serialization=True)
print(model.default_cfg["input_size"][-1])
"""
OURS = """
import json, resource, time
{imports}
from st1k4m.baseline.embed_tiles import embed_tiles
wall, cpu = time.perf_counter(), time.process_time()
embed_tiles({store!r}, {out!r}, slide="S", encoder={encoder!r}, threads=1)
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""
BARE = """
import json, time
import torch
from st1k4m.baseline.encoders import CPU_BATCH, load_model
torch.set_num_threads(1)
model = load_model({encoder!r}).module.to(memory_format=torch.channels_last)
batch = torch.randn(CPU_BATCH, 3, {side}, {side}).to(memory_format=torch.channels_last)
wall, cpu = time.perf_counter(), time.process_time()
with torch.inference_mode():
    for start in range(0, {tiles}, CPU_BATCH):
        model(batch[:{tiles} - start])
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""


def time_code(code: str) -> tuple[float, float, float]:
    """Run code that prints wall and CPU seconds last; both, and its peak memory in MB."""
    usage = measure.run_python(code, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    return (*json.loads(usage.output.splitlines()[-1]), usage.peak_mb)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--model", default="test_vit")
    parser.add_argument("--quick", action="store_true", help="2,000 tiles")
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    asked = parser.parse_args()
    tiles = 2_000 if asked.quick else asked.tiles
    asked.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        store, out = f"{folder}/S.h5", f"{folder}/features.h5"
        small = {"tiles": tiles, "store": store, "out": out}
        measure.run_python(MAKE.format(side=64, **small))
        wall, cpu, memory = time_code(OURS.format(imports="", encoder="pixels", **small))
        print(f"pixels, {tiles:,} tiles of 64 px: {wall:.1f} s, {tiles / cpu:,.0f} tiles a CPU "
              f"second, peak {memory:.0f} MB")  # fmt: skip
        try:
            saved = measure.run_python(SAVE.format(model=asked.model, folder=f"{folder}/model"))
        except RuntimeError as error:
            print(f"no model is measured: {str(error).splitlines()[-1]}")
            return
        side, encoder = int(saved.output.splitlines()[-1]), f"timm:local-dir:{folder}/model"
        measure.run_python(MAKE.format(side=side, **small))
        bare = BARE.format(encoder=encoder, side=side, tiles=tiles)
        ours = OURS.format(imports="import timm, torch", encoder=encoder, **small)
        first, (wall, cpu, memory), last = time_code(bare), time_code(ours), time_code(bare)
        bare_wall, bare_cpu = ((a + b) / 2 for a, b in zip(first[:2], last[:2], strict=True))
        print(f"{asked.model}, {tiles:,} tiles of {side} px: {wall:.1f} s, "
              f"{tiles / cpu:,.0f} tiles a CPU second, peak {memory:.0f} MB\n"
              f"  against the bare model: {wall / bare_wall:.2f} times its time, "
              f"{cpu / bare_cpu:.2f} times its CPU seconds (must {MUST})")  # fmt: skip


if __name__ == "__main__":
    main()
