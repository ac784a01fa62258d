"""Images: any bytes the dataset holds, as RGB, in bands, exactly as PIL or the array has it."""

import dataclasses

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image
from st1k4m.errors import SlideError
from st1k4m.image import decode
from st1k4m.image.shrink import Shrinker
from st1k4m.image.tissue_mask import tissue_mask

Image.MAX_IMAGE_PIXELS = None
HEIGHT, WIDTH = 530, 421  # three bands of 256 rows or more; no multiple of a tile or a strip


@pytest.fixture(scope="module")
def rgb():
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 250, (HEIGHT // 8 + 1, WIDTH // 8 + 1, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.BICUBIC))
    noise = rng.integers(-4, 5, smooth.shape)
    return np.clip(smooth.astype(int) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def rgb16(rgb):
    return rgb * np.uint16(256) + np.random.default_rng(1).integers(0, 256, rgb.shape, np.uint16)


@pytest.fixture(scope="module")
def alpha():
    return np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)


def read(path, threads=1):
    header = decode.read_header(path)
    bands = decode.Bands(path, header, threads=threads)
    rows = np.concatenate(list(bands))
    assert rows.shape == (header.height, header.width, 3)
    assert rows.dtype == np.uint8
    return rows, header, bands


def as_pil(path):
    return np.asarray(Image.open(path).convert("RGB"))


def vips(array, interpretation="srgb"):
    return pyvips.Image.new_from_array(array).copy(interpretation=interpretation)


def planes(array):
    return np.ascontiguousarray(array.transpose(2, 0, 1))


# What PIL writes: how to make it from RGB, and how to save it.
PIL_FILES = {
    "rgb.png": (lambda im: im, {}),
    "grey.png": (lambda im: im.convert("L"), {}),
    "bilevel.png": (lambda im: im.convert("1"), {}),
    "palette.png": (lambda im: im.quantize(64), {}),
    "palette-4bit.png": (lambda im: im.quantize(14), {"bits": 4}),
    "palette-transparent.png": (lambda im: im.quantize(64), {"transparency": 3}),
    "rgb-transparent-colour.png": (lambda im: im, {"transparency": (200, 160, 200)}),
    "rgb.jpg": (lambda im: im, {"quality": 90}),
    "rgb-444.jpg": (lambda im: im, {"subsampling": 0}),
    "rgb-422.jpg": (lambda im: im, {"subsampling": 1}),
    "rgb-restarts.jpg": (lambda im: im, {"restart_marker_blocks": 8}),
    "rgb-not-ycc.jpg": (lambda im: im, {"keep_rgb": True}),
    "grey.jpg": (lambda im: im.convert("L"), {}),
    "cmyk-inverted.jpg": (lambda im: im.convert("CMYK"), {}),
    "progressive.jpg": (lambda im: im, {"progressive": True}),
    "plain.tif": (lambda im: im, {}),
    "lzw.tif": (lambda im: im, {"compression": "tiff_lzw"}),
    "deflate.tif": (lambda im: im, {"compression": "tiff_adobe_deflate"}),
    "packbits.tif": (lambda im: im, {"compression": "packbits"}),
    "jpeg.tif": (lambda im: im, {"compression": "jpeg"}),
    "grey.tif": (lambda im: im.convert("L"), {}),
    "palette.tif": (lambda im: im.quantize(64), {}),
    "bilevel.tif": (lambda im: im.convert("1"), {"compression": "group4"}),
    "cmyk.tif": (lambda im: im.convert("CMYK"), {}),
}


@pytest.mark.parametrize("name", PIL_FILES)
@pytest.mark.parametrize("threads", [1, 2])
def test_pixels_are_pils(tmp_path, rgb, name, threads):
    make, how = PIL_FILES[name]
    make(Image.fromarray(rgb)).save(tmp_path / name, **how)
    rows, _, _ = read(tmp_path / name, threads)
    np.testing.assert_array_equal(rows, as_pil(tmp_path / name))


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "jpeg"])
@pytest.mark.parametrize("tile", [False, True])
def test_strips_and_tiles_of_a_tiff_are_pils(tmp_path, rgb, compression, tile):
    path = tmp_path / "image.tif"
    vips(rgb).tiffsave(str(path), compression=compression, tile=tile, tile_width=112)
    rows, _, _ = read(path)
    np.testing.assert_array_equal(rows, as_pil(path))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_grey_are_spread_to_eight(tmp_path, rgb, bits):
    path = tmp_path / "grey.png"
    vips(rgb[..., 1], "b-w").pngsave(str(path), bitdepth=bits)
    rows, _, _ = read(path)
    np.testing.assert_array_equal(rows, as_pil(path))


