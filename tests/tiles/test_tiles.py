"""Tiles: the authors' crops, in the AnnData's order, in one file that others can read."""

import io
import itertools
import json
import multiprocessing
import pickle
import tarfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from benchmarks import measure
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import DEFAULTS
from st1k4m.errors import SlideError
from st1k4m.formats.spots import SpotTable
from st1k4m.formats.spots import write_spots as write_spots_file
from st1k4m.formats.tile_store import TileStore
from st1k4m.image import decode
from st1k4m.tiles.cut_tiles import cut_tiles
from st1k4m.tiles.pack_tiles import pack_tiles
from st1k4m.tiles.squares import Squares
from st1k4m.tiles.window import Window

Image.MAX_IMAGE_PIXELS = None
OPTIONS = DEFAULTS["tiles"]


def write_spots(path, x, y, radius, width, height, um_per_px=None, names=None):
    """Write the spots file that ``align_spots`` would; return the ids."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    names = names or [f"S1_{i}x{i}" for i in range(len(x))]
    outside = (x < 0) | (y < 0) | (x > width) | (y > height)
    unknown, r = np.full(len(x), -1, np.int32), np.full(len(x), radius, float)
    table = SpotTable(names, names, x, y, r, unknown, unknown, outside)
    facts = {"width": width, "height": height, "radius": radius, "um_per_px": um_per_px}
    write_spots_file(path, table, facts)
    return names


def paint(height, width, seed=0):
    """Paint a picture with pink tissue on grey glass; every pixel differs from its neighbours."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(225, 245, (height, width, 1), dtype=np.uint8).repeat(3, axis=2)
    tissue = picture[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4]
    tissue[:] = rng.integers((150, 60, 130), (210, 130, 190), tissue.shape)
    return picture


@pytest.fixture
def cut(tmp_path):
    """Cut tiles of a picture; the path of the store."""

    def cut(picture, x, y, radius, *, kept=None, names=None, um_per_px=None, threads=1, **options):
        height, width = picture.shape[:2]
        Image.fromarray(picture).save(tmp_path / "image.png")
        spots = tmp_path / "spots.parquet"
        names = write_spots(spots, x, y, radius, width, height, um_per_px, names)
        cut_tiles(
            tmp_path / "image.png",
            spots,
            names if kept is None else kept,
            tmp_path / "S1.h5",
            slide="S1",
            options=OPTIONS | options,
            threads=threads,
        )
        return tmp_path / "S1.h5"

    return cut


def tiles_of(store):
    store = TileStore(store)
    return np.stack([store[i] for i in range(len(store))])


def authors_crop(image, x, y, r):
    """Crop as the authors do, with PIL; None where that gives a box without size."""
    box = (x - r, y - r, x + r, y + r)
    if round(box[2]) == round(box[0]) or round(box[3]) == round(box[1]):
        return None
    return np.asarray(image.crop(box))


def assert_authors(store, image, x, y, r):
    """Every tile is the authors' crop where they overlap: the latter's side varies by a pixel."""
    store = TileStore(store)
    for i in range(len(store)):
        crop, tile = authors_crop(image, x[i], y[i], r), store[i]
        assert tile.shape == (max(1, round(2 * r)),) * 2 + (3,)
        if crop is not None:
            h, w = np.minimum(crop.shape[:2], tile.shape[:2])
            assert min(h, w) >= len(tile) - 1
            np.testing.assert_array_equal(tile[:h, :w], crop[:h, :w])


