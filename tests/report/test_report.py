"""The report tells the truth of every slide, in files that open from disk."""

import base64
import hashlib
import json
import re
import zlib

import cv2
import h5py
import numpy as np
import pytest
import report_data
from st1k4m.formats.tile_store import read_hires
from st1k4m.image import shrink
from st1k4m.report import build_report, draw_slide, drawing, marks
from st1k4m.report.marks import UNKNOWN
from st1k4m.run.steps import STEPS

GREY = np.full((60, 80, 3), 200, np.uint8)
CENTRES = np.array([[20.5, 30.5], [60.5, 30.5]])
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def changed(before, after):
    return (before != after).any(axis=2)


def unpack(text):
    return zlib.decompress(base64.b64decode(text))


def read_page(path):
    card, data = path.read_text().splitlines()
    found = re.fullmatch(r"card\((.*)\);", card), re.fullmatch(r"page\((.*)\);", data)
    return [json.loads(match[1]) for match in found]


@pytest.fixture
def drawn(tmp_path):
    """Make a slide, draw it; its card, its page's data, and the files."""

    def make(slide="Slide_A", **arguments):
        report_data.make_products(tmp_path, slide, **arguments)
        files = report_data.draw(tmp_path, slide)
        return *read_page(files["page"]), files

    return make


# --- pictures


def test_spots_are_drawn_where_they_are_and_as_large_as_they_are():
    ink = changed(GREY, drawing.draw_spots(GREY, CENTRES, 10, square=False))
    rows, columns = np.nonzero(ink[:, :40])
    assert rows.min() == pytest.approx(20, abs=1)
    assert rows.max() == pytest.approx(40, abs=1)
    assert columns.min() == pytest.approx(10, abs=1)
    assert columns.max() == pytest.approx(30, abs=1)
    assert not ink[30, 20]


def test_dropped_spots_are_crosses():
    cross = changed(GREY, drawing.draw_spots(GREY, CENTRES[:0], 10, square=False, dropped=CENTRES))
    assert cross[30, 20]
    assert cross[26, 16]
    assert not cross[30, 16]


@pytest.mark.parametrize("square", [False, True])
def test_spots_too_small_for_an_outline_tint_what_they_cover(square):
    y, x = np.mgrid[10.5:20, 10.5:20]
    bins = np.stack([x.ravel(), y.ravel()], axis=1)
    ink = changed(GREY, drawing.draw_spots(GREY, bins, 0.5, square=square))
    assert ink[10:20, 10:20].all()
    assert ink.sum() == 100


def test_spots_outside_the_picture_do_no_harm():
    far = np.array([[-50.0, 10.0], [500.0, 700.0]])
    for radius in (0.5, 10):
        assert not changed(GREY, drawing.draw_spots(GREY, far, radius, square=False)).any()


def test_pictures_shrink_by_area_and_never_grow():
    assert shrink.shrink(GREY, 40).shape == (30, 40, 3)
    assert shrink.shrink(GREY, 4000).shape == GREY.shape


@pytest.mark.parametrize(("um", "length"), [(1234, 1000), (999, 500), (20, 20), (0.7, 0.5)])
def test_scale_has_a_round_length(um, length):
    assert drawing.round_length(um) == pytest.approx(length)


def test_tiles_keep_their_order_on_the_sheet():
    tiles = [np.full((3, 3, 3), shade, np.uint8) for shade in (10, 20, 30)]
    sheet = drawing.make_sheet(tiles, 8, 2)
    assert [sheet[6, 6, 0], sheet[6, 18, 0], sheet[18, 6, 0]] == [10, 20, 30]
    assert (drawing.make_sheet([], 8, 2) == 255).all()


# --- a slide's page


def test_card_tells_the_slides_numbers(drawn):
    card, _, files = drawn(spots=70, dropped=3, genes=50, flags=["radius_inconsistent"])
    assert (card["spots"], card["dropped"], card["genes"]) == (70, 3, 50)
    assert (card["um_per_px"], card["tier"]) == (8.0, "low")
    assert card["flags"] == ["radius_inconsistent"]
    assert card["medians"]["pct_counts_mt"] is None
    height, width = cv2.imread(str(files["thumbnail"])).shape[:2]
    assert card["picture"] == [width, height]


