"""A slide as SpatialData holds what its AnnData and image hold, under spatialdata-io's names."""

import builtins
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from runs import hash_files
from st1k4m.errors import SlideError
from st1k4m.export import write_spatialdata as export
from st1k4m.export.options import StoreOptions


@pytest.fixture(scope="module")
def spatialdata():
    return pytest.importorskip("spatialdata", reason="needs the extra spatialdata")


@pytest.fixture
def write(spatialdata, tmp_path):
    """Export a finished slide and read the store."""

    def write(finished, name="store.zarr", **options):
        export.write_spatialdata(store=tmp_path / name, **finished.arguments(), **options)
        return spatialdata.read_zarr(tmp_path / name)

    return write


def affine(spatialdata, element, system):
    """Return the 3 x 3 matrix from an element's own (x, y) to a coordinate system."""
    transformation = spatialdata.transformations.get_transformation(element, system)
    return transformation.to_affine_matrix(("x", "y"), ("x", "y"))


def scaling(x, y):
    return np.diag([x, y, 1.0])


def test_elements_and_systems_are_those_of_the_reader_of_visium(make_finished, write):
    data = write(make_finished("Slide_1.0"), image=make_finished("Slide_1.0").image)
    names = {name for _, name, _ in data.gen_elements()}
    of_the_reader = {
        "Slide_1.0",
        "Slide_1.0_full_image",
        "Slide_1.0_hires_image",
        "Slide_1.0_lowres_image",
        "table",
    }
    assert names == of_the_reader | {"Slide_1.0_tiles"}
    assert set(data.coordinate_systems) == {
        "Slide_1.0",
        "Slide_1.0_downscaled_hires",
        "Slide_1.0_downscaled_lowres",
        "microns",
    }
    attributes = data["table"].uns["spatialdata_attrs"]
    assert attributes == {"region": "Slide_1.0", "region_key": "region", "instance_key": "spot_id"}


def test_the_table_holds_the_values_of_the_anndata(make_finished, write):
    import anndata as ad
    import pandas as pd

    finished = make_finished()
    found, made = write(finished)["table"], ad.read_h5ad(finished.anndata)
    assert list(found.obs_names) == list(made.obs_names)
    assert list(found.var_names) == list(made.var_names)
    assert found.X.dtype == np.float32 and (found.X != made.X).nnz == 0
    assert found.layers["counts"].dtype == np.int32
    assert (found.layers["counts"] != made.layers["counts"]).nnz == 0
    assert np.array_equal(found.obsm["spatial"], made.obsm["spatial"])
    for name in made.obs:
        pd.testing.assert_series_equal(found.obs[name], made.obs[name])
    assert found.uns["log1p"] == {"base": 2.0}
    assert "spatial" not in found.uns and "st1k4m" not in found.uns


@pytest.mark.parametrize(
    ("flags", "microns"), [(["coarse"], (0.5, 0.5)), (["squeezed"], (0.4, 0.6))]
)
def test_transformations_lead_to_pixels_and_micrometres(
    make_finished, write, spatialdata, flags, microns
):
    finished = make_finished("S", flags=flags)
    data = write(finished, image=finished.image)
    pixels, um = scaling(1, 1), scaling(*microns)
    hires, lowres = scaling(0.5, 0.5), scaling(0.25, 0.25)
    expected = {
        "S": {"S": pixels, "S_downscaled_hires": hires, "S_downscaled_lowres": lowres}
        | {"microns": um},
        "S_full_image": {"S": pixels, "microns": um},
        "S_hires_image": {"S_downscaled_hires": pixels, "S": scaling(2, 2)}
        | {"microns": um @ scaling(2, 2)},
        "S_lowres_image": {"S_downscaled_lowres": pixels, "S": scaling(4, 4)}
        | {"microns": um @ scaling(4, 4)},
    }
    expected["S_tiles"] = expected["S"]
    for name, systems in expected.items():
        found = spatialdata.transformations.get_transformation(data[name], get_all=True)
        assert set(found) == set(systems), name
        for system, matrix in systems.items():
            assert np.allclose(affine(spatialdata, data[name], system), matrix), (name, system)


def test_without_micrometres_there_is_no_such_system(make_finished, write, caplog):
    assert "microns" not in write(make_finished(um_per_px=None)).coordinate_systems
    assert "micrometres" in caplog.text


