"""The README's PyTorch dataset: pairs of tile and expression, from several workers at once."""

import json
import re

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from PIL import Image
from places import REPOSITORY
from st1k4m.tiles.cut_tiles import cut_tiles
from st1k4m.tiles.store import TileStore

torch = pytest.importorskip("torch", reason="torch is not installed; nothing else needs it")

README = REPOSITORY / "README.md"
OPTIONS = {
    **{"extent": "spot", "size": "native", "edge": "pad", "fill": [0, 0, 0], "upsample": "refuse"},
    **{"pixels": True, "compression": "none", "tissue_threshold": 0.5, "drop_off_tissue": False},
    "max_pixels": 1_000_000,
}


@pytest.fixture
def results(tmp_path):
    """The products of a slide of 50 spots, one of them without a tile."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (300, 200, 3), dtype=np.uint8)).save(tmp_path / "i.png")
    names = [f"S1_{i}" for i in range(50)]
    x, y = rng.uniform(0, 200, 50), rng.uniform(0, 300, 50)
    facts = {"width": 200, "height": 300, "radius": 8.0, "um_per_px": None}
    outside = np.arange(50) == 7
    table = pa.table({"spot": names, "x": x, "y": y, "outside": outside})
    pq.write_table(table.replace_schema_metadata({b"st1k4m": json.dumps(facts)}), tmp_path / "s")
    store = tmp_path / "results/tiles/S1.h5"
    cut_tiles(tmp_path / "i.png", tmp_path / "s", names, store, slide="S1", options=OPTIONS)
    kept = [name for name in names if name != "S1_7"]
    obs = pd.DataFrame({"tile": np.arange(49)}, index=kept)
    matrix = sp.random(49, 30, 0.3, "csr", np.float32, rng)
    (tmp_path / "results/anndata").mkdir()
    anndata.AnnData(matrix, obs).write_h5ad(tmp_path / "results/anndata/S1.h5ad")
    return tmp_path


@pytest.fixture
def pairs(results, monkeypatch):
    """The class of the README, made from its text."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if "torch.utils.data.Dataset" in block]
    monkeypatch.chdir(results)
    names = {"__name__": "readme"}
    exec(example, names)
    return next(value for value in names.values() if getattr(value, "__module__", "") == "readme")


@pytest.mark.parametrize("workers", [0, 2])
def test_every_pair_comes_once_and_whole(pairs, results, workers):
    dataset = pairs("S1")
    adata = anndata.read_h5ad(results / "results/anndata/S1.h5ad")
    store = TileStore(results / "results/tiles/S1.h5")
    assert store.barcodes == adata.obs_names.tolist()
    dataset[0]  # so that the store is open before the workers start
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=workers)
    tiles, expression = (np.concatenate(part) for part in zip(*loader, strict=True))
    assert tiles.shape == (49, 3, 16, 16)
    np.testing.assert_array_equal(
        tiles, np.stack([store[i] for i in range(49)]).transpose(0, 3, 1, 2)
    )
    np.testing.assert_array_equal(expression, adata.X.toarray())
