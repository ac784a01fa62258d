"""Products that do not belong together are never joined, and wrong products are made again."""

import json
import os
import shutil
import signal
import time

import anndata
import h5py
import pytest
import runs
from st1k4m.collection import build_manifest
from st1k4m.run.products import is_damaged, read_made

A, ST = "Sound_1.0+A", "Sound_ST"


@pytest.fixture
def workdir(sound_run, tmp_path):
    """Return a copy of a finished run."""
    return shutil.copytree(sound_run.workdir, tmp_path / "run", symlinks=True)


def words_of(sound_run, workdir, *config):
    return runs.command(workdir, "--config", f"dataset={sound_run.dataset}", *config)


def states(workdir):
    rows = build_manifest.read_manifest(workdir / "results/manifest.tsv")
    return {row["slide"]: row["status"] for row in rows}


def assert_that_products_agree(workdir, slide):
    """Check without the workflow's functions that tiles belong to the spots and to the record."""
    adata = anndata.read_h5ad(workdir / f"results/anndata/{slide}.h5ad")
    record = json.loads((workdir / f"results/records/{slide}.json").read_text())
    with h5py.File(workdir / f"results/tiles/{slide}.h5") as store:
        assert [name.decode() for name in store["barcode"][:, 0]] == adata.obs_names.tolist()
        assert store.attrs["patch_size_target"] == record["tiles"]["patch_size_target"]
        assert json.loads(store.attrs["made"]) == record["made"]["cut_tiles"]
    with h5py.File(workdir / f"results/anndata/{slide}.h5ad") as file:
        assert json.loads(file.attrs["made"]) == record["made"]["build_anndata"]


def test_a_job_that_outlives_its_driver_puts_nothing_in_place(sound_run, workdir, tmp_path):
    """Earlier, a store with other options was put in place, then "Nothing to be done" printed."""
    product = f"results/tiles/{ST}.h5"
    (workdir / product).unlink()
    markers, words = tmp_path / "markers", words_of(sound_run, workdir)
    first = [*words, "tiles={size: 20}"]
    process = runs.start(first, interruptions={product: "wait"}, markers=markers)
    marker = markers / os.path.basename(product)
    runs.wait_for(marker, process)
    os.kill(process.pid, signal.SIGKILL)
    assert runs.run([*words, "--unlock"]).returncode == 0
    again = runs.run(words)
    assert again.returncode == 0, again.stdout
    log = (workdir / f"logs/cut_tiles/{ST}.log").read_text()

    marker.unlink()
    runs.finish(process)  # its output is a pipe, which the job closes when it ends
    assert runs.digests(workdir) == runs.digests(sound_run.workdir)
    assert (workdir / f"logs/cut_tiles/{ST}.log").read_text() == log
    assert_that_products_agree(workdir, ST)


def test_a_job_that_starts_after_another_run_began_touches_nothing(sound_run, workdir):
    """The queue of a cluster may start a job late."""
    before = runs.digests(workdir)
    (workdir / ".snakemake/st1k4m_run").write_text("another")
    code = (
        "from st1k4m.run import job\n"
        f"with job.run('cut_tiles', '{ST}', 'logs/cut_tiles/{ST}.log'): print('worked')"
    )
    words = [shutil.which("env"), f"PYTHONPATH={runs.REPOSITORY / 'scripts'}", "ST1K4M_RUN=mine"]
    done = runs.run(
        [
            "sh",
            "-c",
            'cd "$1" && shift && exec "$@"',
            "sh",
            str(workdir),
            *words,
            runs.sys.executable,
            "-c",
            code,
        ]
    )
    assert done.returncode == 1
    assert "another run began" in done.stdout
    assert runs.digests(workdir) == before


@pytest.mark.slow
def test_a_product_of_other_options_is_refused_by_name_and_made_again(sound_run, workdir, tmp_path):
    other = tmp_path / "other"
    done = runs.run(words_of(sound_run, other, "tiles={size: 20}", f"select={{slides: [{ST}]}}"))
    assert done.returncode == 0, done.stdout
    store = f"results/tiles/{ST}.h5"
    words = words_of(sound_run, workdir)
    shutil.copyfile(other / store, workdir / store)  # newer than the record
    first = runs.run(words)
    assert first.returncode != 0
    assert f"{store} was made with other options" in first.stdout
    assert "run the same command again" in first.stdout
    again = runs.run(words)
    assert again.returncode == 0, again.stdout
    assert runs.digests(workdir) == runs.digests(sound_run.workdir)
    assert_that_products_agree(workdir, ST)
    assert states(workdir) == {A: "done", ST: "done"}


