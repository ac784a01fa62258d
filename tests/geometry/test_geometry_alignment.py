"""Coordinates that do not fit their image are corrected beyond doubt, or flagged, or refused."""

import numpy as np
import pytest
from section import align, make_section
from st1k4m.errors import SlideError
from st1k4m.image.decode import read_header

ARRAYS = ["ST", "ST2K", "Visium", "VisiumHD"]
TURNS = {
    "swap": lambda x, y, w, h: (y, x),
    "flip x": lambda x, y, w, h: (w - x, y),
    "flip y": lambda x, y, w, h: (x, h - y),
}
FACTORS = [0.25, 4.0, 17.0]


@pytest.fixture(scope="module", params=ARRAYS)
def section(request):
    return make_section(request.param)


def same_place(table, section):
    np.testing.assert_allclose(table["x"], section.x, rtol=1e-9)
    np.testing.assert_allclose(table["y"], section.y, rtol=1e-9)
    np.testing.assert_allclose(table["r"], section.r, rtol=1e-9)
    return True


def test_a_sound_slide_is_left_alone(section, tmp_path):
    table, facts = section.align(tmp_path)
    assert same_place(table, section)
    assert facts["correction"] is None
    assert facts["flags"] == facts["warnings"] == facts["candidates"] == []
    assert not table["outside"].any()


def test_where_ids_tell_the_direction_a_sound_slide_is_not_decoded(section, tmp_path):
    _, facts = section.align(tmp_path)
    if section.tech == "Visium":
        assert facts["looked"] == "only the tissue shows a mirror image here"
        assert facts["orientation"] == "tissue"
        assert facts["on_tissue"] > 0.95
    else:
        assert (facts["looked"], facts["on_tissue"]) == ("", None)
        assert facts["orientation"] == "ids"


@pytest.mark.parametrize("turn", TURNS)
def test_swapped_and_mirrored_axes_are_put_right(section, tmp_path, turn):
    x, y = TURNS[turn](section.x, section.y, section.width, section.height)
    table, facts = section.but(x=x, y=y).align(tmp_path)
    assert same_place(table, section)
    assert facts["correction"]["swap"] == (turn == "swap")
    assert facts["correction"]["flip"] == turn.removeprefix("flip ").replace("swap", "")
    assert facts["correction"]["by"] == "workflow"
    assert "corrected" in facts["flags"]
    assert facts["looked"]


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("radius", ["scaled too", "as it was"])
def test_coordinates_of_another_resolution_are_put_right(section, tmp_path, factor, radius):
    r = section.r * factor if radius == "scaled too" else section.r
    scaled = section.but(x=section.x * factor, y=section.y * factor, r=r)
    table, facts = scaled.align(tmp_path)
    assert same_place(table, section)
    assert facts["correction"]["scale"] == pytest.approx(1 / factor)
    assert facts["radius_file"] == pytest.approx(section.r[0])
    assert facts["flags"] == ["corrected"]


def test_a_factor_that_is_no_simple_one_is_stated_but_not_applied(section, tmp_path):
    scaled = section.but(x=section.x * 5.4, y=section.y * 5.4, r=section.r * 5.4)
    with pytest.raises(SlideError) as refused:
        scaled.align(tmp_path)
    named = refused.value.hint.partition("scale by ")[2].split()[0]
    assert float(named) == pytest.approx(1 / 5.4, rel=0.02)


def test_a_shift_off_the_image_is_named_but_not_applied(section, tmp_path):
    with pytest.raises(SlideError) as refused:
        section.but(x=section.x + section.width, y=section.y - 0.1 * section.height).align(tmp_path)
    across, down = refused.value.hint.partition("shift by (")[2].partition(")")[0].split(", ")
    assert float(across) == pytest.approx(-section.width, abs=0.02 * section.width)
    assert float(down) == pytest.approx(0.1 * section.height, abs=0.02 * section.height)


@pytest.mark.parametrize("factor", [2.0, 0.5, 0.49])
def test_a_wrong_radius_is_flagged_and_the_centres_stay(section, tmp_path, factor):
    table, facts = section.but(r=section.r * factor).align(tmp_path)
    np.testing.assert_array_equal(table["x"], section.x)
    assert facts["correction"] is None
    assert facts["flags"] == ["radius_inconsistent"]
    assert facts["radius"] == facts["radius_file"] == pytest.approx(section.r[0] * factor)
    assert facts["radius_lattice"] == pytest.approx(section.r[0], rel=0.01)


