"""Positions and scale factors of own slides: what is taken, and what is refused."""

import json

import anndata as ad
import numpy as np
import own_layouts
import pandas as pd
import pytest
from places import REPOSITORY
from st1k4m.errors import SlideError
from st1k4m.formats.spots import read_spots
from st1k4m.geometry.align_spots import align_spots
from st1k4m.run import settings
from st1k4m.source import own_slides
from st1k4m.source.inputs import image_at_hand
from st1k4m.source.positions import read_positions

SECTION = own_layouts.make_section()
HD = own_layouts.make_section(hd=True)
GEOMETRY = settings.read_geometry(REPOSITORY / "config/geometry.tsv")


@pytest.fixture
def align(tmp_path, monkeypatch):
    """Align the spots of a folder; its spots (pandas) and facts."""
    import yaml

    options = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())["geometry"]
    monkeypatch.chdir(tmp_path)

    def run(folder, **columns):
        found = own_slides.recognise(own_layouts.row("S", folder, **columns))
        assert not found.missing, found.missing
        layout = {"name": found.layout, **found.parts, "missing": {}}
        place = found.parts["image"]["image"]
        with image_at_hand("S", place, layout, tmp_path / "unpacked") as image:
            align_spots(
                "",
                image,
                tmp_path / "spots.parquet",
                slide="S",
                tech=found.tech,
                geometry=settings.rows_for(GEOMETRY, "S", found.tech),
                override=None,
                options=options,
                layout=layout,
            )
        table, facts = read_spots(tmp_path / "spots.parquet")
        columns = {name: values for name, values in vars(table).items() if values is not None}
        return pd.DataFrame(columns), facts

    return run


def write_factors(folder, **changes):
    path = next(folder.rglob("scalefactors_json.json"))
    factors = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in factors.items() if v is not None}))


