"""A table of barcodes places a slide exactly, from however few spots, but not blindly."""

import numpy as np
import pytest
from section import align, make_section
from st1k4m.errors import ConfigError
from st1k4m.geometry.barcodes import bases_of, find_positions, read_tables

UM_PER_PX = 20.0


@pytest.fixture(scope="module")
def section():
    return make_section("Visium", 700, rotation=3.0)


@pytest.fixture(scope="module")
def table(section, tmp_path_factory):
    """What Space Ranger ships: barcode, column, row, counted from 1."""
    path = tmp_path_factory.mktemp("table") / "visium-v1_coordinates.txt"
    rows = zip(section.names, section.col.tolist(), section.row.tolist(), strict=True)
    path.write_text("".join(f"{n.partition('-')[0]}\t{c + 1}\t{r + 1}\n" for n, c, r in rows))
    return path


def pick(section, index):
    return section.but(
        names=[section.names[i] for i in index],
        x=section.x[index],
        y=section.y[index],
        r=section.r[index],
        row=section.row[index],
        col=section.col[index],
    )


def scattered(section, spots):
    """Spots so far from each other that no two are neighbours on the lattice."""
    rng = np.random.default_rng(0)
    apart = (section.row % 3 == 0) & ((section.col + section.row) % 6 == 0)
    return pick(section, np.sort(rng.permutation(np.flatnonzero(apart))[:spots]))


@pytest.mark.parametrize("spots", [5, 30])
def test_scattered_spots_have_positions_and_micrometres(section, table, tmp_path, spots):
    few = scattered(section, spots)
    _, facts = few.align(tmp_path)
    assert facts["um_per_px"] is None
    assert "lattice_unsure" in facts["flags"]
    found, facts = few.align(tmp_path, barcodes=str(table))
    np.testing.assert_array_equal(found["array_row"], few.row)
    np.testing.assert_array_equal(found["array_col"], few.col)
    assert facts["um_per_px"] == pytest.approx(UM_PER_PX, rel=1e-6)
    assert facts["rotation"] == pytest.approx(3.0, abs=1e-4)
    assert (facts["positions"], facts["orientation"]) == ("barcodes", "barcodes")
    assert facts["flags"] == []


def test_without_the_option_nothing_is_looked_up(section, table, tmp_path):
    found, facts = section.align(tmp_path)
    assert facts["positions"] == "centres"
    again, same = section.align(tmp_path, barcodes=None)
    assert facts == same
    np.testing.assert_array_equal(found["array_col"], again["array_col"])


@pytest.mark.parametrize(
    "turn",
    [
        lambda s: (s.width - s.x, s.y),
        lambda s: (s.x, s.height - s.y),
        lambda s: (s.width - s.x, s.height - s.y),
    ],
    ids=["mirrored in x", "mirrored in y", "turned by 180"],
)
def test_a_wrong_orientation_is_seen_without_tissue(section, table, tmp_path, turn):
    x, y = turn(section)
    plain = section.but(x=x, y=y, image=np.full_like(section.image, 200))
    _, facts = plain.align(tmp_path)
    assert facts["flags"] == ["featureless_image"]
    _, facts = plain.align(tmp_path, barcodes=str(table))
    assert "orientation_unsure" in facts["flags"]
    found, facts = section.but(x=x, y=y).align(tmp_path, barcodes=str(table))
    np.testing.assert_allclose(found["x"], section.x)
    assert "corrected" in facts["flags"]


def test_a_table_of_another_kind_is_named_and_the_centres_decide(section, tmp_path):
    other = make_section("Visium", 700, seed=5)
    path = tmp_path / "other.tsv"
    rows = zip(other.names, other.row.tolist(), other.col.tolist(), strict=True)
    lines = ["barcode\tarray_row\tarray_col", *("\t".join(map(str, row)) for row in rows)]
    path.write_text("# another kind\n" + "\n".join(lines) + "\n")
    _, facts = section.align(tmp_path, barcodes=str(path))
    assert facts["flags"] == ["barcodes_unknown"]
    assert facts["positions"] == "centres"
    assert "knows 0 of" in facts["warnings"][0]


def test_shuffled_barcodes_are_doubted_and_the_centres_decide(section, table, tmp_path):
    names = np.random.default_rng(1).permutation(section.names).tolist()
    _, facts = section.but(names=names).align(tmp_path, barcodes=str(table))
    assert facts["flags"] == ["lattice_unsure"]
    assert "do not fit the centres" in facts["warnings"][0]
    assert facts["um_per_px"] == pytest.approx(UM_PER_PX, rel=0.005)


