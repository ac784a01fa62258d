"""What cut_tiles says of the placement, on the picture that it makes anyway."""

import json

import h5py
import numpy as np
import pytest
from places import DEFAULTS
from section import make_section
from st1k4m.formats.tile_store import read_store_facts
from st1k4m.image import decode
from st1k4m.tiles import cut_tiles

OPTIONS = DEFAULTS["tiles"]


def cut(section, folder, **changes):
    section = section.but(**changes)
    section.align(folder, auto_correct=False)
    out = folder / "tiles.h5"
    cut_tiles.cut_tiles(
        folder / f"{section.slide}.png",
        folder / f"{section.slide}.parquet",
        [f"{section.slide}_{name}" for name in section.names],
        out,
        slide=section.slide,
        options=OPTIONS,
    )
    return read_store_facts(out).facts


@pytest.fixture(scope="module", params=["ST", "Visium", "VisiumHD"])
def section(request):
    return make_section(request.param)


def test_a_sound_slide_fits(section, tmp_path):
    facts = cut(section, tmp_path)
    assert facts["placement"]["verdict"] == "fits"
    assert facts["flags"] == []


def test_a_shift_that_no_other_step_looks_for_is_flagged_with_its_remedy(section, tmp_path):
    facts = cut(section, tmp_path, x=section.x - 0.12 * section.width)
    assert facts["flags"] == ["misplaced"]
    believed = facts["placement"]["believed"]
    assert believed["shift_x"] == pytest.approx(0.12 * section.width, abs=0.03 * section.width)
    assert f"{section.slide}\tno\t1\tno\t" in facts["warnings"][0]
    assert "geometry.overrides" in facts["warnings"][0]


def test_the_image_is_decoded_once(section, tmp_path, monkeypatch):
    section.align(tmp_path)
    bands, whole = [], []
    original = decode.Bands.__iter__
    monkeypatch.setattr(decode.Bands, "__iter__", lambda self: bands.append(1) or original(self))
    monkeypatch.setattr(decode, "thumbnail", lambda *args, **options: whole.append(1))
    cut_tiles.cut_tiles(
        tmp_path / f"{section.slide}.png",
        tmp_path / f"{section.slide}.parquet",
        [f"{section.slide}_{name}" for name in section.names],
        tmp_path / "tiles.h5",
        slide=section.slide,
        options=OPTIONS,
    )
    assert (bands, whole) == ([1], [])


def test_the_facts_are_plain_and_the_same_every_time(section, tmp_path):
    told = []
    for _ in range(2):
        cut(section, tmp_path, y=section.height - section.y)
        with h5py.File(tmp_path / "tiles.h5") as file:
            told.append(file.attrs["facts"])
    assert told[0] == told[1]
    placement = json.loads(told[0])["placement"]
    assert placement["believed"]["correction"] == "flip y"
    shares = [rival["on_tissue"] for rival in placement["rivals"]]
    assert all(0 <= share <= 1 for share in shares)
    likeness = [rival["likeness"] for rival in placement["rivals"]]
    assert likeness == sorted(likeness, reverse=True)
    assert np.isfinite(likeness).all()
