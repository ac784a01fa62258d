"""The products of a run as one dataset: compare pairs and shards with the slides' files."""

import io
import json
import tarfile

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from st1k4m.demo import dataset as demo
from st1k4m.training.collection import Collection

pytestmark = pytest.mark.slow

CONFIG = {
    "splits": {"study": {"by": "study", "folds": 2}},
    "panels": {"few": {"method": "mean", "n": 8}},
    "shards": {
        "tars": {"panel": "few", "size": 20, "tile": "png", "target": "both", "jobs": 2},
        "tables": {"panel": "few", "size": 20, "tile": "png", "format": "parquet", "jobs": 2},
    },
}


@pytest.fixture(scope="module")
def results(run_workflow, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    slides = [
        {"slide": f"Trained_{number}+V", "pmid": str(7000 + number), "tissue": tissue}
        | {"spots": 120, "genes": 60, "um_per_px": 8.0, "seed": number}
        for number, tissue in enumerate(("breast", "colon", "skin"))
    ]
    demo.make_dataset(folder / "dataset", slides)
    config = folder / "mine.yaml"
    config.write_text(yaml.safe_dump(CONFIG | {"dataset": str(folder / "dataset")}))
    done = run_workflow(folder / "run", "--configfile", str(config))
    assert done.returncode == 0, done.stdout
    return folder / "run/results"


@pytest.fixture(scope="module")
def pairs(results):
    return Collection(results).pairs(panel="few", size=20, target="both", arrays="numpy")


def test_every_50th_pair_is_that_of_the_anndata_and_the_tile_store(results):
    collection = Collection(results)
    pairs = collection.pairs(panel="few", target="both", arrays="numpy")
    slides = {slide: collection.anndata(slide) for slide in collection.slides["slide"]}
    assert len(pairs) == sum((adata.obs["tile"] >= 0).sum() for adata in slides.values()) > 300
    for index in range(0, len(pairs), 50):
        pair = pairs[index]
        adata = slides[pair["slide"]]
        spot = adata[pair["spot"]]
        with h5py.File(results / f"tiles/{pair['slide']}.h5") as store:
            row = store["barcode"][:, 0].tolist().index(pair["spot"].encode())
            np.testing.assert_array_equal(pair["tile"], store["img"][row].transpose(2, 0, 1))
        table = adata.var.set_index("name").index
        columns = [table.get_loc(gene) for gene in pairs.genes]
        np.testing.assert_array_equal(pair["expression"], spot.X.toarray()[0, columns])
        np.testing.assert_array_equal(pair["counts"], spot.layers["counts"].toarray()[0, columns])


def test_shards_are_the_pairs(results, pairs):
    seen = []
    for shard in json.loads((results / "shards/tars/index.json").read_text())["shards"]:
        files = {}
        with tarfile.open(results / "shards/tars" / shard["path"]) as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                files.setdefault(int(key), {})[ending] = tar.extractfile(member).read()
        for index, sample in files.items():
            assert_tile(sample["png"], pairs[index])
            expression, counts = (
                np.load(io.BytesIO(sample[ending])) for ending in ("npy", "counts.npy")
            )
            np.testing.assert_array_equal(expression, pairs[index]["expression"])
            np.testing.assert_array_equal(counts, pairs[index]["counts"])
        seen += files
    assert sorted(seen) == list(range(len(pairs)))

    rows = []
    for path in sorted((results / "shards/tables").glob("*/*.parquet")):
        rows += pq.read_table(path).to_pylist()
    for row in rows:
        assert_tile(row["image"]["bytes"], pairs[row["index"]])
        np.testing.assert_array_equal(
            np.float32(row["expression"]), pairs[row["index"]]["expression"]
        )
    assert [row["index"] for row in rows] == seen  # one seed, one order


def assert_tile(content, pair):
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(pixels, pair["tile"].transpose(1, 2, 0))