def test_content_decides_not_the_name(tmp_path, rgb):
    for suffix, kind in ((".jpg", "jpeg"), (".png", "png"), (".tif", "tiff")):
        Image.fromarray(rgb).save(tmp_path / f"image{suffix}")
        path = (tmp_path / f"image{suffix}").rename(tmp_path / f"slide_{kind}.png")
        rows, header, _ = read(path)
        assert header.format == kind
        np.testing.assert_array_equal(rows, as_pil(path))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path, rgb16):
    tifffile.imwrite(tmp_path / "rgb.tif", rgb16, photometric="rgb")
    tifffile.imwrite(tmp_path / "big.tif", rgb16, photometric="rgb", byteorder=">", bigtiff=True)
    vips(rgb16, "rgb16").pngsave(str(tmp_path / "rgb.png"))
    vips(rgb16, "rgb16").pngsave(str(tmp_path / "interlaced.png"), interlace=True)
    for name in ("rgb.tif", "big.tif", "rgb.png", "interlaced.png"):
        rows, header, _ = read(tmp_path / name)
        assert header.dtype == "uint16"
        np.testing.assert_array_equal(rows, rgb16 >> 8)
    np.testing.assert_array_equal(as_pil(tmp_path / "rgb.png"), rgb16 >> 8)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(rgb16[..., 0]).save(tmp_path / name)
        rows, _, _ = read(tmp_path / name)
        np.testing.assert_array_equal(rows, np.repeat(rgb16[..., :1] >> 8, 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_dropped_and_transparency_noted(tmp_path, rgb, alpha, suffix):
    for mode, colour in (("RGBA", rgb), ("LA", rgb[..., :1])):
        for see_through, some in ((alpha, True), (np.full_like(alpha, 255), False)):
            path = tmp_path / f"{mode}{some}{suffix}"
            Image.fromarray(np.concatenate([colour, see_through], axis=2), mode).save(path)
            rows, _, bands = read(path)
            assert bands.transparent == some
            np.testing.assert_array_equal(rows, np.broadcast_to(colour, rgb.shape))


def test_orientation_is_ignored_for_coordinates_speak_of_stored_pixels(tmp_path, rgb):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("turned.jpg", "turned.png"):
        Image.fromarray(rgb).save(tmp_path / name, exif=exif)
        rows, _, _ = read(tmp_path / name)
        np.testing.assert_array_equal(rows, as_pil(tmp_path / name))
    path = tmp_path / "turned.tif"  # which PIL turns
    tifffile.imwrite(path, rgb, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(read(path)[0], rgb)


@pytest.mark.parametrize(
    "how",
    [
        {"photometric": "rgb", "planarconfig": "separate"},
        {"photometric": "rgb", "planarconfig": "separate", "rowsperstrip": 7},
        {"photometric": "rgb", "planarconfig": "separate", "tile": (64, 48)},
        {"photometric": "rgb", "planarconfig": "separate", "tile": (64, 48), "compression": "zlib"},
        {"photometric": "minisblack", "planarconfig": "separate"},
        {"photometric": "minisblack", "planarconfig": "separate", "rowsperstrip": 7},
        {"photometric": "minisblack"},
        {"imagej": True},
        {"photometric": "minisblack", "ome": True, "metadata": {"axes": "CYX"}},
    ],
    ids=str,
)
def test_channel_first_is_turned_whether_stored_as_planes_or_pages(tmp_path, rgb, how):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, planes(rgb), **how)
    np.testing.assert_array_equal(read(path, threads=2)[0], rgb)


def test_planes_may_have_sixteen_bits_and_alpha(tmp_path, rgb16, alpha):
    path = tmp_path / "image.tif"
    four = np.concatenate([rgb16, alpha * np.uint16(257)], axis=2)
    how = {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(path, planes(four), tile=(64, 64), compression="zlib", predictor=True, **how)
    rows, _, bands = read(path)
    assert bands.transparent
    np.testing.assert_array_equal(rows, rgb16 >> 8)


@pytest.mark.skipif(5 in tifffile.TIFF.DECOMPRESSORS, reason="imagecodecs is installed")
@pytest.mark.parametrize(("codec", "name"), [(5, "LZW"), (12345, "12345")])
def test_planes_with_a_codec_that_is_not_installed_name_it(tmp_path, rgb, codec, name):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, planes(rgb), photometric="rgb", tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["Compression"].overwrite(codec)
    with pytest.raises(
        SlideError, match=f"with {name}, which cannot be read without the package imagecodecs"
    ):
        decode.read_header(path)


@pytest.mark.parametrize("rows_per_strip", [1, 7, 129, HEIGHT])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_strips_of_any_height(tmp_path, rgb, rows_per_strip, bigtiff):
    path = tmp_path / "image.tif"
    how = {"rowsperstrip": rows_per_strip, "compression": "zlib", "bigtiff": bigtiff}
    tifffile.imwrite(path, rgb, photometric="rgb", **how)
    np.testing.assert_array_equal(read(path)[0], rgb)


@pytest.mark.parametrize("subifd", [False, True])
def test_a_pyramid_gives_its_largest_level(tmp_path, rgb, subifd):
    path = tmp_path / "image.tif"
    how = {"tile_width": 128, "tile_height": 128}
    vips(rgb).tiffsave(str(path), pyramid=True, tile=True, subifd=subifd, **how)
    np.testing.assert_array_equal(read(path)[0], rgb)


def test_a_large_jpeg_is_not_mapped_into_memory_and_the_same(tmp_path, rgb, monkeypatch):
    path = tmp_path / "image.jpg"
    Image.fromarray(rgb).save(path, quality=90)
    monkeypatch.setattr(decode, "_MAPPED_BYTES", 0)
    for threads in (1, 2):
        rows, header, _ = read(path, threads)
        assert header.format == "jpeg"
        np.testing.assert_array_equal(rows, as_pil(path))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SlideError, match="rows could be read"):
        list(decode.Bands(path, decode.read_header(path)))


def test_the_largest_level_need_not_be_the_first_page(tmp_path, rgb):
    path = tmp_path / "image.tif"
    with tifffile.TiffWriter(path) as writer:
        for step in (4, 1, 2):
            writer.write(rgb[::step, ::step], photometric="rgb")
    rows, header, _ = read(path)
    assert header.pages == (1,)
    np.testing.assert_array_equal(rows, rgb)


@pytest.mark.parametrize("pages", [2, 4, 101])
def test_pages_that_leave_open_which_is_the_slide_are_refused(tmp_path, pages):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, np.zeros((pages, 20, 30), np.uint8), photometric="minisblack")
    with pytest.raises(SlideError, match=f"not clear which page is the slide.*{pages} pages"):
        decode.read_header(path)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((20, 30, 3), np.float32), "3 samples of type float"),
        (np.zeros((20, 30, 3), np.uint32), "3 samples of type uint"),
        (np.zeros((20, 30, 3), np.int16), "3 samples of type short"),
        (np.zeros((20, 30, 9), np.uint8), "9 samples of type uchar"),
    ],
)
def test_other_samples_are_refused_with_what_was_found(tmp_path, array, found):
    path = tmp_path / "image.tif"
    photometric = "minisblack" if array.shape[2] > 3 else "rgb"
    tifffile.imwrite(path, array, photometric=photometric, planarconfig="contig")
    with pytest.raises(SlideError, match=found):
        decode.read_header(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it is empty"),
        (b"<html>404</html>", "it begins with b'<html>40'"),
        (b"\x89PNG\r\n\x1a\n", "the header of this PNG is broken"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "the header of this JPEG is broken"),
        (b"II*\x00\x08\x00\x00\x00", "the header of this TIFF is broken"),
        (b"II*\x00\x08\x00\x00\x00" + bytes(40), "TIFF"),
        (b"MM\x00+\x00\x08\x00\x00" + b"\xff" * 40, "the header of this TIFF is broken"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, found):
    path = tmp_path / "S1.png"
    path.write_bytes(content)
    with pytest.raises(SlideError, match=found) as caught:
        decode.read_header(path)
    assert caught.value.slide == "S1"


BREAKABLE = {
    "plain.png": lambda im, path: im.save(path),
    "baseline.jpg": lambda im, path: im.save(path, quality=95),
    "progressive.jpg": lambda im, path: im.save(path, progressive=True),
    "interlaced.png": lambda im, path: vips(np.asarray(im)).pngsave(str(path), interlace=True),
    "tiled.tif": lambda im, path: tifffile.imwrite(
        path, np.asarray(im), photometric="rgb", tile=(64, 64), compression="zlib"
    ),
    "strips.tif": lambda im, path: tifffile.imwrite(
        path, np.asarray(im), photometric="rgb", rowsperstrip=16
    ),
    "planes.tif": lambda im, path: tifffile.imwrite(
        path, planes(np.asarray(im)), photometric="rgb", tile=(64, 64), compression="zlib"
    ),
}


@pytest.mark.parametrize("name", BREAKABLE)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_truncated_image_fails_with_how_much_could_be_read(tmp_path, rgb, name, threads):
    path = tmp_path / name
    BREAKABLE[name](Image.fromarray(rgb), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    header = decode.read_header(path)
    with pytest.raises(SlideError, match=rf"\d+ of {HEIGHT} rows could be read, then: \w+"):
        list(decode.Bands(path, header, threads=threads))


@pytest.mark.parametrize("name", ["plain.png", "planes.tif"])
def test_a_damaged_image_fails_where_its_format_can_tell(tmp_path, rgb, name):
    path = tmp_path / name
    BREAKABLE[name](Image.fromarray(rgb), path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(SlideError, match="broken or truncated"):
        list(decode.Bands(path, decode.read_header(path)))


def test_rows_before_the_damage_are_given(tmp_path, rgb):
    path = tmp_path / "image.png"
    Image.fromarray(rgb).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    rows = []
    with pytest.raises(SlideError, match=r"256 of 530 rows|512 of 530 rows"):
        rows.extend(decode.Bands(path, decode.read_header(path)))
    np.testing.assert_array_equal(rows[0], rgb[: len(rows[0])])


def test_more_pixels_than_allowed_are_refused_from_the_header(tmp_path, rgb):
    path = tmp_path / "image.png"
    Image.fromarray(rgb).save(path)
    with pytest.raises(SlideError, match=r"421 x 530 pixels; tiles.max_pixels is 1e\+03"):
        decode.read_header(path, max_pixels=1000)


def test_a_small_file_that_declares_a_giant_image_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (2_000_000).to_bytes(4, "big") + (2_000_000).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(SlideError, match=r"2000000 x 2000000|broken"):
        decode.read_header(path)


def test_what_decodes_whole_and_would_not_fit_is_refused(tmp_path, rgb, monkeypatch):
    BREAKABLE["progressive.jpg"](Image.fromarray(rgb), tmp_path / "image.jpg")
    monkeypatch.setattr(decode, "MAX_WHOLE_MB", 50)
    with pytest.raises(
        SlideError, match="progressive JPEG is decoded as a whole; 421 x 530 pixels"
    ):
        decode.read_header(tmp_path / "image.jpg")


def test_what_decodes_whole_says_so_and_counts_its_memory(tmp_path, rgb):
    names = ("progressive.jpg", "interlaced.png", "plain.png", "baseline.jpg")
    for name in names:
        BREAKABLE[name](Image.fromarray(rgb), tmp_path / name)
    tifffile.imwrite(
        tmp_path / "one-strip.tif", planes(rgb), photometric="rgb", rowsperstrip=HEIGHT
    )
    headers = {p.name: decode.read_header(p) for p in tmp_path.iterdir()}
    whole = {name for name, header in headers.items() if header.whole}
    assert whole == {"progressive.jpg", "interlaced.png", "one-strip.tif"}

    def cost(name, rows):
        return decode.decode_mb(dataclasses.replace(headers[name], width=40_000, height=rows))

    assert cost("plain.png", 80_000) == cost("plain.png", 40_000) < 300
    assert cost("interlaced.png", 40_000) > 4_500
    assert cost("progressive.jpg", 40_000) > 9_000


def test_shrinking_is_the_exact_area_average(rgb):
    shrinker = Shrinker(WIDTH, HEIGHT, 210)
    for top in (0, 3, 259, 500):
        stop = {0: 3, 3: 259, 259: 500, 500: HEIGHT}[top]
        shrinker.feed(rgb[top:stop])
    picture = shrinker.picture()
    assert picture.shape == (210, 167, 3)

    def weights(source, target):
        edges = np.arange(target + 1) * source / target
        cells = np.arange(source)
        lap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        return lap.clip(0) * target / source

    exact = np.tensordot(weights(HEIGHT, 210), rgb, axes=1)
    exact = np.einsum("ybc,xb->yxc", exact, weights(WIDTH, 167), optimize=True)
    assert np.abs(picture - exact).max() < 0.51


def test_a_thumbnail_is_no_larger_than_asked_and_no_larger_than_the_image(tmp_path, rgb):
    path = tmp_path / "image.png"
    Image.fromarray(rgb).save(path)
    assert decode.thumbnail(path, 100).shape == (100, 79, 3)
    np.testing.assert_array_equal(decode.thumbnail(path, 600), rgb)
    mean = decode.thumbnail(path, 1).ravel()
    assert np.abs(mean - rgb.mean(axis=(0, 1))).max() <= 1


def test_tissue_is_where_the_colour_is():
    glass = np.full((200, 300, 3), 240, np.uint8)
    glass += np.random.default_rng(0).integers(-5, 6, glass.shape).astype(np.uint8)
    tissue = np.zeros((200, 300), bool)
    tissue[50:150, 60:200] = True
    picture = np.where(tissue[..., None], np.uint8([180, 90, 160]), glass)
    found = tissue_mask(picture)
    assert (found != tissue).mean() < 0.001

    picture[:20] = 3  # padding: black, but for noise
    picture[:20, ::2, 0] = 0
    assert not tissue_mask(picture)[:18].any()


def test_a_picture_that_is_all_tissue_is_not_split():
    rng = np.random.default_rng(0)
    picture = np.empty((200, 300, 3), np.uint8)
    picture[:] = (190, 90, 160)
    picture[:, ::7] = (150, 60, 140)
    picture += rng.integers(0, 20, picture.shape, dtype=np.uint8)
    assert tissue_mask(picture).mean() > 0.99


def test_a_grey_or_even_picture_says_nothing_about_tissue(rgb):
    grey = np.repeat(rgb[..., :1], 3, axis=2)
    even = np.full((100, 100, 3), (230, 180, 220), np.uint8)
    assert tissue_mask(grey) is None
    assert tissue_mask(even) is None


def test_real_slides_are_pils(real_slides):
    paths = sorted(real_slides.glob("*/image/*.png"))
    assert paths
    for path in paths:
        rows, header, _ = read(path, threads=2)
        assert header.format == Image.open(path).format.lower()
        np.testing.assert_array_equal(rows, as_pil(path))