def test_every_variable_gene_can_be_painted_with_its_own_values(drawn, tmp_path):
    _, data, _ = drawn(spots=70, genes=50)
    marks = data["marks"]
    layers = [layer for layer in marks["layers"] if layer["kind"] == "gene"]
    rows = np.frombuffer(unpack(marks["levels"]), np.uint8).reshape(len(marks["layers"]), 70)
    with h5py.File(tmp_path / "results/anndata/Slide_A.h5ad") as file:
        from anndata.io import read_elem

        x, var = read_elem(file["X"]).toarray(), read_elem(file["var"])
    ranked = var.dropna().sort_values("highly_variable_rank")
    assert [layer["name"] for layer in layers] == ranked.index.tolist()
    for layer, row in zip(layers, rows[-len(layers) :], strict=True):
        step = (layer["high"] - layer["low"]) / layer["steps"]
        values = layer["low"] + row * step
        expected = x[:, var.index.get_loc(layer["name"])]
        np.testing.assert_allclose(values, expected, atol=step / 2 + 1e-3)


def test_marks_stand_where_the_spots_stand(drawn, tmp_path):
    _, data, _ = drawn(spots=70)
    packed = np.frombuffer(unpack(data["marks"]["centres"]), "<u2").reshape(2, 70).T / 65535
    size = data["geometry"]["width"], data["geometry"]["height"]
    with h5py.File(tmp_path / "results/anndata/Slide_A.h5ad") as file:
        np.testing.assert_allclose(packed * size, file["obsm/spatial"][:], atol=0.01)
    barcodes = unpack(data["marks"]["names"]).decode().split("\n")
    assert len(barcodes) == 70
    assert re.fullmatch("[ACGT]{16}-1", barcodes[0])


def test_very_many_spots_are_joined_to_squares_and_the_page_says_so(drawn, monkeypatch, tmp_path):
    monkeypatch.setattr(marks, "MOST_MARKS", 100)
    monkeypatch.setattr(marks, "MOST_DROPPED", 5)
    _, data, _ = drawn(tech="VisiumHD", spots=900, dropped=30, um_per_px=0.5, annotated=True)
    painted = data["marks"]
    assert 20 < painted["count"] <= 100
    assert painted["side"] >= 3
    assert painted["names"] is None
    assert data["dropped"]["count"] == 30
    assert data["dropped"]["every"] == 6
    with h5py.File(tmp_path / "results/anndata/Slide_A.h5ad") as file:
        shares = file["obs/tissue_share"][:]
    place = [layer["name"] for layer in painted["layers"]].index("tissue_share")
    rows = np.frombuffer(unpack(painted["levels"]), np.uint8).reshape(-1, painted["count"])
    layer = painted["layers"][place]
    means = layer["low"] + rows[place] / layer["steps"] * (layer["high"] - layer["low"])
    assert 0.3 < means.mean() < 0.7
    assert means.std() < shares.std()


def test_matrix_is_read_in_pieces_to_the_same_end(drawn, monkeypatch, tmp_path):
    _, whole, _ = drawn(spots=70)
    monkeypatch.setattr(draw_slide, "CHUNK", 17)
    _, pieces, _ = drawn(spots=70)
    assert whole == pieces


def test_unknown_numbers_stay_unknown(drawn):
    _, data, _ = drawn(spots=70)
    marks = data["marks"]
    place = [layer["name"] for layer in marks["layers"]].index("pct_counts_mt")
    rows = np.frombuffer(unpack(marks["levels"]), np.uint8).reshape(-1, 70)
    assert (rows[place] == UNKNOWN).all()
    (histogram,) = [one for one in data["histograms"] if one["column"] == "pct_counts_mt"]
    assert (histogram["unknown"], sum(histogram["counts"])) == (70, 0)


def test_histograms_hold_every_spot_once_and_state_the_threshold(drawn):
    _, data, _ = drawn(spots=70)
    for one in data["histograms"]:
        assert sum(one["counts"]) + one["zeros"] + one["unknown"] == 70
    counts = data["histograms"][0]
    assert (counts["option"], counts["threshold"]) == ("expression.min_counts", 5)


def test_annotation_is_a_layer_of_labels(drawn):
    _, data, _ = drawn(annotated=True)
    (layer,) = [layer for layer in data["marks"]["layers"] if layer["kind"] == "label"]
    assert set(layer["labels"]) == {"tumour", "<b>stroma</b>"}


