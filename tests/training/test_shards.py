"""Compare shards, read by tarfile, PIL, pyarrow, webdataset and datasets, with the pairs."""

import dataclasses
import hashlib
import io
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from places import REPOSITORY
from st1k4m.errors import ConfigError, SlideError
from st1k4m.training import shard_writers
from st1k4m.training.collection import Collection
from st1k4m.training.index_shards import index_shards
from st1k4m.training.shard_options import ShardOptions, read_options
from st1k4m.training.write_shards import write_shards


def write(made, folder, *, jobs=3, threads=1, **options):
    options = ShardOptions(panel="some", size=16, jobs=jobs, **options)
    folders = [folder / f"{job:02d}" for job in range(jobs)]
    for job, out in enumerate(folders):
        write_shards(made.folder, "some_set", options, job, out, threads)
    index_shards("some_set", options, folders, folder / "index.json")
    return json.loads((folder / "index.json").read_text())


@pytest.fixture(scope="module")
def pairs(collection_folder):
    return Collection(collection_folder.folder).pairs(
        panel="some", size=16, target="both", labels=True, arrays="numpy"
    )


def read_tars(folder, index):
    """Return every sample of the tars by its key: the contents of the members by suffix."""
    samples = {}
    for shard in index["shards"]:
        with tarfile.open(folder / shard["path"]) as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                samples.setdefault(key, {})[ending] = tar.extractfile(member).read()
    return samples


@pytest.mark.parametrize("tile", ["png", "webp"])
def test_lossless_tars_hold_the_pairs_byte_for_byte(collection_folder, pairs, tmp_path, tile):
    index = write(collection_folder, tmp_path, tile=tile, target="both", labels=True)
    samples = read_tars(tmp_path, index)
    assert len(samples) == index["pairs"] == len(pairs) == 110
    for key, files in samples.items():
        pair = pairs[int(key)]
        pixels = np.asarray(Image.open(io.BytesIO(files[tile])))
        np.testing.assert_array_equal(pixels, pair["tile"].transpose(1, 2, 0))
        np.testing.assert_array_equal(np.load(io.BytesIO(files["npy"])), pair["expression"])
        np.testing.assert_array_equal(np.load(io.BytesIO(files["counts.npy"])), pair["counts"])
        about = json.loads(files["json"])
        assert (about["slide"], about["spot"], about["index"]) == (
            pair["slide"], pair["spot"], pair["index"],
        )  # fmt: skip
        assert about["present"] == pair["present"].tolist()
        assert about["label"] == (pairs.label_names[pair["label"]] if pair["label"] >= 0 else None)
    assert index["genes"] == pairs.genes
    assert index["slides"] == dict(zip(pairs.slides, pairs.sizes.tolist(), strict=True))


def test_jpeg_is_near_and_95_is_the_default(collection_folder, pairs, tmp_path):
    assert ShardOptions().quality == 95
    smooth = Collection(collection_folder.folder).pairs(panel="some", size=16, arrays="numpy")
    samples = read_tars(tmp_path, write(collection_folder, tmp_path, quality=100))
    for key, files in list(samples.items())[:20]:
        image = Image.open(io.BytesIO(files["jpg"]))
        assert image.mode == "RGB"
        near = np.asarray(image).mean(axis=(0, 1))
        np.testing.assert_allclose(near, smooth[int(key)]["tile"].mean(axis=(1, 2)), atol=3)


def test_the_index_has_every_file_with_its_checksum(collection_folder, tmp_path):
    index = write(collection_folder, tmp_path, jobs=4, shard_mb=0.03)
    paths = [tmp_path / shard["path"] for shard in index["shards"]]
    assert len(paths) > 4
    assert sorted(paths) == sorted(tmp_path.rglob("*.tar"))
    numbers = [int(path.stem.rpartition("-")[2]) for path in paths]
    assert numbers == list(range(len(paths)))
    for shard, path in zip(index["shards"], paths, strict=True):
        content = path.read_bytes()
        assert shard["bytes"] == len(content)
        assert shard["sha256"] == hashlib.sha256(content).hexdigest()
    pairs = [shard["pairs"] for shard in index["shards"]]
    assert sum(pairs) == 110
    assert max(pairs) - min(pairs) <= 2


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_the_same_bytes_for_any_number_of_cores(collection_folder, tmp_path, format):
    one = write(collection_folder, tmp_path / "one", format=format, threads=1)
    two = write(collection_folder, tmp_path / "two", format=format, threads=3)
    assert one == two


def test_slides_are_mixed_over_the_whole_selection(collection_folder, tmp_path):
    index = write(collection_folder, tmp_path, jobs=2)
    samples = read_tars(tmp_path, index)
    order = [int(key) for key in samples]
    assert order != sorted(order)
    first = {json.loads(files["json"])["slide"] for files in list(samples.values())[:30]}
    assert first >= {"A_1", "A_2.x+y", "B_1"}


def test_parts_of_a_split_alone(collection_folder, tmp_path):
    index = write(collection_folder, tmp_path, split="folds", part=("0",))
    assert set(index["slides"]) == {"A_1", "A_2.x+y"}
    assert index["pairs"] == 57