@pytest.mark.parametrize("radius", [0.09, 0.5, 1.0, 2.3, 7.5, 22.36, 45.0])
@pytest.mark.parametrize("threads", [1, 2])
def test_tiles_are_the_authors_crops_black_beyond_the_image(cut, radius, threads):
    picture = paint(311, 287)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 287, 60), rng.uniform(0, 311, 60)
    x[:20], y[:20] = np.round(x[:20] * 2) / 2, np.round(y[:20] * 2) / 2  # halves round to even
    x[20:24], y[20:24] = (0, 287, 0, 287), (0, 0, 311, 311)
    store = cut(picture, x, y, radius, threads=threads)
    assert_authors(store, Image.fromarray(picture), x, y, radius)


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 40),
    side=st.integers(1, 50),
    corners=st.lists(st.tuples(st.integers(-60, 70), st.integers(-60, 70)), max_size=12),
    cuts=st.lists(st.integers(1, 59), max_size=6),
)
@settings(max_examples=300, deadline=None)
def test_squares_are_cut_whole_however_the_bands_fall(height, width, side, corners, cuts):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    around = np.full((height + 240, width + 240, 3), (1, 2, 3), np.uint8)
    around[120 : 120 + height, 120 : 120 + width] = picture
    left, top = np.array(corners, np.int64).reshape(-1, 2).T
    across = np.minimum(left + side, width) - np.maximum(left, 0)
    down = np.minimum(top + side, height) - np.maximum(top, 0)
    inside = (across.clip(0) * down.clip(0) / side**2).astype(np.float32)
    squares = Squares(np.arange(len(left)), left, top, side, side, inside)
    window = Window(squares, width, height, [1, 2, 3])
    found = {}
    edges = sorted({0, height, *(cut for cut in cuts if cut < height)})
    for begin, end in itertools.pairwise(edges):
        for rows, tiles in window.feed(picture[begin:end]):
            found |= dict(zip(rows.tolist(), tiles.copy(), strict=True))
    assert sorted(found) == list(range(len(left)))
    for row, tile in found.items():
        y, x = top[row] + 120, left[row] + 120
        np.testing.assert_array_equal(tile, around[y : y + side, x : x + side])


def test_rows_follow_the_anndata_whatever_the_order_in_the_image(cut):
    picture = paint(200, 300)
    x, y = np.arange(30) * 10.0, np.arange(30)[::-1] * 6.0
    names = [f"S1_{i}" for i in range(30)]
    kept = list(np.random.default_rng(0).permutation(names)[:20])
    store = cut(picture, x, y, 4.0, names=names, kept=kept)
    assert TileStore(store).barcodes == kept
    rows = [names.index(name) for name in kept]
    assert_authors(store, Image.fromarray(picture), x[rows], y[rows], 4.0)
    np.testing.assert_array_equal(TileStore(store).coords[:, 0], np.rint(x[rows] - 4))
    np.testing.assert_array_equal(TileStore(store).coords[:, 1], np.rint(y[rows] - 4))


def test_spots_outside_the_image_have_no_tile(cut):
    store = cut(paint(100, 100), [50, 101, 50], [50, 50, -1], 5.0, names=["a", "b", "c"])
    assert TileStore(store).barcodes == ["a"]
    with h5py.File(store) as file:
        assert len(file["dropped/spot"]) == 0


def test_an_edge_can_be_dropped_with_its_reason_and_the_share_inside_is_kept(cut):
    where = ([50, 0, 95, 100], [50, 0, 50, 100], 10.0)
    names = ["a", "b", "c", "d"]
    store = cut(paint(100, 100), *where, names=names)
    with h5py.File(store) as file:
        np.testing.assert_allclose(file["inside"][:], [1, 0.25, 0.75, 0.25])
        assert len(file["dropped/spot"]) == 0
    store = cut(paint(100, 100), *where, names=names, edge="drop")
    assert TileStore(store).barcodes == ["a"]
    with h5py.File(store) as file:
        assert list(file["dropped/spot"].asstr()) == ["b", "c", "d"]
        assert set(file["dropped/reason"].asstr()) == {"partly_outside_image"}
        np.testing.assert_allclose(file["inside"][:], [1])


def test_the_colour_beyond_the_image_can_be_chosen(cut):
    (tile,) = tiles_of(cut(paint(100, 100), [0], [0], 10.0, fill=[255, 250, 1]))
    assert (tile[:10] == (255, 250, 1)).all()
    assert (tile[:, :10] == (255, 250, 1)).all()
    np.testing.assert_array_equal(tile[10:, 10:], paint(100, 100)[:10, :10])


def test_an_extent_in_micrometres_is_the_same_tissue_on_every_slide(cut):
    picture = paint(400, 400)
    store = cut(picture, [200.3], [150.5], 5.0, um_per_px=1.75, extent="112um")
    (tile,) = tiles_of(store)
    np.testing.assert_array_equal(tile, picture[118:182, 168:232])  # 64 px, at 200.3-32, 150.5-32
    with h5py.File(store) as file:
        assert file.attrs["patch_size_src"] == 64
        assert file.attrs["pixel_size"] == 1.75
    with pytest.raises(SlideError, match="112um, but the slide has no micrometres per pixel"):
        cut(picture, [200], [150], 5.0, extent="112um")


