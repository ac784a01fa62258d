"""No spot is lost without a reason."""

import numpy as np
import pandas as pd
import pytest
from st1k4m.codes import REASONS
from st1k4m.formats.ledger import write_ledger
from st1k4m.formats.spots import SpotTable
from st1k4m.formats.tile_store import StoreFacts
from st1k4m.join.ledger import make_ledger
from st1k4m.join.record import make_record


@pytest.fixture
def spots():
    """A is kept, B outside the image, C has no counts, D no gene, E lies at the edge."""
    names = [f"S.1+x_{name}" for name in "ABCDE"]
    return SpotTable(
        spot=names,
        barcode=list("ABCDE"),
        x=np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        y=np.array([10.0, 20.0, 30.0, 40.0, 50.0]),
        r=np.full(5, 7.0),
        array_row=np.array([0, 0, 1, 1, 2], np.int32),
        array_col=np.array([0, 1, 0, 1, 0], np.int32),
        outside=np.array([False, True, False, False, False]),
    )


@pytest.fixture
def ledger(spots):
    return make_ledger(
        "S.1+x",
        in_expression=["S.1+x_E", "S.1+x_B", "S.1+x_A"],
        dropped_by_expression={"S.1+x_F": "no_coordinates", "S.1+x_D": "no_genes"},
        spots=spots,
        dropped_by_tiles={"S.1+x_E": "partly_outside_image"},
    )


def test_every_spot_of_either_file_is_there_once(ledger):
    assert ledger.barcode == ["A", "B", "C", "D", "E", "F"]
    assert ledger.spot == [f"S.1+x_{name}" for name in "ABCDEF"]


def test_every_dropped_spot_has_its_reason(ledger):
    assert dict(zip(ledger.barcode, ledger.reason, strict=True)) == {
        "A": "",
        "B": "outside_image",
        "C": "no_counts",
        "D": "no_genes",
        "E": "partly_outside_image",
        "F": "no_coordinates",
    }
    assert ledger.kept == ["S.1+x_A"]
    assert set(ledger.reason) <= {"", *REASONS}


def test_the_file_is_what_pandas_reads_a_column_each(ledger, tmp_path):
    write_ledger(tmp_path / "ledger.parquet", ledger)
    found = pd.read_parquet(tmp_path / "ledger.parquet")
    assert (found["status"] == "kept").tolist() == [reason == "" for reason in ledger.reason]
    for name, values in vars(ledger).items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    columns = "spot barcode in_counts in_coord x y r array_row array_col tile status reason"
    assert list(found) == columns.split()


def test_which_file_a_spot_is_in(ledger):
    assert ledger.in_counts.tolist() == [True, True, False, True, True, True]
    assert ledger.in_coord.tolist() == [True, True, True, True, True, False]


def test_a_spot_without_coordinates_has_none(ledger):
    assert np.isnan([ledger.x[5], ledger.y[5], ledger.r[5]]).all()
    assert (ledger.array_row[5], ledger.array_col[5], ledger.tile[5]) == (-1, -1, -1)


def test_tiles_are_numbered_in_the_order_of_the_kept_spots(spots):
    ledger = make_ledger("S.1+x", ["S.1+x_E", "S.1+x_C", "S.1+x_A"], {}, spots, {})
    tiles = dict(zip(ledger.barcode, ledger.tile.tolist(), strict=True))
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
def test_labels_that_find_no_spot_are_said(ledger, labelled, flags, warnings):
    labels = {f"S.1+x_{name}": "fat" for name in labelled}
    tiles = StoreFacts(np.ones(1), np.ones(1), {}, {}, {"flags": ["b"]})
    record = make_record("S.1+x", {}, {}, {}, {}, tiles, ledger, labels)
    assert (record.flags, record.warnings) == (flags, warnings)


def test_flags_and_warnings_of_every_step_are_in_the_record(ledger):
    tiles = StoreFacts(np.ones(1), np.ones(1), {}, {}, {"flags": ["c"], "warnings": ["of tiles"]})
    steps = [
        {"flags": np.array(["first_gene_unsure"], object), "warnings": ["of counts"]},
        {"flags": ["b"], "warnings": ["of spots"]},
    ]
    given = [dict(step) for step in steps]
    record = make_record("S.1+x", {}, {}, *steps, tiles, ledger, {})
    assert record.flags == ["b", "c", "first_gene_unsure"]
    assert record.warnings == ["of counts", "of spots", "of tiles"]
    assert steps == given  # nothing is taken out of what was given
