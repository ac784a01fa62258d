"""One row per technology: no other module states a difference between technologies."""

import re
import subprocess
import sys

import numpy as np
import pytest
from places import REPOSITORY, SCRIPTS
from st1k4m.demo.dataset import name_spots
from st1k4m.demo.tissue import ARRAYS, lay_spots
from st1k4m.geometry.barcodes import bases_of, read_positions
from st1k4m.run import settings
from st1k4m.source import own_catalogue
from st1k4m.technologies import TECHNOLOGIES, TECHS, UNKNOWN, VISIUM, technology


def test_no_other_file_of_the_code_spells_the_name_of_a_technology():
    spelled = re.compile("|".join(f"[\"']{name}[\"']" for name in TECHS))
    files = [*SCRIPTS.rglob("*.py"), *(REPOSITORY / "rules").glob("*"), REPOSITORY / "Snakefile"]
    found = {
        f"{file.relative_to(REPOSITORY)}: {match[0]}"
        for file in files
        if file.is_file() and file.name != "technologies.py"
        for match in [spelled.search(file.read_text(encoding="utf-8"))]
        if match
    }
    assert not found


def test_it_needs_the_standard_library_alone():
    code = (
        "import sys; known = set(sys.modules); import st1k4m.technologies;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - known})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) <= {"st1k4m", *sys.stdlib_module_names}


@pytest.mark.parametrize("name", TECHS)
def test_each_has_an_array_and_can_be_configured(name):
    table = settings.read_geometry(REPOSITORY / "config" / "geometry.tsv")
    assert settings.rows_for(table, "any_slide", name)
    schema = REPOSITORY / "config" / "config.schema.yaml"
    other = {"technologies": {name: {"expression": {"min_counts": 3}}}}
    assert not [fault for fault in settings.check(other, schema) if fault.key == "technologies"]


def test_a_technology_without_a_row_cannot_be_configured():
    schema = REPOSITORY / "config" / "config.schema.yaml"
    faults = settings.check({"technologies": {"Visum": {}}}, schema)
    assert (
        settings.Fault(
            "technologies", "technologies.Visum: no such option; did you mean technologies.Visium?"
        )
        in faults
    )


@pytest.mark.parametrize("array", ARRAYS)
def test_ids_are_written_as_they_are_read(array):
    spots, _ = lay_spots(array, 30, um_per_px=4.0)
    names = name_spots(array, spots, seed=0)
    kind = ARRAYS[array].tech
    assert all(re.fullmatch(kind.spot_id, name) for name in names)
    others = [row for row in TECHNOLOGIES.values() if row is not kind]
    assert not any(re.fullmatch(row.spot_id, names[0]) for row in others)
    assert all(re.search(kind.bare_id, f"sample_{name}") for name in names)
    found = read_positions(names)
    if kind.barcoded:
        assert found is None
        assert bases_of(names[0]) + "-1" == names[0]
    else:
        np.testing.assert_array_equal(found.row, spots.row)
        np.testing.assert_array_equal(found.col, spots.col)
        assert found.bin_um == (8.0 if kind.binned else None)


def test_bins_of_two_sizes_state_no_positions():
    assert read_positions(["s_008um_00001_00002-1", "s_016um_00001_00003-1"]) is None


def test_what_is_not_known_costs_what_visium_costs_and_has_no_direction():
    assert technology("") is UNKNOWN
    assert UNKNOWN.genes_found == VISIUM.genes_found
    assert not UNKNOWN.barcoded
    assert UNKNOWN.directions is None


def test_words_of_hest_name_one_technology_each():
    words = [word for row in TECHNOLOGIES.values() for word in row.hest]
    assert len(words) == len(set(words)) == len(own_catalogue.HEST_TECHS)