@pytest.mark.parametrize("place", [(0.16, 0.2, 0.13), (0.84, 0.2, 0.13), (0.2, 0.84, 0.13)])
@pytest.mark.parametrize("array", ARRAYS)
def test_spots_far_to_one_side_stay_there(array, place, tmp_path):
    section = make_section(array, 300, place=place)
    table, facts = section.align(tmp_path)
    assert same_place(table, section)
    assert facts["flags"] == []


def test_spots_on_a_small_part_of_a_large_tissue_stay_there(section, tmp_path):
    near = np.argsort(np.hypot(section.x - section.x.min(), section.y - np.median(section.y)))
    some = np.sort(near[:150])
    part = section.but(
        names=[section.names[i] for i in some],
        x=section.x[some],
        y=section.y[some],
        r=section.r[some],
    )
    table, facts = part.align(tmp_path)
    assert same_place(table, part)
    assert facts["correction"] is None
    assert facts["flags"] == []


@pytest.mark.parametrize("rotation", [2.0, 8.0, 15.0])
@pytest.mark.parametrize("array", ARRAYS)
def test_a_rotated_sparse_jittering_slide_is_put_right_too(array, rotation, tmp_path):
    section = make_section(array, 400, rotation=rotation, missing=0.3, jitter=0.02)
    table, facts = section.align(tmp_path)
    assert same_place(table, section)
    assert facts["flags"] == []
    table, facts = section.but(x=section.width - section.x).align(tmp_path)
    assert same_place(table, section)
    scaled = section.but(x=section.x * 4, y=section.y * 4, r=section.r * 4)
    table, facts = scaled.align(tmp_path)
    assert same_place(table, section)


def test_ids_that_hold_row_x_column_are_no_reason_to_turn_a_slide_whose_spots_fit(tmp_path):
    section = make_section("ST")
    names = ["x".join(reversed(name.split("x"))) for name in section.names]
    table, facts = section.but(names=names).align(tmp_path)
    assert same_place(table, section)
    assert facts["mirrored"]
    assert facts["orientation"] == "tissue"
    assert facts["flags"] == []


def test_a_slide_turned_by_a_quarter_stays_so(tmp_path):
    section = make_section("Visium")
    turned = section.but(
        x=section.height - section.y, y=section.x, image=np.rot90(section.image, -1).copy()
    )
    table, facts = turned.align(tmp_path)
    assert same_place(table, turned)
    assert "the lattice lies along the other axis" in facts["looked"]
    assert abs(facts["rotation"]) == pytest.approx(90, abs=1)
    assert facts["flags"] == []


def test_without_auto_correct_a_correction_is_only_proposed(section, tmp_path):
    mirrored = section.but(x=section.width - section.x)
    table, facts = mirrored.align(tmp_path, auto_correct=False)
    assert same_place(table, mirrored)
    assert facts["correction"] is None
    assert facts["flags"] == ["correction_proposed"]
    assert facts["candidates"][0]["correction"] == "flip x"


def test_without_auto_correct_coordinates_off_the_image_are_refused_with_the_remedy(
    section, tmp_path
):
    scaled = section.but(x=section.x * 4, y=section.y * 4, r=section.r * 4)
    with pytest.raises(SlideError) as refused:
        scaled.align(tmp_path, auto_correct=False)
    assert "scale by 0.25" in refused.value.hint
    assert f"{section.slide}\tno\t0.25\tno\t0\t0" in refused.value.hint