def area_average(tile, size):
    """Average by exact overlap, the reference for making smaller."""
    source = len(tile)
    edges, cells = np.arange(size + 1) * source / size, np.arange(source)
    lap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    weights = lap.clip(0) * size / source
    return np.einsum("ybc,xb->yxc", np.tensordot(weights, tile, axes=1), weights)


def cubic(tile, size):
    """Interpolate by Keys' kernel with a = -0.75, the reference for making larger."""
    source = len(tile)
    at = (np.arange(size) + 0.5) * source / size - 0.5
    weights = np.zeros((size, source))
    for tap in range(-1, 3):
        cell = np.floor(at).astype(int) + tap
        t = np.abs(at - cell)
        near = 1.25 * t**3 - 2.25 * t**2 + 1
        far = -0.75 * (t**3 - 5 * t**2 + 8 * t - 4)
        np.add.at(weights, (np.arange(size), cell.clip(0, source - 1)), np.where(t <= 1, near, far))
    both = np.einsum("ybc,xb->yxc", np.tensordot(weights, tile, axes=1), weights)
    return both.clip(0, 255)


@pytest.mark.parametrize(
    ("size", "reference"), [(11, area_average), (23, area_average), (97, cubic)]
)
def test_another_size_is_area_average_down_and_cubic_up(cut, size, reference):
    picture = cv2.blur(paint(200, 200), (3, 3))
    x, y = np.array([100, 80.5, 3]), np.array([100, 60, 198.0])
    native = tiles_of(cut(picture, x, y, 23.0))
    store = cut(picture, x, y, 23.0, size=size, um_per_px=0.5)
    for tile, source in zip(tiles_of(store), native, strict=True):
        assert tile.shape == (size, size, 3)
        assert np.abs(tile - reference(source, size)).max() <= 1
    with h5py.File(store) as file:
        assert file.attrs["patch_size_src"] == 46
        assert file.attrs["patch_size_target"] == size
        assert file.attrs["downsample"] == 46 / size
        assert file.attrs["pixel_size"] == 0.5
        assert ("upsampled" in json.loads(file.attrs["facts"])["flags"]) == (size > 46)


def test_a_slide_too_coarse_for_the_size_is_refused_unless_flagged(cut):
    with pytest.raises(SlideError, match="tiles of 16 px would be enlarged to 224 px"):
        cut(paint(100, 100), [50], [50], 8.0, size=224, upsample="refuse")


def test_a_radius_beyond_reason_is_refused(cut):
    with pytest.raises(SlideError, match="a tile of 2000000 px on an image of 100 x 100 px"):
        cut(paint(100, 100), [50], [50], 1e6)


def test_the_store_is_what_hest_and_trident_read(cut):
    store = cut(paint(300, 200), [50, 150], [60, 200], 14.5, um_per_px=0.7, names=["S1_a", "S1_b"])
    expected = {
        "patch_size_src": 29,
        "patch_size_target": 29,
        "downsample": 1.0,
        "pixel_size": 0.7,
        "name": "S1",
    }
    with h5py.File(store) as file:
        assert file["img"].shape == (2, 29, 29, 3)
        assert file["img"].dtype == np.uint8
        assert file["img"].chunks is None
        assert file["coords"].dtype == np.int64
        assert file["coords"][:].tolist() == [[36, 46], [136, 186]]
        assert file["barcode"].shape == (2, 1)
        assert [name.decode() for name in file["barcode"][:].flatten()] == ["S1_a", "S1_b"]
        assert file["inside"].dtype == file["tissue"].dtype == np.float32
        for place in (file, file["img"], file["coords"]):
            assert dict(place.attrs).items() >= expected.items()


def test_micrometres_per_pixel_that_are_not_known_are_nan(cut):
    with h5py.File(cut(paint(100, 100), [50], [50], 8.0)) as file:
        assert np.isnan(file.attrs["pixel_size"])