def test_a_barcode_that_the_table_lacks_is_unknown(section, table, tmp_path):
    names = list(section.names)
    names[7] = "TTTTTTTTTTTTTTTT-1"
    found, facts = section.but(names=names).align(tmp_path, barcodes=str(table))
    assert (found["array_row"][7], found["array_col"][7]) == (-1, -1)
    assert facts["flags"] == ["stray_spots"]


FORMATS = {
    "ours.tsv": "# head\nbarcode\tarray_row\tarray_col\tvotes\n{0}-1\t4\t6\t9\n{1}-1\t5\t7\t9\n",
    "tissue_positions.csv": "barcode,in_tissue,array_row,array_col,"
    "pxl_row_in_fullres,pxl_col_in_fullres\n"
    "{0}-1,1,4,6,10,10\n{1}-1,0,5,7,10,10\n",
    "tissue_positions_list.csv": "{0}-1,1,4,6,10,10\n{1}-1,0,5,7,10,10\n",
    "visium-v1_coordinates.txt": "{0}\t7\t5\n{1}\t8\t6\n",
}
ONE, TWO = "ACGTACGTACGTACGT", "TTGTACGTACGTACGA"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(name, tmp_path):
    (tmp_path / name).write_text(FORMATS[name].format(ONE, TWO))
    assert read_tables(tmp_path / name) == {name: {ONE: (4, 6), TWO: (5, 7)}}


def test_a_folder_holds_several_kinds_and_the_right_one_is_taken(tmp_path):
    for name, text in (("a.tsv", ONE), ("b.tsv", TWO)):
        (tmp_path / name).write_text(f"barcode\tarray_row\tarray_col\n{text}-1\t1\t3\n")
    (tmp_path / "slides.tsv").write_text("slide\tkind\nS\ta\n")
    tables = read_tables(tmp_path)
    assert set(tables) == {"a.tsv", "b.tsv"}
    found, why = find_positions([f"{TWO}-1"], tables)
    assert (found.row.tolist(), found.col.tolist(), why) == ([1], [3], "")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("barcode\tarray_row\tarray_col\nACGT\t1\t2\n", "line 2"),
        ("barcode\tarray_row\tarray_col\n" + ONE + "\tx\t2\n", "line 2"),
        ("barcode\tarray_row\tarray_col\n" + ONE + "\t-1\t2\n", "line 2"),
        ("barcode\tarray_row\n", "no column array_col"),
        (f"{ONE}\t1\t2\n{ONE}\t1\t4\n", "line 2: barcode .* has two positions"),
        ("", "no table of barcodes"),
    ],
)
def test_a_faulty_table_is_named_with_its_line(text, fault, tmp_path):
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(ConfigError, match=fault):
        read_tables(tmp_path / "t.tsv")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tables(tmp_path / "none.tsv")


def test_bases_are_those_of_a_barcode():
    assert bases_of(f"{ONE}-1") == bases_of(f"{ONE}-12") == bases_of(ONE) == ONE
    assert bases_of("10x13") == bases_of("s_008um_00001_00002-1") == bases_of("") == ""


def test_the_real_positions_of_an_array_place_a_real_slide(real_slides, tmp_path):
    """The published slide against Space Ranger's own file of the same section."""
    own = real_slides.parent / "own" / "visium_v1_h5_mouse_brain_anterior" / "spatial"
    name = "Mouse_Brain_10X_06232020_Visium_Sagittal_Anterior_Section_1_100genes"
    path = own / "tissue_positions_list.csv"
    if not path.is_file():
        pytest.skip("no positions file of Space Ranger")
    folder = real_slides / "Visium"
    found, facts = align(
        folder / "coord" / f"{name}_coord.csv",
        folder / "image" / f"{name}.png",
        name,
        "Visium",
        out=tmp_path / "out.parquet",
        barcodes=str(path),
    )
    stated = {}
    for line in path.read_text().splitlines():
        barcode, _, row, col, *_ = line.split(",")
        stated[barcode] = int(row), int(col)
    places = zip(found["array_row"].tolist(), found["array_col"].tolist(), strict=True)
    assert [stated[b] for b in found["barcode"]] == list(places)
    assert facts["flags"] == []
    assert facts["orientation"] == "barcodes"