@pytest.mark.parametrize("grey", [(128, 128, 128), (243, 242, 244)], ids=["grey", "blank"])
class TestAnImageThatSaysNothing:
    @pytest.fixture
    def plain(self, section, grey):
        return section.but(image=np.full_like(section.image, grey))

    def test_does_not_stop_a_sound_slide(self, plain, tmp_path):
        table, facts = plain.align(tmp_path)
        assert same_place(table, plain)
        looked = plain.tech == "Visium"
        assert facts["flags"] == (["featureless_image"] if looked else [])
        assert facts["orientation"] == ("unknown" if looked else "ids")

    def test_leaves_a_mirror_image_flagged_where_ids_show_it(self, plain, tmp_path):
        mirrored = plain.but(y=plain.height - plain.y)
        table, facts = mirrored.align(tmp_path)
        assert same_place(table, mirrored)
        if plain.tech == "Visium":
            assert facts["orientation"] == "unknown"
        else:
            assert facts["flags"] == ["orientation_unsure", "featureless_image"]
            assert facts["candidates"][0]["correction"] == "flip y"

    def test_leaves_a_factor_to_the_radius(self, plain, tmp_path):
        table, facts = plain.but(x=plain.x * 4, y=plain.y * 4).align(tmp_path)
        assert same_place(table, plain)
        assert "corrected" in facts["flags"]

    def test_refuses_a_factor_that_nothing_tells(self, plain, tmp_path):
        with pytest.raises(SlideError, match=r"scale by 0\.[0-9]+ \(or less"):
            plain.but(x=plain.x * 4, y=plain.y * 4, r=plain.r * 4).align(tmp_path)

    def test_flags_spots_all_in_the_corner(self, plain, tmp_path):
        _, facts = plain.but(x=plain.x / 4, y=plain.y / 4, r=plain.r / 4).align(tmp_path)
        assert "in_corner" in facts["flags"]
        assert facts["correction"] is None


def test_axes_swapped_off_a_narrow_image_are_put_right_by_the_ids_alone(tmp_path):
    section = make_section("ST2K")  # twice as wide as high
    assert section.width > 1.5 * section.height
    plain = section.but(image=np.full_like(section.image, 200))
    table, facts = plain.but(x=plain.y, y=plain.x).align(tmp_path)
    assert same_place(table, plain)
    assert facts["flags"] == ["featureless_image", "corrected"]