def test_pictures_come_along_with_their_scale(cut):
    picture = paint(2600, 1300)
    with h5py.File(cut(picture, [50], [50], 8.0)) as file:
        facts = json.loads(file.attrs["facts"])
        hires, lowres = file["pictures/hires"][:], file["pictures/lowres"][:]
    assert (hires.shape, lowres.shape) == ((2000, 1000, 3), (600, 300, 3))
    assert facts["tissue_hires_scalef"] == 2000 / 2600
    assert facts["tissue_lowres_scalef"] == 600 / 2600
    assert (facts["width"], facts["height"]) == (1300, 2600)
    for small in (hires, lowres):
        assert np.abs(small.mean((0, 1)) - picture.mean((0, 1))).max() < 0.3
        brown = cv2.resize(picture, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - brown).max() <= 2


def test_pictures_of_a_small_image_are_the_image(cut):
    picture = paint(500, 300)
    with h5py.File(cut(picture, [50], [50], 8.0)) as file:
        np.testing.assert_array_equal(file["pictures/hires"][:], picture)
        np.testing.assert_array_equal(file["pictures/lowres"][:], picture)


def test_every_tile_knows_its_share_of_tissue(cut):
    picture = paint(400, 400)  # tissue from 100 to 300
    with h5py.File(cut(picture, [200, 20, 100, 300], [200, 20, 200, 300], 20.0)) as file:
        np.testing.assert_allclose(file["tissue"][:], [1, 0, 0.5, 0.25], atol=0.06)


def test_squares_off_the_tissue_can_be_dropped(cut):
    picture = paint(400, 400)
    names = ["on", "off", "half"]
    where = ([200, 20, 130], [200, 20, 200], 20.0)
    everything = tiles_of(cut(picture, *where))
    for more in ({}, {"compression": "gzip"}):
        store = cut(picture, *where, names=names, drop_off_tissue=True, **more)
        assert TileStore(store).barcodes == ["on", "half"]
        np.testing.assert_array_equal(tiles_of(store), everything[[0, 2]])
        with h5py.File(store) as file:
            assert list(file["dropped/spot"].asstr()) == ["off"]
            assert list(file["dropped/reason"].asstr()) == ["off_tissue"]
            assert len(file["tissue"]) == len(file["inside"]) == len(file["coords"]) == 2


def test_a_grey_slide_keeps_all_its_tiles(cut):
    grey = paint(400, 400)[..., :1].repeat(3, axis=2)
    store = cut(grey, [200, 20], [200, 20], 20.0, drop_off_tissue=True)
    assert len(TileStore(store)) == 2
    with h5py.File(store) as file:
        assert np.isnan(file["tissue"][:]).all()


def test_the_same_bytes_for_the_same_input_whatever_the_threads(cut, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 700, 300), rng.uniform(0, 900, 300)
    for options in ({}, {"compression": "gzip"}, {"size": 10}):
        found = set()
        for threads in (1, 2, 2):
            store = cut(paint(900, 700), x, y, 12.0, threads=threads, **options)
            pack_tiles(store, tmp_path / "S1.tar", slide="S1", layout="png", threads=threads)
            found.add((store.read_bytes(), (tmp_path / "S1.tar").read_bytes()))
        assert len(found) == 1


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
@pytest.mark.parametrize("radius", [4.0, 140.0])
def test_compressed_tiles_are_the_same_in_chunks_of_whole_tiles(cut, compression, radius):
    rng = np.random.default_rng(0)
    where = (rng.uniform(0, 500, 50), rng.uniform(0, 500, 50), radius)
    plain = tiles_of(cut(paint(500, 500), *where))
    store = cut(paint(500, 500), *where, compression=compression)
    np.testing.assert_array_equal(tiles_of(store), plain)
    with h5py.File(store) as file:
        assert file["img"].compression == compression
        assert file["img"].chunks[1:] == plain.shape[1:]
        assert file["img"].chunks[0] == (1 if radius == 140 else 50)


def test_no_tiles_at_all_is_a_store_too(cut):
    for options in ({}, {"compression": "gzip"}, {"pixels": False}, {"drop_off_tissue": True}):
        store = cut(paint(100, 100), [50], [50], 5.0, kept=[], **options)
        with h5py.File(store) as file:
            assert file["coords"].shape == (0, 2)
            assert file["pictures/hires"].shape == (100, 100, 3)