@pytest.mark.parametrize(("images", "scale"), [(("hires", "lowres"), 0.5), (("lowres",), 0.1)])
def test_coordinates_are_scaled_to_the_image_that_is_there(images, scale, align, tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", SECTION, images=images)
    spots, facts = align(folder)
    table = SECTION.positions
    assert spots["spot"].tolist() == [f"S_{barcode}" for barcode in table["barcode"]]
    assert np.array_equal(spots["x"], table["pxl_col_in_fullres"] * scale)
    assert np.array_equal(spots["y"], table["pxl_row_in_fullres"] * scale)
    assert np.allclose(spots["r"], 32.5 / 2 * scale)
    assert spots["array_row"].tolist() == table["array_row"].tolist()
    assert spots["array_col"].tolist() == table["array_col"].tolist()
    assert spots["selected"].tolist() == (table["in_tissue"] == 1).tolist()
    assert (facts["image_used"], facts["image_scale"]) == (images[0], scale)
    assert facts["um_per_px"] == pytest.approx(2.0 / scale, rel=1e-6)
    assert facts["tier"] == "low"
    assert facts["orientation"] == "ids"


def test_the_full_image_is_used_as_it_is(align, tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", SECTION)
    own_layouts.write(tmp_path / "he.png", own_layouts.png(SECTION.image))
    spots, facts = align(folder, image=str(tmp_path / "he.png"))
    assert (facts["image_used"], facts["image_scale"], facts["tier"]) == ("full", 1.0, "medium")
    assert np.array_equal(spots["x"], SECTION.positions["pxl_col_in_fullres"])


def test_an_image_of_another_size_needs_its_scale(align, tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", SECTION)
    smaller = own_layouts.png(own_layouts.shrink(SECTION.image, 0.8))
    own_layouts.write(tmp_path / "he.png", smaller)
    with pytest.raises(SlideError) as error:
        align(folder, image=str(tmp_path / "he.png"))
    assert (
        "he.png has 800 x 736 pixels, but tissue_hires_scalef 0.5 and the hires image of 500 x "
        "460 imply 1000 x 920" in error.value.what
    )
    assert "(0.8 by the widths)" in error.value.hint
    spots, facts = align(folder, image=str(tmp_path / "he.png"), scale="0.8")
    assert np.allclose(spots["x"], SECTION.positions["pxl_col_in_fullres"] * 0.8)
    assert facts["um_per_px"] == pytest.approx(2.5, rel=1e-6)
    turned = own_layouts.png(np.rot90(SECTION.image))
    own_layouts.write(tmp_path / "turned.png", turned)
    with pytest.raises(SlideError, match="has 920 x 1000 pixels") as error:
        align(folder, image=str(tmp_path / "turned.png"))
    assert "rotate the image by 90 degrees" in error.value.hint
    # The hires image itself is known by its size.
    own_layouts.write(
        tmp_path / "copy.png", own_layouts.png(own_layouts.shrink(SECTION.image, 0.5))
    )
    assert align(folder, image=str(tmp_path / "copy.png"))[1]["image_scale"] == 0.5


def test_scale_factors_that_contradict_the_images(align, tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", SECTION)
    write_factors(folder, tissue_hires_scalef=0.25)
    with pytest.raises(SlideError) as error:
        align(folder)
    assert "would have 2000 x 1840 by hires (500 x 460 / 0.25) and 1000 x 920 by lowres" in (
        error.value.what
    )
    # With one image alone the positions tell.
    (folder / "spatial/tissue_lowres_image.png").unlink()
    write_factors(folder, tissue_hires_scalef=1.7)
    with pytest.raises(SlideError, match="spots lie outside") as error:
        align(folder)
    assert (
        "it has 500 x 460 pixels, which is 294 x 271 in units of the positions" in error.value.what
    )


# A change of the scale factors of a folder with a hires image, and what is said.
FACTORS = [
    ({"tissue_hires_scalef": None}, "there is no tissue_hires_scalef in the scale factors"),
    ({"tissue_hires_scalef": -1}, "tissue_hires_scalef is -1, expected a number above 0"),
    ({"spot_diameter_fullres": 0}, "spot_diameter_fullres is 0, expected a number above 0"),
    ({"tissue_hires_scalef": "big"}, "is not a JSON object of numbers"),
]


@pytest.mark.parametrize(("changes", "says"), FACTORS, ids=range(len(FACTORS)))
def test_faulty_scale_factors(changes, says, align, tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", SECTION)
    write_factors(folder, **changes)
    with pytest.raises(SlideError) as error:
        align(folder)
    assert says in error.value.what


def test_scale_factors_that_are_no_json(align, tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", SECTION)
    (folder / "spatial/scalefactors_json.json").write_text("{")
    with pytest.raises(SlideError, match="is not a JSON object of numbers"):
        align(folder)


@pytest.mark.parametrize("bin_um", [2, 8, 16, 24])
def test_visium_hd_bins(bin_um, align, tmp_path):
    section = own_layouts.make_section(hd=True, bin_um=bin_um)
    folder = own_layouts.write_outs(tmp_path / "outs", section, bin_um=bin_um)
    spots, facts = align(folder, bin=str(bin_um))
    assert facts["um_per_px"] == pytest.approx(1.0, rel=1e-6)
    assert facts["um_per_px_stated"] == pytest.approx(1.0)
    assert facts["lattice"] == "square"
    assert facts["radius"] == pytest.approx(bin_um / 2)
    assert "um_per_px_contradicts" not in facts["flags"]
    assert "coarser_than_spots" not in facts["flags"]
    assert spots["array_row"].tolist() == section.positions["array_row"].tolist()


def test_an_image_coarser_than_the_bins_is_flagged(align, tmp_path):
    section = own_layouts.make_section(hd=True, bin_um=2)
    folder = own_layouts.write_outs(tmp_path / "outs", section, bin_um=2, images=("lowres",))
    facts = align(folder, bin="2")[1]
    assert "coarser_than_spots" in facts["flags"]
    assert any("a spot is 0.4 px wide in the lowres image" in text for text in facts["warnings"])


def test_stated_micrometres_that_contradict_the_lattice_are_flagged(align, tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", HD, bin_um=8)
    write_factors(folder, microns_per_pixel=0.55)
    facts = align(folder)[1]
    assert "um_per_px_contradicts" in facts["flags"]
    assert any("implies 1 um/px" in text and "state 1.1" in text for text in facts["warnings"])
    write_factors(folder, bin_size_um=16, microns_per_pixel=0.5)
    assert "um_per_px_contradicts" in align(folder)[1]["flags"]


def test_the_radius_of_an_st_spot_follows_from_its_lattice(align, tmp_path):
    cols, rows = np.meshgrid(np.arange(2, 12), np.arange(3, 12))
    spots = pd.DataFrame({"x": cols.ravel(), "y": rows.ravel()})
    spots["new_x"], spots["new_y"] = spots["x"] + 0.02, spots["y"] - 0.03
    spots["pixel_x"], spots["pixel_y"] = 20 + spots["x"] * 40.0, 10 + spots["y"] * 40.0
    spots["selected"] = (spots["x"] > 4).astype(int)
    text = "\tA\tB\n" + "".join(f"{x}x{y}\t1\t2\n" for x, y in zip(spots.x, spots.y, strict=True))
    own_layouts.write(tmp_path / "a/counts.tsv", text.encode())
    own_layouts.write(tmp_path / "a/spots.tsv", spots.to_csv(sep="\t", index=False).encode())
    own_layouts.write(tmp_path / "a/he.png", own_layouts.png(SECTION.image))
    table, facts = align(tmp_path / "a")
    assert facts["um_per_px"] == pytest.approx(5.0)  # 200 um in 40 px
    assert table["r"].to_numpy() == pytest.approx(10.0)  # a spot of 100 um
    assert table["array_col"].tolist() == spots["x"].tolist()
    assert table["selected"].tolist() == (spots["x"] > 4).tolist()
    few = spots.iloc[:2]
    own_layouts.write(tmp_path / "a/spots.tsv", few.to_csv(sep="\t", index=False).encode())
    with pytest.raises(SlideError, match="the radius of a spot is unknown"):
        align(tmp_path / "a")


HEADER = ",".join(own_layouts.COLUMNS)
# Lines of tissue_positions.csv, and what is said of them.
POSITIONS = [
    ("", "is empty"),
    (HEADER + "\n", "has no spot"),
    (HEADER.replace("array_row", "row") + "\nA,1,2,3,4,5\n", "no column array_row; the header is"),
    (HEADER + "\nA,1,2,3,4\n", "line 2: 5 fields where 6 are expected"),
    (HEADER + "\nA,1,2,3,4,x\n", "line 2: pxl_col_in_fullres is 'x', expected a finite number"),
    (HEADER + "\nA,1,2,3,nan,5\n", "line 2: pxl_row_in_fullres is 'nan'"),
    (HEADER + "\nA,1,2,3,4,1e12\n", "line 2: pxl_col_in_fullres is '1e12'"),
    (HEADER + "\nA,2,2,3,4,5\n", "in_tissue of spot A is 2, expected 0 or 1"),
    (HEADER + "\nA,1,-2,3,4,5\n", "array_row of spot A is -2"),
    (HEADER + "\nA,1,2,3.5,4,5\n", "array_col of spot A is 3.5"),
    (HEADER + "\nA,1,2,3,4,5\nA,1,2,4,4,5\n", "line 3: barcode 'A' is on line 2 already"),
    (HEADER + "\n,1,2,3,4,5\n", "line 2: the barcode is empty"),
]


@pytest.mark.parametrize(("text", "says"), POSITIONS, ids=range(len(POSITIONS)))
def test_faulty_positions(text, says, tmp_path):
    own_layouts.write(tmp_path / "p.csv", text.encode() or b"\n")
    with pytest.raises(SlideError) as error:
        read_positions("S", {"format": "space_ranger", "positions": str(tmp_path / "p.csv")})
    assert says in error.value.what
    assert "p.csv" in error.value.what


SPOTS = "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n"
# Lines of a spot file, and what is said of them.
SPOT_FILES = [
    ("x\ty\tz\n1\t2\t3\n", "line 2: '1' is not a position such as 10x13"),
    ("a\tb\n1\t2\n", "no columns pixel_x and pixel_y"),
    (SPOTS, "has no spot"),
    (SPOTS + "1\t2\t1\t2\t3\t4\n", "line 2: 6 fields where 7 are expected"),
    (SPOTS + "1\t2\t1\t2\t3\tx\t1\n", "line 2: pixel_y is 'x'"),
    (SPOTS + "1\t2\t1\t2\t3\t4\tmaybe\n", "line 2: selected is 'maybe', expected 0 or 1"),
    (SPOTS + "1\t2\t1\t2\t3\t4\t1\n1\t2\t1\t2\t3\t4\t1\n", "line 3: position 1x2 is on line 2 alr"),
]


@pytest.mark.parametrize(("text", "says"), SPOT_FILES, ids=range(len(SPOT_FILES)))
def test_faulty_spot_files(text, says, tmp_path):
    own_layouts.write(tmp_path / "s.tsv", text.encode())
    with pytest.raises(SlideError) as error:
        read_positions("S", {"format": "spot_file", "positions": str(tmp_path / "s.tsv")})
    assert says in error.value.what


def test_a_faulty_parquet(tmp_path):
    part = {"format": "space_ranger", "positions": str(tmp_path / "p.parquet")}
    HD.positions.drop(columns="in_tissue").to_parquet(tmp_path / "p.parquet")
    with pytest.raises(SlideError, match="no column in_tissue; it has barcode"):
        read_positions("S", part)
    (tmp_path / "p.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(
        SlideError, match=r"p\.parquet cannot be read: Parquet magic bytes not found"
    ):
        read_positions("S", part)
    (tmp_path / "p.parquet").unlink()
    with pytest.raises(SlideError, match="there is no file"):
        read_positions("S", part)


def test_positions_and_image_of_an_h5ad(align, tmp_path):
    table = SECTION.positions
    obs = table.set_index("barcode")[["in_tissue", "array_row", "array_col"]]
    adata = ad.AnnData(np.ones((len(obs), 3), np.float32), obs=obs)
    adata.obsm["spatial"] = table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    hires = own_layouts.shrink(SECTION.image, 0.5)
    adata.uns["spatial"] = {
        "lib": {
            "images": {"hires": hires / 255.0},
            "scalefactors": {"tissue_hires_scalef": 0.5, "spot_diameter_fullres": 32.5},
        }
    }
    adata.write_h5ad(tmp_path / "a.h5ad")
    spots, facts = align(tmp_path / "a.h5ad", tech="Visium")
    assert np.array_equal(spots["x"], table["pxl_col_in_fullres"] * 0.5)
    assert (facts["image_used"], facts["width"], facts["height"]) == ("hires", 500, 460)
    assert facts["um_per_px"] == pytest.approx(4.0, rel=1e-6)
    assert spots["selected"].tolist() == (table["in_tissue"] == 1).tolist()
    del adata.uns["spatial"]["lib"]["images"]["hires"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(SlideError, match="has no image"):
        align(tmp_path / "a.h5ad", tech="Visium")
    del adata.obsm["spatial"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(SlideError, match="has no obsm"):
        read_positions("S", {"format": "h5ad", "positions": str(tmp_path / "a.h5ad")})
