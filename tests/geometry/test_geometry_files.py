"""Coordinate files: what is read, what is refused and by which line, and what spot ids say."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from st1k4m.errors import SlideError
from st1k4m.geometry.barcodes import read_positions
from st1k4m.geometry.coordinates import read_coordinates

PLAIN = ",yaxis,xaxis,r\nS_10x13,2622.15,1923.65,54.3\nS_10x14,2844.32,1926.69,54.3\n"


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "S_coord.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(path):
    with pytest.raises(SlideError) as refused:
        read_coordinates(path)
    assert refused.value.slide == "S"
    assert str(path) in refused.value.what
    assert refused.value.hint
    return refused.value.what


def test_centres_are_read_y_before_x_and_rows_keep_their_order(write):
    found = read_coordinates(write(PLAIN))
    assert found.spots == ["S_10x13", "S_10x14"]
    assert found.y.tolist() == [2622.15, 2844.32]
    assert found.x.tolist() == [1923.65, 1926.69]
    assert found.r.tolist() == [54.3, 54.3]
    assert found.x.dtype == found.y.dtype == found.r.dtype == np.float64


def test_columns_are_found_by_name(write):
    found = read_coordinates(write("spot,r,note,xaxis,yaxis\nS_a,5,hello,1,2\nS_b,5,,3,4\n"))
    assert (found.x.tolist(), found.y.tolist(), found.r.tolist()) == ([1, 3], [2, 4], [5, 5])


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.rstrip("\n").encode(),
        PLAIN.replace("\nS", "\n\nS", 1).encode() + b"\n\n",
        PLAIN.replace("S_10x13", '"S_10x13"').replace("yaxis", '"yaxis"').encode(),
        b"\n\r\n" + PLAIN.encode(),
        f"r{PLAIN}".encode(),
    ],
    ids=[
        *("byte order mark", "CRLF", "no last line break", "empty lines", "quotes"),
        *("leading empty lines", "first column named as the radius"),
    ],
)
def test_the_dress_of_a_file_does_not_matter(write, content):
    plain, dressed = read_coordinates(write(PLAIN)), read_coordinates(write(content))
    assert dressed.spots == plain.spots
    for axis in "xyr":
        assert getattr(dressed, axis).tolist() == getattr(plain, axis).tolist()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(1e-3, 1e4, exclude_min=True)
        ),
        min_size=1,
        max_size=30,
    )
)
def test_numbers_are_those_of_python(write, rows):
    lines = [f"S_{i},{y!r},{x!r},{r!r}\n" for i, (y, x, r) in enumerate(rows)]
    found = read_coordinates(write(",yaxis,xaxis,r\n" + "".join(lines)))
    assert list(zip(found.y, found.x, found.r, strict=True)) == rows


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("S_c,1,2", "3 fields where the header has 4"),
        ("S_c,1,2,3,4", "5 fields where the header has 4"),
        (",1,2,3", "'' is not a spot id"),
        ("S\0c,1,2,3", "'S\\x00c' is not a spot id"),
        ("S_c,one,2,3", "yaxis of spot S_c is 'one'"),
        ("S_c,1,,3", "xaxis of spot S_c is ''"),
        ("S_c,1,nan,3", "xaxis of spot S_c is 'nan'"),
        ("S_c,-inf,2,3", "yaxis of spot S_c is '-inf'"),
        ("S_c,1e300,2,3", "yaxis of spot S_c is '1e300', expected a finite number below 1e+09"),
        ("S_c,1,2,NA", "r of spot S_c is 'NA'"),
        ("S_c,1,2,0", "r of spot S_c is 0, expected more than 0"),
        ("S_c,1,2,-4.5", "r of spot S_c is -4.5, expected more than 0"),
        ("S_10x13,1,2,3", "spot S_10x13 is on line 2 already"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_faulty_line_is_refused_by_its_number(write, line, told, newline):
    path = write((PLAIN + line + "\nS_d,5,6,7\n").replace("\n", newline))
    what = refusal(path)
    assert f"{path}, line 4: " in what
    assert told in what


def test_a_faulty_line_after_leading_empty_lines_is_refused_by_its_number(write):
    assert "line 5: r of spot S_10x14 is 0" in refusal(write("\n\n" + PLAIN[:-5] + "0\n"))


def test_the_first_of_several_faults_is_named(write):
    path = write(PLAIN + "\nS_c,1,2,0\nS_10x13,x,2,3\n")
    assert f"{path}, line 5: r of spot S_c" in refusal(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (",yaxis,xaxis,r\n", "has no spot"),
        (",yaxis,xaxis\nS_a,1,2\n", "line 1: no column r;"),
        (",x,y,radius\nS_a,1,2,3\n", "line 1: no column yaxis and xaxis and r;"),
        ("r,yaxis,xaxis\n5,1,2\n", "line 1: no column r;"),
        (b",yaxis,xaxis,r\nS_\xff\xfe,1,2,3\n", "UTF"),
        (b"\x00\x01\x02PNG", "no column"),
    ],
)
def test_a_file_that_is_none_is_refused(write, content, told):
    assert told in refusal(write(content))


@pytest.mark.parametrize("length", [5_000, 500_000])
def test_messages_are_short_whatever_the_file_holds(write, length):
    long = "s" * length
    for content in (long, f",yaxis,xaxis,r\n{long},x,1,2\n", f",yaxis,xaxis,r\na,{long},1,2\n"):
        assert len(refusal(write(content))) < 600


def test_a_missing_file_is_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "S_coord.csv")


def test_real_files_are_read_as_pandas_reads_them(real_slides):
    paths = sorted(real_slides.glob("*/coord/*.csv"))
    assert len(paths) == 5
    for path in paths:
        table = pd.read_csv(path, index_col=0, float_precision="round_trip")
        found = read_coordinates(path)
        assert found.spots == table.index.tolist()
        np.testing.assert_array_equal(found.y, table["yaxis"])
        np.testing.assert_array_equal(found.x, table["xaxis"])
        np.testing.assert_array_equal(found.r, table["r"])


def test_st_ids_are_column_x_row():
    found = read_positions(["10x13", "2x7"])
    assert (found.col.tolist(), found.row.tolist(), found.bin_um) == ([10, 2], [13, 7], None)


def test_visium_hd_ids_are_row_then_column_and_tell_the_bin():
    found = read_positions(["s_016um_00123_00456-1", "s_016um_00000_00001-1"])
    assert (found.row.tolist(), found.col.tolist(), found.bin_um) == ([123, 0], [456, 1], 16.0)


@pytest.mark.parametrize(
    "barcodes",
    [
        ["AAACAAGTATCTCCCA-1", "AAACACCAATAACTGC-1"],
        ["10x13", "AAACACCAATAACTGC-1"],
        ["10x13", "10x13x2"],
        ["s_008um_00001_00001-1", "s_002um_00001_00002-1"],
        ["10.1x13.2"],
        ["10x13", "99999999999x5"],
        ["s_008um_00001_00001-1", "s_008um_00001_99999999999-1"],
    ],
)
def test_ids_without_a_position_throughout_tell_none(barcodes):
    assert read_positions(barcodes) is None


def test_messages_hold_no_traceback_words(write):
    assert not re.search("Traceback|Arrow|Error", refusal(write(PLAIN + "S_c,1,2\n")))
