"""Which changes make which steps of which slides run again, from dry runs."""

import re
import shutil
from pathlib import Path

import pytest
import runs

ST = "Demo_Breast_ST"
REPORT = {"build_manifest", "build_report"}
OVER_ALL = REPORT | {"relate_slides", "make_splits", "choose_panel", "draw_collection"}
AFTER = {"build_anndata", "fingerprint_slide", "draw_slide"}
DEMO = Path("resources/demo")


def change_number(path):
    path.write_text(path.read_text().replace(",3,", ",4,", 1))


def change_label(path):
    path.write_text(path.read_text().replace("undetermined", "gland", 1))


def change_pixels(path):
    path.write_bytes(path.read_bytes() + b"\0")


def planned(done):
    """Return the steps and the slides that a dry run names; it indents the jobs of a group."""
    assert done.returncode == 0, done.stdout
    rule = r"^ *(?:local)?rule (\w+):\n(?: +.*\n)*? +log: logs/(?:\w+/)?(.+)\.log\n"
    jobs = re.findall(rule, done.stdout, re.MULTILINE)
    # Other tests check the inputs of the arrays, which do not include counts.
    jobs = [(step, slide) for step, slide in jobs if step != "calibrate_arrays"]
    return {step for step, _ in jobs}, {slide for step, slide in jobs if step not in OVER_ALL}


@pytest.mark.parametrize(
    ("file", "change", "steps"),
    [
        (f"ST/gene_exp/{ST}_count.csv", change_number, {"count_expression", "cut_tiles"}),
        (f"ST/image/{ST}.png", change_pixels, {"align_spots", "cut_tiles"}),
        (f"annotation/{ST}_anno.csv", change_label, set()),
    ],
    ids=["counts", "image", "annotation"],
)
def test_changed_file_runs_the_steps_that_read_it(demo_copy, run_workflow, file, change, steps):
    before = (demo_copy / DEMO / file).read_bytes()
    change(demo_copy / DEMO / file)
    assert (demo_copy / DEMO / file).read_bytes() != before
    found = planned(run_workflow(demo_copy, "-n"))
    assert found == (steps | AFTER | OVER_ALL, {ST})


@pytest.mark.parametrize(
    ("option", "name", "edit"),
    [
        ("table", "geometry.tsv", lambda text: text.replace("ST\tsquare\t200", "ST\tsquare\t201")),
        ("overrides", "overrides.tsv", lambda text: f"{text}{ST}\tno\tno\t1\t2\t0\n"),
    ],
)
def test_row_of_a_table_runs_the_slides_it_speaks_of(
    demo_copy, tmp_path, run_workflow, option, name, edit
):
    """An equal table with another name re-runs nothing; a changed row re-runs its slides."""
    own = tmp_path / name
    shutil.copy(runs.REPOSITORY / "config" / name, own)
    config = ["-n", "--config", f"geometry={{{option}: {own}}}"]
    assert planned(run_workflow(demo_copy, *config)) == (set(), set())
    text = own.read_text()
    own.write_text(edit(text))
    assert own.read_text() != text
    found = planned(run_workflow(demo_copy, *config))
    assert found == ({"align_spots", "cut_tiles"} | AFTER | OVER_ALL, {ST})


def test_fresh_clone_runs_nothing_and_a_raised_revision_its_step(demo_copy, tmp_path):
    clone = tmp_path / "clone"
    clone.mkdir()
    for part in ("Snakefile", "rules", "scripts", "config", "profiles", "envs", "report"):
        source = runs.REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, clone / part, copy_function=shutil.copyfile)
        elif source.exists():
            shutil.copyfile(source, clone / part)
    words = [*runs.command(demo_copy, "-n"), "-s", str(clone / "Snakefile")]
    assert planned(runs.run(words)) == (set(), set())

    code = clone / "scripts/st1k4m/run/steps.py"
    code.write_text(code.read_text() + '\nREVISIONS["cut_tiles"] += 1\n')
    steps, slides = planned(runs.run(words))
    assert steps == {"cut_tiles"} | AFTER | OVER_ALL
    assert len(slides) == 4


@pytest.mark.parametrize(
    ("product", "steps"),
    [
        (f"results/tiles/{ST}.h5", {"cut_tiles", *AFTER, *OVER_ALL}),
        (f"results/ledger/{ST}.parquet", {*AFTER, *OVER_ALL}),
        (f"results/overlay/{ST}.jpg", {"draw_slide", *REPORT}),
    ],
    ids=["tiles", "ledger", "overlay"],
)
def test_lost_product_is_made_again(demo_copy, run_workflow, product, steps):
    (demo_copy / product).unlink()
    assert planned(run_workflow(demo_copy, "-n")) == (steps, {ST})