@pytest.mark.parametrize(
    "suffix", ["_count.csv", pytest.param("_coord.csv", marks=pytest.mark.slow)]
)
def test_a_file_replaced_by_an_older_one_is_seen(sound_run, workdir, tmp_path, suffix):
    dataset = shutil.copytree(sound_run.dataset, tmp_path / "dataset")
    fresh = tmp_path / "fresh"
    words = runs.command(fresh, "--config", f"dataset={dataset}")
    assert runs.run(words).returncode == 0
    (path,) = dataset.rglob(f"{ST}{suffix}")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-3]))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    done = runs.run(words)
    assert done.returncode == 0, done.stdout
    kept = json.loads((fresh / f"results/records/{ST}.json").read_text())["spots"]
    assert kept["in_counts" if "count" in suffix else "in_coord"] == len(lines) - 4
    assert "Nothing to be done" in runs.run([*words, "-n"]).stdout


@pytest.mark.slow
def test_images_swapped_by_their_names_are_seen(sound_run, tmp_path):
    dataset = shutil.copytree(sound_run.dataset, tmp_path / "dataset", copy_function=shutil.copy2)
    words = runs.command(tmp_path / "run", "--config", f"dataset={dataset}")
    assert runs.run(words).returncode == 0
    first, second = sorted(dataset.rglob("image/*.png"))
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    planned = runs.run([*words, "-n"]).stdout
    assert planned.count("rule cut_tiles:") == 2


def test_finished_slides_stay_done_without_work(sound_run, workdir):
    shutil.rmtree(workdir / "work")
    (workdir / f"results/overlay/{A}.jpg").unlink()
    done = runs.run(words_of(sound_run, workdir))
    assert done.returncode == 0, done.stdout
    assert states(workdir) == {A: "done", ST: "done"}


def test_changed_options_are_seen_without_snakemakes_records(sound_run, workdir):
    shutil.rmtree(workdir / ".snakemake")
    words = words_of(sound_run, workdir)
    assert "Nothing to be done" in runs.run([*words, "-n"]).stdout
    done = runs.run([*words, "expression={min_genes: 3}"])
    assert done.returncode == 0, done.stdout
    assert "2 slides were made with other options" in done.stdout
    assert "min_genes 1, now 3" in done.stdout
    for slide in (A, ST):
        record = json.loads((workdir / f"results/records/{slide}.json").read_text())
        assert record["parameters"]["expression"]["min_genes"] == 3
        assert_that_products_agree(workdir, slide)


@pytest.mark.parametrize(
    "option",
    [
        "-n",
        *(
            pytest.param(option, marks=pytest.mark.slow)
            for option in (
                "--list-rules",
                "--summary",
                "--dag",
                "--rulegraph",
                "--unlock",
                "--touch",
            )
        ),
    ],
)
def test_refresh_changes_nothing_but_in_a_run(sound_run, workdir, option):
    path = workdir / "resources/catalogue.tsv"
    text = path.read_text().replace("# note:", "# note: old,", 1)
    path.write_text(text)
    runs.run([*words_of(sound_run, workdir, "refresh=true"), option])
    assert path.read_text() == text


def test_refresh_waits_for_the_lock(sound_run, workdir, tmp_path):
    """Earlier, a run that did not get the lock replaced the catalogue of the active run."""
    product = f"work/spots/{ST}.parquet"
    (workdir / product).unlink()
    markers, words = tmp_path / "markers", words_of(sound_run, workdir)
    process = runs.start(
        [*words, "--forcerun", "align_spots"], interruptions={product: "wait"}, markers=markers
    )
    runs.wait_for(markers / os.path.basename(product), process)
    path = workdir / "resources/catalogue.tsv"
    before = path.stat().st_mtime_ns
    refused = runs.run([*words, "refresh=true"])
    assert refused.returncode != 0
    assert path.stat().st_mtime_ns == before
    (markers / os.path.basename(product)).unlink()
    assert runs.finish(process).returncode == 0


def test_everything_that_is_lost_is_made_again(sound_run, workdir):
    lost = [
        "results/citations.bib",
        "results/report/core.js",
        "results/report/report.css",
        f"results/report/slides/{ST}.js",
        f"results/report/thumbs/{ST}.jpg",
        f"results/report/tissue/{A}.jpg",
        f"results/report/tiles/{A}.jpg",
    ]
    for path in lost:
        (workdir / path).unlink()
    done = runs.run(words_of(sound_run, workdir))
    assert done.returncode == 0, done.stdout
    assert runs.digests(workdir) == runs.digests(sound_run.workdir)


def test_a_run_asks_for_the_tars_too(sound_run, workdir):
    planned = runs.run([*words_of(sound_run, workdir, "tiles={format: png}"), "-n"]).stdout
    assert planned.count("rule pack_tiles:") == 2