def test_a_tars_header_is_that_of_tarfile():
    for name, size in (("000000001.jpg", 0), ("123456789.counts.npy", 8**11 - 1)):
        info = tarfile.TarInfo(name)
        info.size = size
        assert shard_writers.tar_header(name, size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_parquet_has_the_pairs_in_fixed_lists_with_a_page_index(collection_folder, pairs, tmp_path):
    index = write(
        collection_folder, tmp_path, format="parquet", tile="png", target="both", row_group_mb=0.02
    )
    seen = []
    for shard in index["shards"]:
        file = pq.ParquetFile(tmp_path / shard["path"])
        assert file.metadata.num_row_groups > 1
        assert file.metadata.row_group(0).column(0).has_column_index
        for row in file.read().to_pylist():
            pair = pairs[row["index"]]
            pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
            np.testing.assert_array_equal(pixels, pair["tile"].transpose(1, 2, 0))
            np.testing.assert_array_equal(np.float32(row["expression"]), pair["expression"])
            assert row["counts"] == pair["counts"].tolist()
            assert row["present"] == pair["present"].tolist()
            assert (row["slide"], row["spot"]) == (pair["slide"], pair["spot"])
            seen.append(row["index"])
    assert sorted(seen) == list(range(110))
    kinds = {field.name: field.type for field in file.schema_arrow}
    assert kinds["expression"].list_size == 5


def test_datasets_opens_parquet_with_images_and_lists(collection_folder, pairs, tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    index = write(collection_folder, tmp_path, format="parquet", tile="png", labels=True)
    files = [str(tmp_path / shard["path"]) for shard in index["shards"]]
    found = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(found.features["image"], datasets.Image)
    assert found.features["expression"].length == 5
    assert len(found) == 110
    for row in found:
        pair = pairs[row["index"]]
        np.testing.assert_array_equal(np.asarray(row["image"]), pair["tile"].transpose(1, 2, 0))
        np.testing.assert_array_equal(np.float32(row["expression"]), pair["expression"])
        assert (row["label"] or "") in ("", *pairs.label_names)


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_the_tars(collection_folder, pairs, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    index = write(collection_folder, tmp_path, tile="png", target="both")
    urls = [str(tmp_path / shard["path"]) for shard in index["shards"]]
    found = list(
        webdataset.WebDataset(urls, shardshuffle=False)
        .decode("rgb8")
        .to_tuple("png", "npy", "counts.npy", "json")
    )
    assert len(found) == 110
    for tile, expression, counts, about in found:
        pair = pairs[about["index"]]
        np.testing.assert_array_equal(tile, pair["tile"].transpose(1, 2, 0))
        np.testing.assert_array_equal(expression, pair["expression"])
        np.testing.assert_array_equal(counts, pair["counts"])


def test_a_shard_that_is_gone_or_cut_is_named(collection_folder, tmp_path):
    index = write(collection_folder, tmp_path)
    path = tmp_path / index["shards"][1]["path"]
    path.write_bytes(path.read_bytes()[:-512])
    folders = sorted(folder for folder in tmp_path.iterdir() if folder.is_dir())
    with pytest.raises(SlideError, match=rf"{path.name} has .* bytes, its job wrote"):
        index_shards("some_set", ShardOptions(), folders, tmp_path / "index.json")


def test_more_jobs_than_pairs(collection_folder, tmp_path):
    options = ShardOptions(panel="some", size=16, jobs=200)
    with pytest.raises(
        SlideError, match=r"200 jobs for 110 pairs\n.*set shards\.few\.jobs to a lower number"
    ):
        write_shards(collection_folder.folder, "few", options, 0, tmp_path / "00")
    assert not (tmp_path / "00").exists()


WRONG = {
    "unknown": ({"panle": "p"}, "shards.s.panle: no such option; did you mean panel?"),
    "panel": ({"panel": "q"}, "shards.s.panel: q is not one of the panels; known are p"),
    "split": ({"split": "q", "part": 1, "panel": "p"}, "split: q is not one of the splits"),
    "part": ({"part": "1", "panel": "p"}, "a split and its part belong together"),
    "no panel": ({}, "panel: needed for the expression"),
    "tile": ({"panel": "p", "tile": "gif"}, "tile: found 'gif', expected one of jpeg, webp, png"),
    "quality": ({"panel": "p", "quality": 101}, "quality: found 101, expected at most 100"),
    "jobs": ({"panel": "p", "jobs": 0}, "jobs: found 0, expected a number of at least 1"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_options(wrong):
    given, says = WRONG[wrong]
    with pytest.raises(ConfigError) as caught:
        read_options("s", given, ["study"], ["p"])
    assert says in str(caught.value)


def test_options_of_the_configuration():
    given = {"split": "study", "part": [1, "2"], "panel": "p", "tile": "webp"}
    options = read_options("s", given, ["study"], ["p"])
    assert options == ShardOptions(split="study", part=("1", "2"), panel="p", tile="webp")


def test_the_schema_and_the_documentation_have_the_options():
    schema = yaml.safe_load((REPOSITORY / "config/config.schema.yaml").read_text())
    properties = schema["$defs"]["shards"]["properties"]
    assert set(properties) == {field.name for field in dataclasses.fields(ShardOptions)}
    documentation = (REPOSITORY / "config/README.md").read_text()
    section = documentation[documentation.index("## Shards") :]
    for option, about in properties.items():
        assert about["description"]
        assert f"`shards.NAME.{option}`" in section or f"`{option}`" in section