def test_spots_are_circles_around_their_centres(make_finished, write):
    data = write(make_finished("S"))
    circles = data["S"]
    assert list(circles.index) == list(data["table"].obs["spot_id"]) == list(range(12))
    assert (circles["radius"] == 4.0).all()
    centres = np.c_[circles.geometry.x, circles.geometry.y]
    assert np.array_equal(centres, data["table"].obsm["spatial"])


def test_bins_are_squares_around_their_centres(make_finished, write):
    data = write(make_finished("S", tech="VisiumHD"))
    bounds = data["S"].geometry.bounds.to_numpy()
    centres = data["table"].obsm["spatial"]
    assert np.allclose(bounds, np.c_[centres - 4, centres + 4])
    assert np.allclose(data["S"].geometry.area, 64)
    assert data.attrs["bins_table"] == "table"


def test_tiles_are_the_squares_of_the_store(make_finished, write):
    import h5py

    finished = make_finished("S")
    data = write(finished)
    tiles, table = data["S_tiles"], data["table"]
    with h5py.File(finished.tiles) as file:
        corners = file["coords"][:]
    assert np.array_equal(tiles.geometry.bounds.to_numpy(), np.c_[corners, corners + 8])
    assert len(tiles) == 11
    row_of_spot = dict(zip(table.obs["spot_id"], table.obs["tile"], strict=True))
    assert [row_of_spot[spot] for spot in tiles["spot_id"]] == list(tiles.index)


@pytest.mark.parametrize("size", [(300, 200), (1025, 1300), (1, 7)])
def test_the_full_image_is_the_image(make_finished, write, size):
    finished = make_finished("S", size=(300, 200))
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(finished.image)
    record = finished.record | {
        "geometry": {"width": size[0], "height": size[1], "um_per_px": None}
    }
    finished.record_path.write_text(json.dumps(record))
    image = write(finished, image=finished.image)["S_full_image"]
    levels = [image[level].image for level in image] if hasattr(image, "children") else [image]
    assert np.array_equal(levels[0].to_numpy().transpose(1, 2, 0), pixels)
    above = pixels.astype(float)
    for level in levels[1:]:
        found = level.to_numpy().transpose(1, 2, 0)
        height, width = found.shape[:2]
        four = above[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3)
        assert np.abs(found - four.mean((1, 3))).max() <= 0.5
        above = found.astype(float)


def test_levels_are_those_that_spatialdata_makes(make_finished, write, spatialdata):
    finished = make_finished("S", size=(304, 208))
    image = write(finished, image=finished.image)["S_full_image"]
    theirs = spatialdata.models.Image2DModel.parse(
        finished.pixels.transpose(2, 0, 1), dims=("c", "y", "x"), scale_factors=[2, 2, 2, 2]
    )
    for level in theirs:
        assert image[level].image.shape == theirs[level].image.shape
        # they cut the mean off where it is rounded here, at every level once
        ours, made = (np.asarray(found[level].image).astype(int) for found in (image, theirs))
        assert np.abs(ours - made).max() <= int(level.removeprefix("scale"))


def test_names_that_spatialdata_refuses_are_changed_and_said(make_finished, write, caplog):
    columns = {"a b": 1.0, "a_b": 2.0, "Area": 3.0, "area": 4.0}
    data = write(make_finished("S+1", columns=columns, layers=["log norm"]))
    renamed = data.attrs["st1k4m"]["renamed"]
    assert renamed == {
        "obs": {"a b": "a_b-2", "area": "area-2"},
        "layers": {"log norm": "log_norm"},
    }
    assert "a_b-2" in caplog.text
    obs = data["table"].obs
    assert (obs["a_b-2"] == 1).all() and (obs["a_b"] == 2).all() and (obs["area-2"] == 4).all()
    assert "S_1" in data.shapes and data.attrs["st1k4m"]["slide"] == "S+1"


def test_attributes_hold_record_annotation_relations_and_splits(make_finished, write):
    relation = {"slide_a": "S", "slide_b": "T", "relation": "same_block", "evidence": "#1"}
    collected = export.Collected([relation], {"study": {"slide": "S", "part": "0", "group": "g"}})
    finished = make_finished("S")
    found = write(finished, collected=collected).attrs
    facts = found["st1k4m"]
    assert facts["record"] == finished.record
    assert facts["annotation"] == {"label": ["tumour"], "spots": [3]}
    assert facts["relations"] == [relation]
    assert facts["splits"] == {"study": {"slide": "S", "part": "0", "group": "g"}}
    assert found["cell_segmentation_image"] == found["tissue_segmentation_image"] == "S_hires_image"