class TestOutside:
    def test_a_few_spots_outside_are_marked_and_flagged(self, section, tmp_path):
        x = section.x.copy()
        x[[3, 7]] = [-1.0, section.width + 1.0]
        table, facts = section.but(x=x).align(tmp_path)
        assert np.flatnonzero(table["outside"]).tolist() == [3, 7]
        assert "outside_image" in facts["flags"]
        assert facts["correction"] is None

    def test_the_far_edge_itself_is_outside(self, section, tmp_path):
        x, y = section.x.copy(), section.y.copy()
        x[0], y[0] = 0.0, 0.0
        x[1], y[2] = section.width, section.height
        table, _ = section.but(x=x, y=y).align(tmp_path)
        assert np.flatnonzero(table["outside"]).tolist() == [1, 2]

    def test_more_than_the_tolerance_fails_the_slide(self, section, tmp_path):
        x = section.x.copy()
        x[: len(x) // 10] += 2 * section.width
        with pytest.raises(SlideError) as refused:
            section.but(x=x).align(tmp_path)
        assert f"{len(x) // 10} of {len(x)} spots lie outside the image" in refused.value.what
        assert f"{section.width} x {section.height} pixels" in refused.value.what
        table, _ = section.but(x=x).align(tmp_path, max_outside=0.2)
        assert table["outside"].sum() == len(x) // 10


NOTHING = {"swap": "no", "scale": "1", "flip": "no", "shift_x": "0", "shift_y": "0"}


class TestOverride:
    def test_it_wins_over_what_would_be_found(self, section, tmp_path):
        mirrored = section.but(x=section.width - section.x)
        table, facts = mirrored.align(tmp_path, override=NOTHING)
        assert same_place(table, mirrored)
        assert facts["looked"] == ""
        assert facts["flags"] == ["override"]
        assert facts["orientation"] == "override"

    @pytest.mark.parametrize(
        ("row", "undo"),
        [
            ({"swap": "yes"}, lambda x, y, w, h: (y, x)),
            ({"flip": "x"}, lambda x, y, w, h: (w - x, y)),
            ({"flip": "xy"}, lambda x, y, w, h: (w - x, h - y)),
            ({"scale": "0.17"}, lambda x, y, w, h: (x / 0.17, y / 0.17)),
            ({"shift_x": "-100.5", "shift_y": "30"}, lambda x, y, w, h: (x + 100.5, y - 30)),
            (
                {"swap": "yes", "scale": "0.5", "flip": "y", "shift_x": "-7", "shift_y": "9"},
                lambda x, y, w, h: ((h - y + 9) / 0.5, (x + 7) / 0.5),
            ),
        ],
    )
    def test_its_parts_are_applied_in_the_order_of_the_columns(self, section, tmp_path, row, undo):
        x, y = undo(section.x, section.y, section.width, section.height)
        scale = float(row.get("scale", 1))
        given = section.but(x=x, y=y, r=section.r / scale)
        table, facts = given.align(tmp_path, override=NOTHING | row)
        np.testing.assert_allclose(table["x"], section.x, atol=1e-6)
        np.testing.assert_allclose(table["y"], section.y, atol=1e-6)
        np.testing.assert_allclose(table["r"], section.r)
        assert facts["correction"]["by"] == "override"

    def test_a_radius_that_fits_as_it_stands_is_not_scaled(self, section, tmp_path):
        given = section.but(x=section.x * 4, y=section.y * 4)
        table, _ = given.align(tmp_path, override=NOTHING | {"scale": "0.25"})
        assert same_place(table, section)

    def test_one_that_leads_off_the_image_fails_the_slide(self, section, tmp_path):
        with pytest.raises(SlideError, match="after the correction in the overrides"):
            section.align(tmp_path, override=NOTHING | {"shift_x": "1e5"})

    @pytest.mark.parametrize(
        "row",
        [
            {"swap": "maybe"},
            {"flip": "z"},
            {"scale": "0"},
            {"scale": "x"},
            {"scale": "1e-300"},
            {"scale": "1e300"},
            {"shift_x": "nan"},
            {"shift_y": "-1e300"},
        ],
    )
    def test_one_that_cannot_be_read_fails_the_slide(self, section, tmp_path, row):
        [(column, text)] = row.items()
        with pytest.raises(SlideError, match=f"cannot be read: {column} '{text}'"):
            section.align(tmp_path, override=NOTHING | row)

    def test_empty_fields_change_nothing(self, section, tmp_path):
        table, _ = section.align(tmp_path, override=dict.fromkeys(NOTHING, ""))
        assert same_place(table, section)


# What each real slide can be told to suffer from, and what must become of it. The crop shows tissue
# nearly everywhere, and ten bins cover next to nothing, so only ids and radius speak for these two.
REAL = {
    "ST/Human_Breast_Andersson_10142021_ST_C2": "tissue",
    "ST/Mouse_OlfactoryBulb_STUtility_ST2K_MOB1": "tissue",
    "Visium/Mouse_Brain_10X_06232020_Visium_Sagittal_Anterior_Section_1_100genes": "tissue",
    "Visium/Mouse_Brain_10X_06232020_Visium_Coronal_squidpycrop": "crop",
    "VisiumHD/Mouse_VisiumIO_VisiumHD_10bins_zerocounts": "bins",
}


@pytest.fixture(scope="module", params=REAL, ids=lambda name: name.rpartition("/")[2])
def real(request, real_slides):
    """Image, technology, and the rows of a real slide's coordinate file."""
    tech, slide = request.param.split("/")
    image = real_slides / tech / "image" / f"{slide}.png"
    lines = (real_slides / tech / "coord" / f"{slide}_coord.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in lines]
    y, x, r = np.array([row[1:] for row in rows], float).T
    size = read_header(image)
    return Real(REAL[request.param], tech, slide, image, [row[0] for row in rows], x, y, r, size)


class Real:
    def __init__(self, kind, tech, slide, image, spots, x, y, r, size):
        self.kind, self.tech, self.slide, self.image, self.spots = kind, tech, slide, image, spots
        self.x, self.y, self.r, self.width, self.height = x, y, r, size.width, size.height

    def align(self, folder, x, y, r=None, **options):
        coord = folder / f"{self.slide}_coord.csv"
        columns = zip(self.spots, y, x, self.r if r is None else r, strict=True)
        lines = [",".join([spot, *(repr(float(v)) for v in rest)]) for spot, *rest in columns]
        coord.write_text("\n".join([",yaxis,xaxis,r", *lines, ""]))
        return align(coord, self.image, self.slide, self.tech, **options)

    def stands(self, table):
        return np.allclose(table["x"], self.x, rtol=1e-9) and np.allclose(table["y"], self.y)


def test_real_slides_are_left_as_published(real, tmp_path):
    table, facts = real.align(tmp_path, real.x, real.y)
    np.testing.assert_array_equal(table["x"], real.x)
    assert facts["correction"] is None
    assert "orientation_unsure" not in facts["flags"]


def test_real_slides_with_swapped_axes_are_put_right(real, tmp_path):
    table, facts = real.align(tmp_path, real.y, real.x)
    assert real.stands(table)
    assert facts["correction"]["swap"]


@pytest.mark.parametrize("axis", ["x", "y"])
def test_real_slides_mirrored_are_put_right_or_said_to_be_untold(real, axis, tmp_path):
    x = real.width - real.x if axis == "x" else real.x
    y = real.height - real.y if axis == "y" else real.y
    table, facts = real.align(tmp_path, x, y)
    if real.kind == "tissue":
        assert real.stands(table)
        assert facts["correction"]["flip"] == axis
    else:
        assert facts["correction"] is None
        assert facts["orientation"] == "unknown"
    if real.kind == "bins":
        assert "orientation_unsure" in facts["flags"]
        assert facts["candidates"][0]["correction"] == f"flip {axis}"


@pytest.mark.parametrize("factor", [*FACTORS, 1 / 17])
def test_real_slides_whose_centres_alone_are_of_another_resolution(real, factor, tmp_path):
    table, facts = real.align(tmp_path, real.x * factor, real.y * factor)
    if real.kind == "bins" and factor < 1:  # nothing shows that they are not in place
        assert facts["flags"] == ["featureless_image", "in_corner", "radius_inconsistent"]
        named = facts["candidates"][0]["correction"].removeprefix("scale by ")
        assert float(named) == pytest.approx(1 / factor)
    else:
        assert real.stands(table)
        assert facts["correction"]["scale"] == pytest.approx(1 / factor)


@pytest.mark.parametrize("factor", FACTORS)
def test_real_slides_of_another_resolution_altogether(real, factor, tmp_path):
    arguments = tmp_path, real.x * factor, real.y * factor, real.r * factor
    if real.kind == "tissue":
        table, facts = real.align(*arguments)
        assert real.stands(table)
        assert facts["radius"] == pytest.approx(real.r[0])
    elif factor > 1:
        with pytest.raises(SlideError) as refused:
            real.align(*arguments)
        largest = float(refused.value.hint.partition("scale by ")[2].split()[0])
        assert 1 / factor <= largest <= 1.2 / factor
    else:
        _, facts = real.align(*arguments)
        assert facts["correction"] is None
        assert "in_corner" in facts["flags"]


def test_real_slides_shifted_off_the_image_are_refused_with_the_shift(real, tmp_path):
    with pytest.raises(SlideError) as refused:
        real.align(tmp_path, real.x + real.width, real.y)
    across = float(refused.value.hint.partition("shift by (")[2].partition(",")[0])
    assert across == pytest.approx(-real.width, rel=0.02)


@pytest.mark.parametrize("factor", [2.0, 0.49])
def test_real_slides_with_a_wrong_radius_are_flagged(real, factor, tmp_path):
    table, facts = real.align(tmp_path, real.x, real.y, real.r * factor)
    assert real.stands(table)
    assert "radius_inconsistent" in facts["flags"]
    assert facts["correction"] is None


def test_a_simple_factor_near_that_of_a_reduced_picture_is_not_applied(real, tmp_path):
    """Coordinates of a picture of 2000 px of an image of 9,911: 4.96 must not pass for 5."""
    factor = 2000 / max(real.width, real.height)
    if abs(1 / factor / 5 - 1) > 0.015:
        pytest.skip("the factor is not near a simple one")
    table, facts = real.align(tmp_path, real.x * factor, real.y * factor, real.r * factor)
    assert facts["correction"] is None
    assert {"correction_proposed", "off_tissue"} <= set(facts["flags"])
    np.testing.assert_allclose(table["x"], real.x * factor)