def members(path):
    with tarfile.open(path) as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname) == (0, 0, 0, "")
        return {info.name: tar.extractfile(info).read() for info in tar}


def decode_bytes(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_an_archive_in_the_authors_layout_has_a_png_per_spot(cut, tmp_path):
    where = ([50, 20.5, 0], [50, 70, 0], 9.0)
    names = ["a.b_1x1", "a.b_2x2", "a.b_3x3"]
    plain = tiles_of(cut(paint(100, 100), *where))
    store = cut(paint(100, 100), *where, names=names)
    pack_tiles(store, tmp_path / "S1.tar", slide="S1", layout="png")
    files = members(tmp_path / "S1.tar")
    assert list(files) == [f"{name}.png" for name in names]
    for tile, content in zip(plain, files.values(), strict=True):
        np.testing.assert_array_equal(decode_bytes(content), tile)


def test_a_webdataset_has_a_picture_and_a_description_per_spot(cut, tmp_path):
    where = ([50, 20.5, 0], [50, 70, 0], 9.0)
    names = ["a.b+c_1x1", "a.b+c_2%x2", "ß_3x3"]
    plain = tiles_of(cut(paint(100, 100), *where))
    store = cut(paint(100, 100), *where, names=names, um_per_px=0.5, threads=2)
    pack_tiles(store, tmp_path / "S1.tar", slide="S1", layout="webdataset", threads=2)
    files = members(tmp_path / "S1.tar")
    keys = [name.split(".")[0] for name in files]  # as WebDataset does
    assert keys[::2] == keys[1::2]
    assert len(set(keys)) == 3
    assert [name.split(".")[1:] for name in files] == [["png"], ["json"]] * 3
    for name, tile, key in zip(names, plain, keys[::2], strict=True):
        np.testing.assert_array_equal(decode_bytes(files[f"{key}.png"]), tile)
        about = json.loads(files[f"{key}.json"])
        assert about["spot"] == name
        assert about["name"] == "S1"
        assert about["pixel_size"] == 0.5
        assert about["patch_size_src"] == 18
    assert json.loads(files[f"{keys[4]}.json"])["coords"] == [-9, -9]
    assert json.loads(files[f"{keys[4]}.json"])["inside"] == 0.25


@pytest.mark.parametrize("name", ["../../etc/x", "a/b", "a\\b", "a\nb", "a\x00b", ".hidden"])
def test_an_id_that_is_no_file_name_never_reaches_an_archive(cut, tmp_path, name):
    store = cut(paint(100, 100), [50], [50], 5.0, names=[name])
    for layout in ("png", "webdataset"):
        with pytest.raises(SlideError, match="cannot be a file name"):
            pack_tiles(store, tmp_path / "S1.tar", slide="S1", layout=layout)
    assert not (tmp_path / "S1.tar").exists()
    assert TileStore(cut(paint(100, 100), [50], [50], 5.0, names=["S1_a"])).barcodes == ["S1_a"]


def test_coordinates_only(cut, tmp_path):
    store = cut(paint(100, 100), [50], [50], 5.0, pixels=False)
    with h5py.File(store) as file:
        assert "img" not in file
        assert file["coords"][:].tolist() == [[45, 45]]
        assert file["pictures/lowres"].shape == (100, 100, 3)
        assert file.attrs["patch_size_src"] == 10
    with pytest.raises(ValueError, match="has no tiles: it was made with"):
        TileStore(store)


def test_a_broken_image_leaves_nothing_behind(tmp_path):
    image = tmp_path / "image.png"
    Image.fromarray(paint(900, 700)).save(image)
    image.write_bytes(image.read_bytes()[:-200_000])
    names = write_spots(tmp_path / "spots.parquet", [50], [50], 5.0, 700, 900)
    out = tmp_path / "tiles"
    for options in ({}, {"compression": "gzip"}, {"pixels": False}):
        with pytest.raises(SlideError, match="rows could be read"):
            cut_tiles(
                image,
                tmp_path / "spots.parquet",
                names,
                out / "S1.h5",
                slide="S1",
                options=OPTIONS | options,
            )
        assert list(out.iterdir()) == []


def test_a_store_is_a_sequence(cut):
    picture = paint(100, 100)
    store = TileStore(cut(picture, [50, 20, 70], [50, 70, 30], 9.0))
    assert len(store) == len(list(store)) == 3
    np.testing.assert_array_equal(store[-1], store[2])
    np.testing.assert_array_equal(store[np.int64(0)], picture[41:59, 41:59])
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"tile {index} of 3"):
            store[index]