def test_what_the_collection_says_of_a_slide_is_read_from_its_tables(tmp_path):
    (tmp_path / "relations.tsv").write_text(
        "slide_a\tslide_b\trelation\tevidence\n"
        "S\tT\tsame_block\tspot #1\nT\tU\tsame_study\t\nR\tS\tsame_study\t\n"
    )
    (tmp_path / "study.tsv").write_text("# two folds\nslide\tpart\tgroup\nS\t0\tg\nT\t1\th\n")
    (tmp_path / "other.tsv").write_text("slide\tpart\tgroup\nT\ttest\th\n")
    splits = {name: tmp_path / f"{name}.tsv" for name in ("study", "other")}
    found = export.read_collected("S", tmp_path / "relations.tsv", splits)
    assert [(row["slide_a"], row["slide_b"]) for row in found.relations] == [("S", "T"), ("R", "S")]
    assert found.relations[0]["evidence"] == "spot #1"
    assert found.splits == {"study": {"slide": "S", "part": "0", "group": "g"}}


def test_a_slide_without_spots_keeps_its_pictures(make_finished, write, caplog):
    data = write(make_finished("S", spots=0))
    assert set(data.images) == {"S_hires_image", "S_lowres_image"}
    assert not data.shapes and not data.tables
    assert "no spots" in caplog.text


def test_the_same_slide_gives_the_same_bytes(make_finished, write, tmp_path):
    finished = make_finished("S", size=(1100, 1050))
    for name, threads in (("a.zarr", 1), ("b.zarr", 2)):
        write(finished, name, image=finished.image, threads=threads)
    assert hash_files(tmp_path / "a.zarr") == hash_files(tmp_path / "b.zarr")
    assert len(hash_files(tmp_path / "a.zarr")) > 50


def test_an_image_of_another_size_is_refused(make_finished, write, tmp_path):
    from PIL import Image

    finished = make_finished("S")
    Image.new("RGB", (301, 200)).save(finished.image)
    with pytest.raises(SlideError, match="301 x 200 pixels, but the slide's record states 300"):
        write(finished, image=finished.image)
    assert not (tmp_path / "store.zarr").exists()


def test_a_broken_image_leaves_the_store_of_before(make_finished, write, tmp_path):
    finished = make_finished("S")
    write(finished)
    before = hash_files(tmp_path / "store.zarr")
    finished.image.write_bytes(finished.image.read_bytes()[:30_000])
    with pytest.raises(SlideError, match="truncated"):
        write(finished, image=finished.image)
    assert hash_files(tmp_path / "store.zarr") == before
    assert [path.name for path in tmp_path.glob("*store.zarr*")] == ["store.zarr"]


def test_a_killed_export_leaves_no_store_and_the_next_one_makes_it(make_finished, write, tmp_path):
    finished = make_finished("S", size=(1500, 1500))
    arguments = {name: str(value) for name, value in finished.arguments().items()}
    program = f"""
import pathlib, time
from st1k4m.export import pyramid, write_spatialdata
write = pyramid.fill_levels
def slow(bands, levels):
    def some():
        for band in bands:
            yield band
            print("writing", flush=True)
            time.sleep(60)
    write(some(), levels)
pyramid.fill_levels = slow
paths = {arguments!r}
write_spatialdata.write_spatialdata(
    **paths, store={str(tmp_path / "store.zarr")!r}, image={str(finished.image)!r}
)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "store.zarr").exists()
    assert len(list(tmp_path.glob(".store.zarr.*.tmp"))) == 1
    time.sleep(0.01)
    image = write(finished, image=finished.image)["S_full_image"]
    assert np.array_equal(image["scale0"].image.to_numpy().transpose(1, 2, 0), finished.pixels)
    assert not list(tmp_path.glob(".store.zarr.*"))


def test_without_the_library_the_message_says_what_to_install(make_finished, monkeypatch, tmp_path):
    real = builtins.__import__

    def lacking(name, *arguments, **options):
        if name == "spatialdata":
            raise ImportError("No module named 'spatialdata'")
        return real(name, *arguments, **options)

    finished = make_finished()
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(SlideError, match=r"pip install '\.\[spatialdata\]'"):
        export.write_spatialdata(store=tmp_path / "s.zarr", **finished.arguments())


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (False, None),
        (True, StoreOptions()),
        ({"full_image": True}, StoreOptions(full_image=True)),
        ({"collection": False}, StoreOptions(collection=False)),
    ],
)
def test_options_are_those_of_the_configuration(value, options):
    assert StoreOptions.from_config(value) == options
