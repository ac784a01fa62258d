"""The table and the file of all numbers, by hand."""

import csv
import json

import numpy as np
import pytest
from st1k4m.baseline.build_baseline import COLUMNS, build_baseline
from st1k4m.baseline.numbers import write_json


def clean(fold, slides):
    return {
        "fold": fold,
        "genes": ["A", "B"],
        "slides": {
            slide: {
                "group": group,
                "tissue": tissue,
                "pearson": pearson,
                "mse": [1.0, 2.0],
                "undefined": {} if None not in pearson else {"B": "constant in the slide"},
            }
            for slide, (group, tissue, pearson) in slides.items()
        },
    }


SCORES = {
    "encoder": "e",
    "protocols": {
        "hest": [
            {"pearson": [0.4, 0.6], "tissues": {"brain": [0.4, 0.6]}},
            {"pearson": [0.2, 0.4], "tissues": {"brain": [0.1, 0.3], "skin": [None, 0.5]}},
        ],
        "clean": [
            clean("0", {"s": ("g", "brain", [0.2, 0.4]), "t": ("g", "brain", [0.5, None])}),
            clean("1", {"u": ("h", "brain", [0.1, 0.1]), "v": ("i", "skin", [0.0, 0.2])}),
        ],
    },
}


@pytest.fixture
def built(tmp_path):
    """The lines of the table, and the file of all numbers."""
    write_json(tmp_path / "r.json", SCORES)
    build_baseline(
        {"ridge": [tmp_path / "r.json"], "probe": []},
        tmp_path / "b.tsv",
        tmp_path / "b.json",
        name="b",
        options={"bootstrap": 2000, "seed": 0},
    )
    lines = [line for line in (tmp_path / "b.tsv").read_text().splitlines() if line[0] != "#"]
    rows = list(csv.DictReader(lines, delimiter="\t"))
    return rows, json.loads((tmp_path / "b.json").read_text())


def find(rows, protocol, metric, tissue):
    (row,) = [
        r for r in rows if (r["protocol"], r["metric"], r["tissue"]) == (protocol, metric, tissue)
    ]
    return row


def test_the_table_has_the_columns_that_it_must(built):
    assert list(built[0][0]) == list(COLUMNS)
    asked = ("encoder", "protocol", "metric", "tissue", "value", "low", "high", "groups")
    assert COLUMNS[:8] == asked


def test_hest_is_mean_and_deviation_of_folds(built):
    row = find(built[0], "hest", "pearson", "all")
    assert (row["value"], row["groups"]) == ("0.4", "2")
    assert float(row["low"]) == pytest.approx(0.3) and float(row["high"]) == pytest.approx(0.5)


def test_a_gene_without_a_correlation_leaves_hests_mean_undefined_and_is_counted(built):
    row = find(built[0], "hest", "pearson", "skin")
    assert row["value"] == row["low"] == row["high"] == ""
    assert find(built[0], "hest", "undefined", "skin")["value"] == "1"
    assert find(built[0], "clean", "pearson", "skin")["gap"] == ""


def test_clean_is_a_mean_of_groups_of_slides_of_genes(built):
    row = find(built[0], "clean", "pearson", "all")
    groups = [np.mean([0.3, 0.5]), 0.1, 0.1]
    assert float(row["value"]) == pytest.approx(np.mean(groups), abs=1e-5)
    assert row["groups"] == "3" and float(row["low"]) <= float(row["value"]) <= float(row["high"])
    assert float(row["gap"]) == pytest.approx(0.4 - np.mean(groups), abs=1e-5)
    assert find(built[0], "clean", "undefined", "all")["value"] == "1"
    assert find(built[0], "clean", "mse", "brain")["value"] == "1.5"


def test_one_group_has_no_interval(built):
    row = find(built[0], "clean", "pearson", "skin")
    assert (row["value"], row["low"], row["high"], row["groups"]) == ("0.1", "", "", "1")


def test_the_numbers_hold_every_slide_and_gene_and_the_rows(built):
    rows, everything = built
    clean = everything["encoders"]["e"]["ridge"]["protocols"]["clean"]
    assert clean[0]["slides"]["t"]["undefined"] == {"B": "constant in the slide"}
    assert everything["rows"] == rows and everything["baseline"] == "b"
