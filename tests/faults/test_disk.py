"""Full disks, forbidden folders and lost files: the slide fails, no product is damaged."""

import shutil

import pytest
import runs
from st1k4m.collection import build_manifest

A, ST = "Sound_1.0+A", "Sound_ST"
TILES = f"results/tiles/{ST}.h5"


@pytest.fixture
def workdir(sound_run, tmp_path):
    """Return a copy of a finished run without one tile store."""
    workdir = shutil.copytree(sound_run.workdir, tmp_path / "run", symlinks=True)
    (workdir / TILES).unlink()
    return workdir


def rows(workdir):
    return {
        row["slide"]: row for row in build_manifest.read_manifest(workdir / "results/manifest.tsv")
    }


def test_no_space_for_one_slide_costs_that_slide(sound_run, tmp_path):
    tiles = tmp_path / "run/results/tiles"
    tiles.mkdir(parents=True)
    runs.need_mounts(tiles)
    size = {
        slide: (sound_run.workdir / f"results/tiles/{slide}.h5").stat().st_size for slide in (A, ST)
    }
    assert size[A] + 2**15 < size[ST]
    words = runs.command(tmp_path / "run", "--config", f"dataset={sound_run.dataset}", cores=1)
    done = runs.run(runs.mounted([f"-t tmpfs -o size={size[A] + 2**15} none {tiles}"], words))

    assert done.returncode != 0
    assert f"FAILED {ST} at cut_tiles: no space is left on the disk" in done.stdout
    assert "Traceback" not in done.stdout
    row = rows(tmp_path / "run")[ST]
    assert (row["status"], row["stage"]) == ("failed", "cut_tiles")
    assert row["hint"].startswith("free some space")
    for path, digest in runs.products_of(tmp_path / "run", {A}).items():
        assert runs.digests(sound_run.workdir)[path] == digest


@pytest.mark.slow
def test_full_disk_halves_nothing_and_the_same_command_goes_on(sound_run, tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    runs.need_mounts(workdir)
    words = runs.command(".", "--config", f"dataset={sound_run.dataset}")
    listing = "find results work -type f ! -name run.js -exec sha256sum {} +"
    script = (
        'cd "$0"; "$@"; echo "first ended with $?"; '
        f'{listing}; mount -o remount,size=50m "$0"; "$@"; echo "second ended with $?"; {listing}'
    )
    mount = f"-t tmpfs -o size=600k none {workdir}"
    done = runs.run(runs.mounted([mount], ["sh", "-c", script, str(workdir), *words]))

    first, second = done.stdout.split("first ended with ")[1].split("second ended with ")
    assert not first.startswith("0")
    assert "no space is left on the disk" in done.stdout
    assert "Traceback" not in done.stdout
    sound = runs.digests(sound_run.workdir)
    made = dict(line.split("  ")[::-1] for line in first.splitlines() if "  results/" in line)
    # The report and the tables of a failed run differ.
    made = {path: made[path] for path in made if path.count("/") > 1 and "report" not in path}
    assert made
    assert made == {path: sound[path] for path in made}
    assert second.startswith("0"), done.stdout
    assert dict(line.split("  ")[::-1] for line in second.splitlines()[1:] if "  " in line) == sound


def test_full_disk_before_the_first_job_is_said_in_a_sentence(sound_run, tmp_path):
    runs.need_mounts(tmp_path)
    words = runs.command(".", "--config", f"dataset={sound_run.dataset}")
    script = 'cd "$0"; "$@" --dry-run --quiet all; dd if=/dev/zero of=filler; "$@"'
    mount = f"-t tmpfs -o size=200k none {tmp_path}"
    done = runs.run(runs.mounted([mount], ["sh", "-c", script, str(tmp_path), *words]))
    assert done.returncode != 0
    assert f"the working directory, {tmp_path}, cannot be locked" in done.stdout
    assert "free some space; then run the same command again" in done.stdout
    assert "Traceback" not in done.stdout


def test_forbidden_folder_costs_the_slide_that_needs_it(sound_run, workdir):
    runs.need_permissions()
    folder = workdir / "results/tiles"
    folder.chmod(0o555)
    words = [*runs.AS_USER, *runs.command(workdir, "--config", f"dataset={sound_run.dataset}")]
    failed = runs.run(words)

    assert failed.returncode != 0
    assert "Traceback" not in failed.stdout
    row = rows(workdir)[ST]
    assert (row["status"], row["stage"]) == ("failed", "cut_tiles")
    assert row["reason"].startswith(f"permission was denied: results/tiles/.{ST}.h5")
    assert "writable" in row["hint"]
    assert runs.products_of(workdir, {A}) == runs.products_of(sound_run.workdir, {A})

    folder.chmod(0o755)
    done = runs.run(words)
    assert done.returncode == 0, done.stdout
    assert runs.digests(workdir) == runs.digests(sound_run.workdir)


def test_forbidden_working_directory_is_said_in_one_message(sound_run, tmp_path):
    runs.need_permissions()
    tmp_path.chmod(0o555)
    words = runs.command(tmp_path, "--config", f"dataset={sound_run.dataset}")
    done = runs.run([*runs.AS_USER, *words])
    assert done.returncode != 0
    assert f"the working directory {tmp_path} must be writable" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_file_that_vanishes_during_the_run_costs_its_slide(sound_run, tmp_path):
    dataset = shutil.copytree(sound_run.dataset, tmp_path / "dataset")
    image, spots = dataset / f"ST/image/{ST}.png", f"work/spots/{A}.parquet"
    words = runs.command(tmp_path / "run", "--config", f"dataset={dataset}")
    interruptions = {
        f"work/spots/{ST}.parquet": f"lose {image}",
        f"results/tiles/{A}.h5": f"lose {spots}",
    }
    failed = runs.run(words, interruptions=interruptions, markers=tmp_path / "markers")

    assert failed.returncode != 0
    assert "Traceback" not in failed.stdout
    found = rows(tmp_path / "run")
    assert (found[ST]["stage"], found[A]["stage"]) == ("cut_tiles", "build_anndata")
    assert found[ST]["reason"] == f"the image is missing: {image}"
    assert found[A]["reason"] == f"a file vanished while it was used: {spots}"
    assert runs.leftovers(tmp_path / "run") == []

    image.parent.mkdir(exist_ok=True)  # Snakemake removes the empty folder of a lost input
    shutil.copy2(sound_run.dataset / f"ST/image/{ST}.png", image)
    done = runs.run(words)
    assert done.returncode == 0, done.stdout
    slides = {A, ST}
    assert runs.products_of(tmp_path / "run", slides) == runs.products_of(sound_run.workdir, slides)
