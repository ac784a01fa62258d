"""What ``align_spots`` writes: positions, micrometres per pixel, the radius, and their doubts."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from section import GEOMETRY, OPTIONS, REPOSITORY, align, make_section
from st1k4m.codes import FLAGS
from st1k4m.errors import SlideError
from st1k4m.formats.spots import read_spots
from st1k4m.geometry.align_spots import align_spots
from st1k4m.geometry.lattice import KINDS
from st1k4m.geometry.numbering import number_spots
from st1k4m.run import settings

UM_PER_PX = {"ST": 40.0, "ST2K": 30.0, "Visium": 20.0, "VisiumHD": 2.0}
LATTICE = {"ST": "square", "ST2K": "staggered", "Visium": "hexagonal", "VisiumHD": "square"}
PITCH = {"ST": 200.0, "ST2K": 150.0, "Visium": 100.0, "VisiumHD": 8.0}
SPOT = {"ST": 100.0, "ST2K": 110.0, "Visium": 65.0, "VisiumHD": 8.0}


@pytest.fixture(scope="module", params=UM_PER_PX)
def array(request):
    return request.param


def test_the_table_has_a_row_a_spot_in_the_order_of_the_file(array, tmp_path):
    section = make_section(array, 200)
    section.align(tmp_path)
    table = pq.read_table(tmp_path / f"{section.slide}.parquet")
    assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
        "spot": "string",
        "barcode": "string",
        "x": "double",
        "y": "double",
        "r": "double",
        "array_row": "int32",
        "array_col": "int32",
        "outside": "bool",
    }
    assert table["barcode"].to_pylist() == section.names
    assert table["spot"].to_pylist() == [f"{section.slide}_{name}" for name in section.names]
    np.testing.assert_array_equal(table["x"].to_numpy(), section.x)


def test_positions_are_those_of_the_array(array, tmp_path):
    section = make_section(array, 300, rotation=6.0, missing=0.3, jitter=0.02)
    table, facts = section.align(tmp_path)
    rows, cols = table["array_row"] - section.row, table["array_col"] - section.col
    assert np.ptp(rows) == np.ptp(cols) == 0
    if array != "Visium":  # ids state them; centres tell them but for one offset
        assert rows[0] == cols[0] == 0
    assert facts["lattice"] == LATTICE[array]
    assert facts["flags"] == []


def test_micrometres_per_pixel_come_from_the_known_pitch(array, tmp_path):
    _, facts = make_section(array, 300, rotation=3.0).align(tmp_path)
    assert facts["um_per_px"] == pytest.approx(UM_PER_PX[array], rel=0.005)
    assert facts["um_per_px_xy"] == pytest.approx([UM_PER_PX[array]] * 2, rel=0.01)
    assert 0 <= facts["um_per_px_se"] < 0.005 * facts["um_per_px"]
    assert facts["pitch_um"] == PITCH[array]
    assert facts["pitch_px"] == pytest.approx(PITCH[array] / UM_PER_PX[array], rel=0.005)
    assert f"{PITCH[array]:g} um pitch of the {LATTICE[array]} lattice" in facts["um_per_px_source"]


def test_the_radius_that_cuts_is_the_files_unless_the_lattices_is_asked_for(array, tmp_path):
    section = make_section(array, 300)
    wrong = section.but(r=section.r * 0.8)
    _, facts = wrong.align(tmp_path)
    assert facts["radius"] == facts["radius_file"] == wrong.r[0]
    assert facts["spot_diameter_fullres"] == 2 * wrong.r[0]
    _, facts = wrong.align(tmp_path, radius="lattice")
    right = SPOT[array] / 2 / UM_PER_PX[array]
    assert facts["radius"] == facts["radius_lattice"] == pytest.approx(right, rel=0.005)
    assert facts["spot_diameter_fullres"] == 2 * facts["radius"]
    assert facts["radius_file"] == wrong.r[0]


def test_the_tolerance_of_the_radius_is_an_option(array, tmp_path):
    section = make_section(array, 300)
    larger = section.but(r=section.r * 1.2)
    assert "radius_inconsistent" in larger.align(tmp_path)[1]["flags"]
    assert "radius_inconsistent" not in larger.align(tmp_path, radius_tolerance=0.3)[1]["flags"]


def test_a_visium_radius_may_stand_for_55_or_65_um(tmp_path):
    section = make_section("Visium", 300)
    for um, flags in ((55, []), (65, []), (70, []), (45, ["radius_inconsistent"])):
        radius = np.full(len(section.x), um / 2 / 20.0)
        assert section.but(r=radius).align(tmp_path)[1]["flags"] == flags


def test_a_radius_that_varies_is_flagged_and_the_first_cuts(tmp_path):
    section = make_section("ST", 200)
    r = section.r.copy()
    r[5:] *= 1.01
    _, facts = section.but(r=r).align(tmp_path)
    assert facts["flags"] == ["radius_varies"]
    assert facts["radius"] == section.r[0]


@pytest.mark.parametrize(
    ("um_per_px", "tier"), [(0.5, "high"), (1.1, "high"), (1.2, "medium"), (2.5, "low")]
)
def test_the_tier_of_resolution(um_per_px, tier, tmp_path):
    section = make_section("ST", 200)
    row = dict(GEOMETRY[0], pitch_um=str(um_per_px * 5), spot_um="1", drawn_um="1")
    _, facts = section.align(tmp_path, geometry=[row])
    assert facts["tier"] == tier


def test_a_squeezed_image_is_flagged_with_both_pixel_sizes(tmp_path):
    section = make_section("ST2K", 300)
    squeezed = section.but(x=section.x * 0.9, image=section.image[:, : int(0.9 * section.width)])
    _, facts = squeezed.align(tmp_path)
    assert facts["flags"] == ["squeezed"]
    assert facts["um_per_px_xy"] == pytest.approx([30 / 0.9, 30], rel=0.01)
    assert "33." in facts["warnings"][0]


def test_the_radius_of_gse144239_is_flagged_and_the_right_one_proposed(tmp_path):
    """Columns 176.93 px apart on a 2k array, r 45.13 from the assumption of another array."""
    section = make_section("ST2K", 60, jitter=0.0)
    factor = 176.93 / (150 / np.sqrt(2) / 30)
    rows, cols = np.round(np.array(section.image.shape[:2]) * factor).astype(int)
    image = np.broadcast_to(section.image[:1, :1], (rows, cols, 3))
    slide = section.but(
        x=section.x * factor,
        y=section.y * factor,
        r=np.full(len(section.x), 45.13),
        image=np.ascontiguousarray(image),
    )
    _, facts = slide.align(tmp_path)
    assert "radius_inconsistent" in facts["flags"]
    assert facts["radius"] == 45.13
    assert facts["radius_lattice"] == pytest.approx(91.75, abs=0.02)
    assert facts["correction"] is None
    _, facts = slide.align(tmp_path, radius="lattice")
    assert facts["radius"] == pytest.approx(91.75, abs=0.02)


def test_a_study_with_an_array_of_its_own_has_its_own_row(tmp_path):
    own = {
        "applies_to": "Section_",
        "lattice": "square",
        "pitch_um": "500",
        "spot_um": "250",
        "drawn_um": "250",
        "source": "the study",
    }
    longer = dict(own, applies_to="Section_S", pitch_um="400", spot_um="200", drawn_um="200")
    section = make_section("ST", 200)
    _, facts = section.align(tmp_path, geometry=[own, longer, *GEOMETRY])
    assert facts["um_per_px"] == pytest.approx(80, rel=0.005)
    assert "the study" in facts["um_per_px_source"]
    assert facts["flags"] == []


@pytest.mark.parametrize(
    "fault",
    [
        {"pitch_um": "wide"},
        {"pitch_um": "nan"},
        {"drawn_um": "inf"},
        {"pitch_um": "1e6"},
        {"spot_um": "-1"},
        {"lattice": "round"},
    ],
)
def test_a_faulty_geometry_table_is_refused(fault, tmp_path):
    rows = [dict(row, **fault) for row in GEOMETRY if row["lattice"] == "square"]
    with pytest.raises(SlideError, match="geometry table"):
        make_section("ST", 60).align(tmp_path, geometry=rows)


def test_without_a_lattice_nothing_is_made_up(tmp_path):
    section = make_section("Visium", 300)
    rng = np.random.default_rng(0)
    x, y = (axis + rng.normal(0, 3, len(axis)) for axis in (section.x, section.y))
    table, facts = section.but(x=x, y=y).align(tmp_path)
    assert (table["array_row"] == -1).all()
    assert (table["array_col"] == -1).all()
    assert facts["flags"] == ["lattice_unsure"]
    assert facts["tier"] == "unknown"
    for fact in ("um_per_px", "um_per_px_se", "lattice", "pitch_px", "radius_lattice", "rotation"):
        assert facts[fact] is None
    assert facts["radius"] == section.r[0]
    _, facts = section.but(x=x, y=y).align(tmp_path, radius="lattice")
    assert facts["radius"] == section.r[0]
    assert "the radius that cuts is the file's" in facts["warnings"][0]


def test_a_technology_without_an_array_is_unsure(tmp_path):
    table, facts = make_section("Visium", 100).align(tmp_path, geometry=[])
    assert (table["array_row"] == -1).all()
    assert "lattice_unsure" in facts["flags"]


@pytest.mark.parametrize("spots", [1, 2, 3, 19])
def test_a_handful_of_spots_ends_well(array, spots, tmp_path):
    section = make_section(array, 300)
    few = section.but(
        names=section.names[:spots],
        x=section.x[:spots],
        y=section.y[:spots],
        r=section.r[:spots],
    )
    table, facts = few.align(tmp_path)
    assert len(table["x"]) == spots
    assert facts["um_per_px"] is None or facts["um_per_px"] == pytest.approx(
        UM_PER_PX[array], rel=0.1
    )
    if array == "Visium":
        assert "lattice_unsure" in facts["flags"]


@pytest.mark.parametrize("scale", [1e-12, 1e12, 1e200])
def test_absurd_numbers_are_refused_or_doubted_without_a_traceback(array, scale, tmp_path):
    section = make_section(array, 100)
    absurd = section.but(x=section.x * scale, y=section.y * scale, r=section.r * scale)
    try:
        _, facts = absurd.align(tmp_path)
    except SlideError:
        assert scale > 1
    else:
        assert facts["flags"]


def test_bytes_are_the_same_for_the_same_input(array, tmp_path):
    section = make_section(array, 200)
    section = section.but(x=section.width - section.x)  # with a look at the picture
    written = []
    for _ in range(2):
        section.align(tmp_path)
        written.append((tmp_path / f"{section.slide}.parquet").read_bytes())
    assert written[0] == written[1]


def test_facts_are_plain_and_flags_have_a_sentence_each(array, tmp_path):
    section = make_section(array, 200)
    x = section.x.copy()
    x[0] = -5
    _, facts = section.but(x=x, r=section.r * 3).align(tmp_path)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert set(facts["flags"]) <= set(FLAGS)
    assert len(facts["flags"]) == len(facts["warnings"]) >= 2
    assert {"width", "height", "image_format"} <= set(facts)


def test_an_image_that_is_none_fails_the_slide(tmp_path):
    section = make_section("ST", 60)
    section.align(tmp_path)
    (tmp_path / "Section_ST.png").write_bytes(b"<html>")
    with pytest.raises(SlideError):
        align(tmp_path / "Section_ST_coord.csv", tmp_path / "Section_ST.png", "Section_ST", "ST")


def test_an_image_of_too_many_pixels_fails_the_slide(tmp_path):
    section = make_section("ST", 60)
    with pytest.raises(SlideError, match="max_pixels"):
        section.align(tmp_path, max_pixels=1000)


def test_a_failure_leaves_no_output(tmp_path):
    (tmp_path / "S_coord.csv").write_text(",yaxis,xaxis,r\n")
    with pytest.raises(SlideError):
        align(tmp_path / "S_coord.csv", tmp_path / "S.png", "S", "ST")
    assert [path.name for path in tmp_path.iterdir()] == ["S_coord.csv"]


def test_the_projects_tables_can_be_used():
    kinds = {(row["applies_to"], row["lattice"]) for row in GEOMETRY}
    assert kinds == {
        ("ST", "square"),
        ("ST", "staggered"),
        ("Visium", "hexagonal"),
        ("VisiumHD", "square"),
    }
    assert all(row["lattice"] in KINDS and row["source"] for row in GEOMETRY)
    assert settings.read_table(REPOSITORY / "config" / "overrides.tsv") == []


@pytest.fixture(scope="module")
def aligned(real_slides, tmp_path_factory):
    """Table and facts of a real slide, aligned once."""
    found, folder = {}, tmp_path_factory.mktemp("real")

    def get(tech, slide):
        if slide not in found:
            coord = real_slides / tech / "coord" / f"{slide}_coord.csv"
            image = real_slides / tech / "image" / f"{slide}.png"
            found[slide] = align(coord, image, slide, tech, out=folder / f"{slide}.parquet")
        return found[slide]

    return get


class TestRealSlides:
    def test_her2st_has_the_pitch_of_a_least_squares_fit(self, aligned):
        table, facts = aligned("ST", "Human_Breast_Andersson_10142021_ST_C2")
        ids = np.array([barcode.split("x") for barcode in table["barcode"]], int)
        np.testing.assert_array_equal(table["array_col"], ids[:, 0])
        np.testing.assert_array_equal(table["array_row"], ids[:, 1])
        assert facts["lattice"] == "square"
        assert facts["um_per_px"] == pytest.approx(0.689, rel=0.005)
        assert facts["pitch_px"] == pytest.approx(290.3, abs=0.1)
        assert (facts["tier"], facts["flags"], facts["looked"]) == ("high", [], "")

    def test_centres_alone_would_have_told_the_same_positions(self, aligned):
        for slide in ("Human_Breast_Andersson_10142021_ST_C2", MOB):
            table, facts = aligned("ST", slide)
            kind, found = number_spots(table["x"], table["y"], ["square", "staggered"])
            assert kind == facts["lattice"]
            assert np.ptp(found.row - table["array_row"]) == 0
            assert np.ptp(found.col - table["array_col"]) == 0

    def test_the_2k_array_is_staggered_squeezed_and_its_radius_an_estimate(self, aligned):
        _, facts = aligned("ST", MOB)
        assert (facts["lattice"], facts["pitch_um"]) == ("staggered", 150)
        assert facts["flags"] == ["squeezed", "radius_inconsistent"]
        column, row = 150 / np.sqrt(2) / np.array(facts["um_per_px_xy"])
        assert (column, row) == pytest.approx((21.66, 24.05), abs=0.01)
        assert facts["correction"] is None

    @pytest.mark.parametrize(
        "slide", ["Coronal_squidpycrop", "Sagittal_Anterior_Section_1_100genes"]
    )
    def test_visium_radii_are_those_of_65_um(self, aligned, slide):
        table, facts = aligned("Visium", f"Mouse_Brain_10X_06232020_Visium_{slide}")
        assert 2 * facts["radius"] * facts["um_per_px"] == pytest.approx(65, rel=0.02)
        assert facts["flags"] == []
        assert ((table["array_row"] + table["array_col"]) % 2 == 0).all()
        assert len(set(zip(table["array_row"], table["array_col"], strict=True))) == len(table["x"])

    def test_ten_bins_of_2_um_are_enough_with_ids(self, aligned):
        table, facts = aligned("VisiumHD", "Mouse_VisiumIO_VisiumHD_10bins_zerocounts")
        assert (table["array_row"][0], table["array_col"][0]) == (2448, 1644)
        assert facts["pitch_um"] == 2
        assert facts["um_per_px"] == pytest.approx(10.94, abs=0.01)
        assert 2 * facts["radius"] * facts["um_per_px"] == pytest.approx(2, rel=0.02)
        assert (facts["tier"], facts["flags"]) == ("low", [])


MOB = "Mouse_OlfactoryBulb_STUtility_ST2K_MOB1"


def test_a_published_section_of_the_same_scanner_type(published_meta, tmp_path):
    """A1 has no image among the real slides; its pitch is checked on a blank one."""
    import cv2

    coord = published_meta.with_name("Human_Breast_Andersson_10142021_ST_A1_coord.csv")
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((8000, 8000), 240, np.uint8))
    out = tmp_path / "A1.parquet"
    align_spots(
        coord,
        tmp_path / "blank.png",
        out,
        slide="Human_Breast_Andersson_10142021_ST_A1",
        tech="ST",
        geometry=settings.rows_for(GEOMETRY, "", "ST"),
        override=None,
        options=OPTIONS,
    )
    _, facts = read_spots(out)
    assert facts["um_per_px"] == pytest.approx(0.916, rel=0.005)
    assert facts["flags"] == []