def test_products_of_slides_that_are_not_selected_are_said_and_removed(sound_run, workdir):
    words = words_of(sound_run, workdir, f"select={{slides: [{ST}]}}")
    said = f"has products of 1 slides that are not selected, such as {A}"
    assert said in runs.run(words).stdout
    words.insert(words.index("--config"), "remove_leftovers")
    done = runs.run(words)
    assert f"{A}: work/expression/{A}.h5ad, " in done.stdout
    assert said not in done.stdout
    assert runs.products_of(workdir, {A}) == {}
    manifest = workdir / "results/manifest.tsv"
    assert "remove_leftovers" in manifest.read_text()
    words.remove("remove_leftovers")
    assert said not in runs.run(words).stdout
    assert "remove_leftovers" not in manifest.read_text()
    wanted = runs.products_of(sound_run.workdir, {ST})
    assert runs.products_of(workdir, {ST}) == wanted


def test_a_target_of_an_unknown_slide_is_refused_in_a_sentence(sound_run, workdir):
    words = words_of(sound_run, workdir)
    words.insert(words.index("--config"), "results/anndata/Sound_TS.h5ad")
    done = runs.run(words)
    assert done.returncode != 0
    assert "slide 'Sound_TS' is not in the catalogue" in done.stdout
    assert f"did you mean {ST}?" in done.stdout
    assert "KeyError" not in done.stdout


@pytest.mark.slow
def test_an_input_dated_in_the_future_is_no_failure(sound_run, tmp_path):
    dataset = shutil.copytree(sound_run.dataset, tmp_path / "dataset")
    for path in dataset.rglob("*_coord.csv"):
        os.utime(path, (time.time() + 900,) * 2)
    words = runs.command(tmp_path / "run", "--config", f"dataset={dataset}")
    done = runs.run(words)
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in runs.run(words).stdout


def test_closing_lines_are_of_this_run(sound_run, workdir):
    shutil.rmtree(workdir / "results/anndata")
    done = runs.run(
        [*words_of(sound_run, workdir), "--until", "cut_tiles", "--forcerun", "cut_tiles"]
    )
    assert done.returncode == 0, done.stdout
    assert "Slides: 0 done, 0 failed, 0 excluded, 0 not selected, 2 not finished." in done.stdout


@pytest.mark.parametrize(
    "product", [f"work/expression/{ST}.h5ad", f"work/spots/{ST}.parquet", f"results/tiles/{ST}.h5"]
)
def test_a_truncated_product_is_named_removed_and_made_again(sound_run, workdir, product):
    path = workdir / product
    times = path.stat()
    os.truncate(path, path.stat().st_size // 2)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    words = words_of(sound_run, workdir)
    first = runs.run([*words, "--forcerun", "build_anndata"])
    assert first.returncode != 0
    assert f"damaged, because it cannot be opened: {product}" in first.stdout
    assert not path.exists()
    again = runs.run(words)
    assert again.returncode == 0, again.stdout
    assert runs.digests(workdir) == runs.digests(sound_run.workdir)


@pytest.mark.parametrize(
    "product",
    [
        f"work/expression/{ST}.h5ad",
        f"work/spots/{ST}.parquet",
        f"work/fingerprints/{ST}.npz",
        f"results/tiles/{ST}.h5",
        f"results/anndata/{ST}.h5ad",
        f"results/ledger/{ST}.parquet",
        f"results/records/{ST}.json",
        f"results/report/slides/{ST}.js",
    ],
)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_product_that_was_cut_short_counts_as_damaged(sound_run, tmp_path, product, share):
    path = shutil.copy2(sound_run.workdir / product, tmp_path)
    assert not is_damaged(path)
    os.truncate(path, int(os.path.getsize(path) * share))
    assert is_damaged(path)


def test_a_looping_link_in_the_dataset_is_no_file(sound_run, tmp_path):
    dataset = shutil.copytree(sound_run.dataset, tmp_path / "dataset")
    (dataset / "ST/image/loop.png").symlink_to(dataset / "ST/image/loop.png")
    done = runs.run(runs.command(tmp_path / "run", "-n", "--config", f"dataset={dataset}"))
    assert done.returncode == 0, done.stdout


def test_standard_output_may_be_closed(sound_run, tmp_path):
    words = words_of(sound_run, tmp_path / "run", f"select={{slides: [{ST}]}}")
    done = runs.run(["sh", "-c", 'exec "$@" >&-', "sh", *words])
    assert done.returncode == 0, done.stdout


def test_a_path_with_braces_is_refused_in_a_sentence(tmp_path):
    folder = tmp_path / "data {x}"
    folder.mkdir()
    done = runs.run(runs.command(tmp_path / "run", "-n", "--config", f"dataset={folder}"))
    assert done.returncode != 0
    assert "has braces, which Snakemake reads as wildcards; rename the folder" in done.stdout


def test_products_carry_what_they_were_made_from(sound_run):
    origins = runs.assert_that_products_match_the_record(sound_run.workdir, ST)
    picture = read_made(sound_run.workdir / f"results/overlay/{ST}.jpg")
    assert picture.reads == {
        "build_anndata": origins["build_anndata"].digest,
        "cut_tiles": origins["cut_tiles"].digest,
    }
