"""Names are such as SpatialData accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from st1k4m.export.names import element_name, renamed


def is_allowed(name):
    """Whether SpatialData takes a name, by its documentation."""
    letters = all(c.isalnum() or c in "_.-" for c in name)
    return letters and name not in ("", ".", "..", "_index") and not name.startswith("__")


@pytest.mark.parametrize(
    ("slide", "name"),
    [
        ("Human_Breast_10X_1.1.0", "Human_Breast_10X_1.1.0"),
        ("GSE1_A+B", "GSE1_A_B"),
        ("a b:c/d", "a_b_c_d"),
        ("__x", "x__x"),
        ("..", "x.."),
    ],
)
def test_elements_are_named_as_slides_as_far_as_allowed(slide, name):
    assert element_name(slide) == name


@given(st.lists(st.text(max_size=6), unique=True, max_size=8))
def test_columns_get_allowed_names_that_differ_in_more_than_case(names):
    found = renamed(names)
    stored = [found.get(name, name) for name in names]
    assert len({name.lower() for name in stored}) == len(names)
    assert all(map(is_allowed, stored))


def test_a_column_whose_name_is_allowed_keeps_it():
    assert renamed(["a b", "a_b"]) == {"a b": "a_b-2"}
    assert renamed(["Area", "area", "ok"]) == {"area": "area-2"}
    assert renamed(["_index", "index"]) == {"_index": "index-2"}
    assert renamed(["tile", "total_counts"]) == {}
