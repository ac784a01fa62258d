"""The features of a slide's tiles: order, facts, and stores that cannot be used."""

import h5py
import numpy as np
import pytest
from st1k4m.baseline import pixels
from st1k4m.baseline.embed_tiles import embed_tiles, find_mismatch, read_ahead
from st1k4m.baseline.encoders import Encoder
from st1k4m.errors import SlideError
from st1k4m.formats.features import read_features
from st1k4m.formats.tile_store import open_tiles
from tile_stores import write_store


@pytest.fixture
def store(tmp_path):
    """A store of 1,100 tiles of 8 px: more than two batches."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (1100, 8, 8, 3), dtype=np.uint8)
    names = [f"S_{number}x1" for number in rng.permutation(1100)]
    write_store(tmp_path / "S.h5", tiles, names)
    return tmp_path / "S.h5", tiles, names


def test_features_stand_in_the_order_of_the_store(store, tmp_path):
    path, tiles, names = store
    out = tmp_path / "features/pixels/S.h5"
    embed_tiles(path, out, slide="S", encoder="pixels", revision=3)
    with h5py.File(out) as file:
        assert file["features"].dtype == np.float32
        np.testing.assert_array_equal(file["features"][:], pixels.embed(tiles))
        assert [name.decode() for name in file["barcode"][:, 0]] == names
        facts = dict(file.attrs)
    assert facts["name"] == "S" and facts["encoder"] == "pixels" and facts["weights"] == "none"
    assert facts["transform"] == pixels.TRANSFORM and facts["revision"] == "3"


def test_the_same_tiles_give_the_same_bytes(store, tmp_path):
    made = []
    for name in ("a", "b"):
        embed_tiles(store[0], tmp_path / name, slide="S", encoder="pixels")
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("batch", [1, 7, 1099, 1100, 5000])
def test_every_tile_is_read_once_and_in_order(store, batch):
    with open_tiles(store[0]) as image:
        found = list(read_ahead(image, batch))
    assert max(map(len, found)) <= batch
    np.testing.assert_array_equal(np.concatenate(found), store[1])


def test_large_tiles_are_read_a_few_at_a_time(store, monkeypatch):
    monkeypatch.setattr("st1k4m.baseline.embed_tiles.READ_BYTES", 8 * 8 * 3 * 10)
    with open_tiles(store[0]) as image:
        assert max(map(len, read_ahead(image, 512))) == 10


def test_an_empty_store_has_no_features_and_one_without_tiles_is_refused(tmp_path):
    write_store(tmp_path / "e.h5", np.empty((0, 8, 8, 3), np.uint8), [])
    embed_tiles(tmp_path / "e.h5", tmp_path / "f.h5", slide="S", encoder="pixels")
    assert read_features(tmp_path / "f.h5", "S").features.shape[0] == 0
    with h5py.File(tmp_path / "e.h5", "r+") as file:
        del file["img"]
    with pytest.raises(SlideError, match=r"has no tiles(.|\n)*format: hdf5"):
        embed_tiles(tmp_path / "e.h5", tmp_path / "g.h5", slide="S", encoder="pixels")
    assert not (tmp_path / "g.h5").exists()


@pytest.mark.parametrize(
    ("side", "um_per_px", "expected"),
    [(224, 0.5, ""), (100, 1.1, ""), (224, 0.25, "show 56 um"), (16, np.nan, "not known")],
)
def test_another_extent_than_the_encoder_expects_is_said(side, um_per_px, expected):
    encoder = Encoder("hf:vinid/plip", len, "w", "t", side=224, um_per_px=0.5)
    said = find_mismatch(encoder, side * um_per_px)
    assert expected in said and bool(said) == bool(expected)
    if said:
        assert "set tiles: {extent: 112um, size: 224}" in said
    assert find_mismatch(Encoder("pixels", len, "w", "t"), np.nan) == ""


def test_features_that_are_damaged_or_of_another_slide_are_refused(store, tmp_path):
    out = tmp_path / "f.h5"
    embed_tiles(store[0], out, slide="S", encoder="pixels")
    with pytest.raises(SlideError, match="features of another slide"):
        read_features(out, "T")
    with h5py.File(out, "r+") as file:
        file["features"][4, 2] = np.nan
        name = file["barcode"][4, 0].decode()
    with pytest.raises(SlideError, match=f"spot {name} are not finite numbers"):
        read_features(out, "S")
    out.write_bytes(out.read_bytes()[:900])
    with pytest.raises(SlideError, match=r"cannot be read(.|\n)*embed_tiles makes it"):
        read_features(out, "S")
