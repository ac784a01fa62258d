"""A finished slide, and a finished collection, made by hand: what exports read."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tile_stores import write_store


@dataclass(frozen=True)
class Finished:
    """The products of one slide, and its image."""

    slide: str
    root: Path
    image: Path
    pixels: np.ndarray
    record: dict

    @property
    def anndata(self) -> Path:
        return self.root / "anndata" / f"{self.slide}.h5ad"

    @property
    def tiles(self) -> Path:
        return self.root / "tiles" / f"{self.slide}.h5"

    @property
    def record_path(self) -> Path:
        return self.root / "records" / f"{self.slide}.json"

    def arguments(self) -> dict:
        """Return the first arguments of ``write_spatialdata``."""
        paths = {"anndata": self.anndata, "tiles": self.tiles, "record": self.record_path}
        return paths | {"slide": self.slide}


@pytest.fixture
def make_finished(tmp_path):
    """Write the products of a slide as the contract has them; 12 spots of 5 genes by default."""

    def make(
        slide="Demo_1.0+A",
        tech="Visium",
        spots=12,
        size=(300, 200),
        um_per_px=0.5,
        columns=None,
        layers=None,
        flags=(),
        seed=0,
    ):
        ad = pytest.importorskip("anndata")
        import pandas as pd
        from PIL import Image
        from scipy.sparse import csr_matrix

        rng = np.random.default_rng(seed)
        width, height = size
        root = tmp_path / "results"
        for folder in ("anndata", "tiles", "records", "ledger", "overlay"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        counts = csr_matrix(rng.poisson(1, (spots, 5)).astype(np.int32))
        x = csr_matrix(np.log1p(counts.toarray()).astype(np.float32))
        centres = rng.uniform(20, min(size) - 20, (spots, 2))
        names = [f"{slide}_b{i}" for i in range(spots)]
        # the last spot has no tile: tiles are fewer than spots
        tile = np.arange(spots) if spots < 2 else np.r_[np.arange(spots - 1), -1]
        obs = pd.DataFrame({"tile": tile, "total_counts": counts.sum(1).A1}, index=names)
        for name, values in (columns or {}).items():
            obs[name] = values
        record = {
            "slide": slide,
            "study": {"tech": tech, "pmid": "1"},
            "geometry": {"width": width, "height": height, "um_per_px": um_per_px}
            | {"um_per_px_xy": [0.4, 0.6]},
            "annotation": {"label": ["tumour"], "spots": [3]},
            "flags": list(flags),
        }
        pictures = {
            "hires": rng.integers(0, 255, (height // 2, width // 2, 3), np.uint8),
            "lowres": rng.integers(0, 255, (height // 4, width // 4, 3), np.uint8),
        }
        scale = {
            "tissue_hires_scalef": 0.5,
            "tissue_lowres_scalef": 0.25,
            "spot_diameter_fullres": 8.0,
        }
        table = ad.AnnData(
            x,
            obs,
            pd.DataFrame(index=["A/B", "A___B", "c", "d", "é"]),
            uns={
                "spatial": {slide: {"images": pictures, "scalefactors": scale}},
                "st1k4m": {"slide": slide},
                "log1p": {"base": 2.0},
            },
            obsm={"spatial": centres},
            layers={"counts": counts} | dict.fromkeys(layers or (), x),
        )
        finished = Finished(
            slide,
            root,
            tmp_path / f"{slide}.png",
            rng.integers(0, 256, (height, width, 3), np.uint8),
            record,
        )
        table.write_h5ad(finished.anndata)
        kept = tile >= 0
        corners = np.round(centres[kept] - 4)
        tiles = np.zeros((len(corners), 8, 8, 3), np.uint8)
        write_store(finished.tiles, tiles, np.array(names)[kept], coords=corners, slide=slide)
        finished.record_path.write_text(json.dumps(record))
        spot = {"spot": names, "tile": tile, "x": centres[:, 0], "status": ["kept"] * spots}
        pq.write_table(pa.table(spot), root / "ledger" / f"{slide}.parquet")
        Image.fromarray(finished.pixels).save(finished.image)
        Image.fromarray(pictures["lowres"]).save(root / "overlay" / f"{slide}.jpg")
        return finished

    return make