def test_slide_without_a_spot_has_a_page_all_the_same(drawn):
    card, data, files = drawn(spots=0, dropped=9)
    assert (card["spots"], card["dropped"]) == (0, 9)
    assert data["marks"]["count"] == 0
    assert data["sheet"]["tiles"] == []
    assert all(path.stat().st_size for path in files.values())


def test_store_without_pixels_shows_the_picture_in_its_place(tmp_path):
    paths = report_data.make_products(tmp_path, "Slide_A")
    with h5py.File(paths["tiles"], "a") as file:
        del file["img"]
    tiles, rows = draw_slide.sample_tiles(paths["tiles"], read_hires(paths["tiles"]), 1.0)
    assert len(tiles) == len(rows) == draw_slide.SHEET_TILES
    assert {tile.shape for tile in tiles} == {tiles[0].shape}


def test_same_slide_gives_the_same_bytes(tmp_path):
    digests = []
    for folder in ("first", "second"):
        report_data.make_products(tmp_path / folder, "Slide_A", annotated=True)
        files = report_data.draw(tmp_path / folder, "Slide_A")
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files.values()])
    assert digests[0] == digests[1]


# --- the report


@pytest.fixture
def report_folder(tmp_path, monkeypatch):
    """Finish three slides, one done, one failed, one excluded; the report's folder."""
    monkeypatch.chdir(tmp_path)
    names = ("Slide_A", "Slide_B", "Slide_C")
    rows = [{"slide": name, "tech": "Visium", "tissue": HOSTILE, "spots": 80} for name in names]
    report_data.make_products(tmp_path, "Slide_A", title=HOSTILE)
    report_data.draw(tmp_path, "Slide_A")
    failure = {"slide": "Slide_B", "stage": "cut_tiles", "reason": HOSTILE, "hint": "fix it"}
    for step, usage in (("cut_tiles", '{"seconds": 3.2, "peak_mb": 412}'), ("align_spots", "")):
        place = tmp_path / "logs" / step / "Slide_A.json"
        place.parent.mkdir(parents=True)
        place.write_text(usage)
    report_data.finish(rows, failed=[failure], excluded=["Slide_C"])
    return tmp_path / "results/report"


def read_calls(path):
    calls = re.findall(r"^(\w+)\((.*)\);$", path.read_text(), re.MULTILINE)
    return {name: json.loads(value) for name, value in calls}


def test_report_has_a_row_for_every_slide(report_folder):
    table = read_calls(report_folder / "cards.js")["cards"]
    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}
    status = {name: row["status"] for name, row in rows.items()}
    assert status == {"Slide_A": "done", "Slide_B": "failed", "Slide_C": "excluded"}
    assert rows["Slide_A"]["spots"] == 60
    assert rows["Slide_A"]["bytes"] > 1000
    assert (rows["Slide_B"]["stage"], rows["Slide_B"]["hint"]) == ("cut_tiles", "fix it")
    assert rows["Slide_B"]["spots"] is None


def test_report_repeats_the_summary(report_folder):
    summary = json.loads((report_folder.parent / "summary.json").read_text())
    assert read_calls(report_folder / "cards.js")["totals"] == summary


def test_seconds_and_memory_come_from_the_logs(report_folder):
    (step,) = read_calls(report_folder / "run.js")["run"]
    assert step == {
        "step": "cut_tiles",
        "jobs": 1,
        "seconds": 3.2,
        "median": 3.2,
        "longest": [3.2, "Slide_A"],
        "largest": [412, "Slide_A"],
    }


def test_text_of_the_dataset_cannot_become_markup(report_folder):
    for path in report_folder.rglob("*.js"):
        if path.name in {"cards.js", "run.js"} or path.parent.name == "slides":
            assert "<" not in path.read_text()
    table = read_calls(report_folder / "cards.js")["cards"]
    assert table["rows"][0][table["columns"].index("tissue")] == HOSTILE


def test_every_file_of_the_report_is_an_output_of_its_step():
    made = {path.rpartition("/")[2] for path in STEPS["build_report"].makes.values()}
    assert {asset.name for asset in build_report.ASSETS.iterdir()} <= made


def test_no_file_of_the_report_names_an_address_outside():
    for asset in build_report.ASSETS.iterdir():
        text = asset.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?|wss?|ftp|//)[:/]+\w", text), asset.name


def test_unnumbered_values_are_refused_rather_than_written():
    with pytest.raises(ValueError, match="JSON"):
        build_report.script_json({"x": float("nan")})
