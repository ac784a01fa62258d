"""A re-run runs the necessary jobs and no others."""

import os

import pytest

DEMO = ("Demo_Brain_Visium", "Demo_Breast_ST", "Demo_Colon_VisiumHD", "Demo_v1.2+crop_Visium")
OVER_ALL = {"build_manifest", "build_report", "relate_slides", "make_splits", "choose_panel"}
OVER_ALL |= {"draw_collection"}
# Other tests check the inputs of the arrays.
ELSEWHERE = {"calibrate_arrays"}


def steps(jobs):
    return {rule for rule, _ in jobs} - {"all"} - ELSEWHERE


def test_nothing_to_do(demo_copy, run_workflow, jobs_of):
    done = run_workflow(demo_copy)
    assert done.returncode == 0, done.stdout
    assert jobs_of(done.stdout) == set()
    assert "Nothing to be done" in done.stdout


def test_other_cores_and_touched_small_inputs_run_nothing(demo_copy, run_workflow, jobs_of):
    for path in (demo_copy / "resources/demo").rglob("*_coord.csv"):
        os.utime(path)
    done = run_workflow(demo_copy, cores=1)
    assert done.returncode == 0, done.stdout
    assert jobs_of(done.stdout) == set()


def test_tile_option_runs_tiles_and_what_follows(demo_copy, run_workflow, jobs_of):
    done = run_workflow(demo_copy, "--config", "tiles={size: 32}")
    assert done.returncode == 0, done.stdout
    assert steps(jobs_of(done.stdout)) == {
        "cut_tiles",
        "build_anndata",
        "fingerprint_slide",
        "draw_slide",
        *OVER_ALL,
    }


def test_option_of_a_technology_runs_only_its_slides(demo_copy, run_workflow, jobs_of):
    done = run_workflow(demo_copy, "--config", "technologies={ST: {geometry: {max_outside: 0.5}}}")
    assert done.returncode == 0, done.stdout
    jobs = jobs_of(done.stdout)
    assert {slide for rule, slide in jobs if rule not in OVER_ALL | ELSEWHERE} == {"Demo_Breast_ST"}
    assert "count_expression" not in steps(jobs)
    assert "align_spots" in steps(jobs)


@pytest.mark.parametrize(
    ("kind", "folder", "ran"),
    [("_coord.csv", "coord", {"count_expression", "align_spots"})],
)
def test_changed_file_runs_what_reads_it(demo_copy, run_workflow, jobs_of, kind, folder, ran):
    path = demo_copy / f"resources/demo/ST/{folder}/Demo_Breast_ST{kind}"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    done = run_workflow(demo_copy)
    assert done.returncode == 0, done.stdout
    jobs = jobs_of(done.stdout)
    assert {slide for rule, slide in jobs if rule not in OVER_ALL | ELSEWHERE} == {"Demo_Breast_ST"}
    after = {"cut_tiles", "build_anndata", "fingerprint_slide", "draw_slide"}
    assert steps(jobs) == ran | after | OVER_ALL


@pytest.mark.slow
def test_slide_added_to_a_folder_runs_alone(tmp_path, make_dataset, run_workflow, jobs_of):
    slides = [{"slide": "Demo_A", "spots": 60, "genes": 80}]
    folder = make_dataset(slides)
    workdir = tmp_path / "run"
    first = run_workflow(workdir, "--config", f"dataset={folder}")
    assert first.returncode == 0, first.stdout

    make_dataset([*slides, {"slide": "Demo_B", "spots": 60, "genes": 80, "seed": 1}])
    unseen = run_workflow(workdir, "--config", f"dataset={folder}")
    assert jobs_of(unseen.stdout) == set()

    second = run_workflow(workdir, "--config", f"dataset={folder}", "refresh=true")
    assert second.returncode == 0, second.stdout
    assert {
        slide for rule, slide in jobs_of(second.stdout) if rule not in OVER_ALL | ELSEWHERE
    } == {"Demo_B"}
    assert steps(jobs_of(second.stdout)) >= OVER_ALL - {"choose_panel"}
