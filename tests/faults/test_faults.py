"""Every fault of a slide fails only that slide; the message has the reason and a hint."""

import re
import shutil

import pytest
import runs
import yaml
from faults.table import STEPS, WORKFLOW, place
from st1k4m.errors import SlideError
from st1k4m.expression import count_expression
from st1k4m.formats.expression import read_spot_names
from st1k4m.geometry import align_spots
from st1k4m.run import settings
from st1k4m.run.outputs import require
from st1k4m.run.steps import PRODUCTS, STALE_AFTER
from st1k4m.tiles import cut_tiles


def by_name(fault):
    return f"{fault.file}: {fault.name}"


def test_the_table_has_sixty_rows_and_more():
    assert len(WORKFLOW) + len(STEPS) >= 60
    assert len({fault.slide for fault in WORKFLOW}) == len(WORKFLOW)
    assert len({fault.slide for fault in STEPS}) == len(STEPS)


# -- through the workflow


def test_the_run_ends_with_an_error_and_says_how_many(damaged_run, sound_run):
    assert damaged_run.status != 0
    summary = f"Slides: {len(sound_run.rows)} done, {len(WORKFLOW)} failed"
    assert damaged_run.terminal.splitlines()[-2].startswith(summary)


def test_no_traceback_on_the_terminal(damaged_run):
    assert "Traceback" not in damaged_run.terminal


def test_sound_slides_are_those_of_a_clean_run(damaged_run, sound_run):
    sound = {row["slide"] for row in sound_run.rows}
    assert {damaged_run.rows[slide]["status"] for slide in sound} == {"done"}
    products = runs.products_of(damaged_run.workdir, sound)
    assert products == runs.products_of(sound_run.workdir, sound)


def test_nothing_is_half_written(damaged_run):
    assert runs.leftovers(damaged_run.workdir) == []


def test_the_report_comes_out(damaged_run):
    assert (damaged_run.workdir / "results/report/index.html").exists()


@pytest.mark.parametrize("fault", WORKFLOW, ids=by_name)
def test_fault_costs_its_slide_alone(damaged_run, fault):
    row = damaged_run.rows[fault.slide]

    assert row["status"] == "failed"
    assert re.fullmatch(fault.stage, row["stage"])
    assert re.search(fault.says, row["reason"]), row["reason"]
    assert re.search(fault.hint, row["hint"]), row["hint"]
    assert f"FAILED {fault.slide} at {row['stage']}: " in damaged_run.terminal
    assert (damaged_run.workdir / f"logs/{row['stage']}/{fault.slide}.log").stat().st_size

    # The failed step and all later steps have no products.
    steps = [row["stage"], *STALE_AFTER[row["stage"]]]
    made = [product.format(slide=fault.slide) for step in steps for product in PRODUCTS[step]]
    assert [path for path in made if (damaged_run.workdir / path).exists()] == []


# -- the steps, called directly


@pytest.fixture(scope="session")
def options():
    """Return the options of a Visium slide by section, and its rows of the geometry table."""
    config = yaml.safe_load((runs.REPOSITORY / "config/config.yaml").read_text())
    table = settings.read_table(runs.REPOSITORY / "config/geometry.tsv")
    found = {
        section: settings.options(config, section, "Visium")
        for section in ("expression", "geometry", "tiles")
    }
    return found | {"table": settings.rows_for(table, "Bad_Slide", "Visium")}


@pytest.fixture
def chain(small_slide, tmp_path, options):
    """Return the steps for a copy of the small slide, as the scripts call them, in order."""
    dataset = shutil.copytree(small_slide, tmp_path / "dataset")
    kinds = {"counts": "count file", "coord": "coordinate file", "image": "image"}
    name, work = "Bad_Slide", tmp_path / "work"

    def need(kind):
        return require(name, kinds[kind], str(place(dataset, name, kind)))

    def count():
        count_expression.count_expression(
            need("counts"),
            need("coord"),
            work / "x.h5ad",
            slide=name,
            species="human",
            options=options["expression"],
        )

    def align():
        align_spots.align_spots(
            need("coord"),
            need("image"),
            work / "x.parquet",
            slide=name,
            tech="Visium",
            geometry=options["table"],
            override=None,
            options=options["geometry"],
        )

    def cut():
        cut_tiles.cut_tiles(
            need("image"),
            work / "x.parquet",
            read_spot_names(work / "x.h5ad"),
            work / "x.h5",
            slide=name,
            options=options["tiles"],
        )

    return dataset, {"count_expression": count, "align_spots": align, "cut_tiles": cut}


@pytest.mark.parametrize("fault", STEPS, ids=by_name)
def test_fault_is_a_slide_error_that_names_it(chain, tmp_path, fault):
    dataset, steps = chain
    fault.damage(place(dataset, "Bad_Slide", fault.file))

    with pytest.raises(SlideError) as caught:
        for step, run in steps.items():
            stage = step
            run()
    assert re.fullmatch(fault.stage, stage)
    assert caught.value.slide == "Bad_Slide"
    assert re.search(fault.says, caught.value.what), caught.value.what
    assert len(caught.value.what) < 1000
    assert re.search(fault.hint, caught.value.hint), caught.value.hint
    before = list(steps).index(stage)
    written = {path.name for path in (tmp_path / "work").glob("*")}
    assert written == set(["x.h5ad", "x.parquet"][:before])
