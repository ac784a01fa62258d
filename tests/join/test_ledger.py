"""No spot is lost without a reason."""

import math

import pyarrow as pa
import pytest
from st1k4m.codes import REASONS
from st1k4m.join import build_anndata
from st1k4m.join.ledger import make_ledger


@pytest.fixture
def spots() -> pa.Table:
    """A is kept, B outside the image, C has no counts, D no gene, E lies at the edge."""
    return pa.table(
        {
            "spot": [f"S.1+x_{name}" for name in "ABCDE"],
            "x": [1.0, 2.0, 3.0, 4.0, 5.0],
            "y": [10.0, 20.0, 30.0, 40.0, 50.0],
            "r": [7.0] * 5,
            "array_row": pa.array([0, 0, 1, 1, 2], pa.int32()),
            "array_col": pa.array([0, 1, 0, 1, 0], pa.int32()),
            "outside": [False, True, False, False, False],
        }
    )


@pytest.fixture
def ledger(spots) -> pa.Table:
    return make_ledger(
        "S.1+x",
        in_expression=["S.1+x_E", "S.1+x_B", "S.1+x_A"],
        dropped_by_expression={"S.1+x_F": "no_coordinates", "S.1+x_D": "no_genes"},
        spots=spots,
        dropped_by_tiles={"S.1+x_E": "partly_outside_image"},
    )


def test_every_spot_of_either_file_is_there_once(ledger):
    assert ledger["barcode"].to_pylist() == ["A", "B", "C", "D", "E", "F"]
    assert ledger["spot"].to_pylist() == [f"S.1+x_{name}" for name in "ABCDEF"]


def test_every_dropped_spot_has_its_reason(ledger):
    assert dict(zip(ledger["barcode"].to_pylist(), ledger["reason"].to_pylist(), strict=True)) == {
        "A": "",
        "B": "outside_image",
        "C": "no_counts",
        "D": "no_genes",
        "E": "partly_outside_image",
        "F": "no_coordinates",
    }
    assert [status == "kept" for status in ledger["status"].to_pylist()] == [
        reason == "" for reason in ledger["reason"].to_pylist()
    ]
    assert set(ledger["reason"].to_pylist()) <= {"", *REASONS}


def test_which_file_a_spot_is_in(ledger):
    assert ledger["in_counts"].to_pylist() == [True, True, False, True, True, True]
    assert ledger["in_coord"].to_pylist() == [True, True, True, True, True, False]


def test_a_spot_without_coordinates_has_none(ledger):
    last = ledger.slice(5).to_pylist()[0]
    assert math.isnan(last["x"]) and math.isnan(last["y"]) and math.isnan(last["r"])
    assert (last["array_row"], last["array_col"], last["tile"]) == (-1, -1, -1)


def test_tiles_are_numbered_in_the_order_of_the_kept_spots(spots):
    ledger = make_ledger("S.1+x", ["S.1+x_E", "S.1+x_C", "S.1+x_A"], {}, spots, {})
    tiles = dict(zip(ledger["barcode"].to_pylist(), ledger["tile"].to_pylist(), strict=True))
    assert tiles == {"A": 2, "B": -1, "C": 1, "D": -1, "E": 0}


@pytest.mark.parametrize(
    ("labelled", "flags", "warnings"),
    [
        ("", ["b"], []),
        ("A", ["b"], []),
        ("ABZ", ["b"], ["2 of 3 labels are of no spot in the AnnData"]),
        ("BZ", ["annotation_unmatched", "b"], ["2 of 2 labels are of no spot in the AnnData"]),
    ],
)
def test_labels_that_find_no_spot_are_told(ledger, labelled, flags, warnings):
    labels = {f"S.1+x_{name}": "fat" for name in labelled}
    record = {
        "flags": ["b"],
        "warnings": [],
        "annotation": build_anndata._count_labels(ledger, labels),
    }
    build_anndata._tell_unmatched(labels, record)
    assert (record["flags"], record["warnings"]) == (flags, warnings)