def _sum(store, index):
    return int(store[index].astype(int).sum())


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_store_can_be_handed_to_workers(cut, start):
    rng = np.random.default_rng(0)
    path = cut(paint(400, 400), rng.uniform(0, 400, 64), rng.uniform(0, 400, 64), 20.0)
    store = TileStore(path)
    expected = [_sum(store, i) for i in range(64)]  # so that it is open before the workers start
    with multiprocessing.get_context(start).Pool(2) as pool:
        assert pool.starmap(_sum, [(store, i) for i in range(64)]) == expected
    assert pickle.loads(pickle.dumps(store)).barcodes == store.barcodes


def read_coord(real_slides, tech, slide):
    coord = pd.read_csv(real_slides / tech / "coord" / f"{slide}_coord.csv", index_col=0)
    return coord.index.tolist(), coord["xaxis"].to_numpy(), coord["yaxis"].to_numpy(), coord["r"]


@pytest.mark.parametrize(
    ("tech", "slide"),
    [
        ("ST", "Human_Breast_Andersson_10142021_ST_C2"),
        ("ST", "Mouse_OlfactoryBulb_STUtility_ST2K_MOB1"),
        ("Visium", "Mouse_Brain_10X_06232020_Visium_Coronal_squidpycrop"),
        ("Visium", "Mouse_Brain_10X_06232020_Visium_Sagittal_Anterior_Section_1_100genes"),
        ("VisiumHD", "Mouse_VisiumIO_VisiumHD_10bins_zerocounts"),
    ],
)
def test_every_tile_of_a_real_slide_is_the_authors_crop(tmp_path, real_slides, tech, slide):
    path = real_slides / tech / "image" / f"{slide}.png"
    image = Image.open(path).convert("RGB")
    names, x, y, r = read_coord(real_slides, tech, slide)
    spots = tmp_path / "spots.parquet"
    write_spots(spots, x, y, float(r.iloc[0]), *image.size, names=names)
    cut_tiles(path, spots, names, tmp_path / "S.h5", slide=slide, options=OPTIONS, threads=2)
    assert TileStore(tmp_path / "S.h5").barcodes == names
    assert_authors(tmp_path / "S.h5", image, x, y, float(r.iloc[0]))


CUT = """
from pathlib import Path
from st1k4m.tiles.cut_tiles import cut_tiles
from st1k4m.tiles.pack_tiles import pack_tiles
names = [f"S1_{{i}}x{{i}}" for i in range({spots})]
cut_tiles("{image}", "{table}", names, "{out}", slide="S1", options={options!r})
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_memory_does_not_grow_with_the_height_of_the_image(tmp_path, suffix):
    peaks = []
    for height in (3_000, 24_000):
        image, table = tmp_path / f"{height}{suffix}", tmp_path / f"{height}.parquet"
        tall = np.tile(paint(3_000, 3_000), (height // 3_000, 1, 1))
        if suffix == ".tif":
            how = {"compression": "zlib", "compressionargs": {"level": 1}, "tile": (256, 256)}
            tifffile.imwrite(image, tall, photometric="rgb", **how)
        else:
            Image.fromarray(tall).save(image, compress_level=1)
        write_spots(table, [1_500] * 50, np.linspace(0, height, 50), 90.0, 3_000, height)
        code = CUT.format(
            image=image, table=table, out=tmp_path / "S1.h5", spots=50, options=OPTIONS
        )
        # its own word for it: getrusage counts what this process held when it started the other
        peaks.append(float(measure.run_python(code).output))
        assert peaks[-1] < decode.decode_mb(decode.read_header(image)) + 300
    assert peaks[1] < peaks[0] + 70  # a JPEG's file is mapped, if it is small
