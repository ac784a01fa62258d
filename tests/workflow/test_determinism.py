"""The same data give the same bytes, for any cores, folder, locale and order of the slides."""

import shutil

import runs


def test_other_cores_folders_order_and_locale_give_the_same_bytes(sound_run, tmp_path):
    """The other run is on one core, in another folder, from data in another folder."""
    dataset = shutil.copytree(sound_run.dataset, tmp_path / "elsewhere" / "data")
    workdir = tmp_path / "elsewhere" / "run"
    last, *others = [row["slide"] for row in sound_run.rows][::-1]
    config = ["--config", f"dataset={dataset}"]
    # The first slide becomes the last one.
    first = runs.command(workdir, f"results/anndata/{last}.h5ad", *config, cores=4)
    surroundings = {"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "HOME": "/tmp"}
    done = runs.run(first, **surroundings)
    assert done.returncode == 0, done.stdout
    assert not (workdir / f"results/anndata/{others[0]}.h5ad").exists()
    done = runs.run(runs.command(workdir, *config, cores=4), **surroundings)
    assert done.returncode == 0, done.stdout

    here, there = runs.digests(workdir), runs.digests(sound_run.workdir)
    # They name the folder of the dataset, which differs.
    about = {"results/summary.json", "results/report/dataset.js", "results/report/cards.js"}
    assert {path for path in here | there if here.get(path) != there.get(path)} <= about
    for path in ("manifest.tsv", *(f"records/{row['slide']}.json" for row in sound_run.rows)):
        text = (workdir / "results" / path).read_text()
        assert str(tmp_path) not in text
        assert str(runs.REPOSITORY) not in text
    assert sorted(here) == sorted(there)


def test_dataset_is_left_as_it_was(sound_run):
    """No file was added. The fault table also runs over a dataset that cannot be written to."""
    suffixes = ("_count.csv", "_coord.csv", "_anno.csv", ".png", "bib.txt", "02122025.csv")
    files = [path for path in sound_run.dataset.rglob("*") if path.is_file()]
    assert len(files) == 3 * len(sound_run.rows) + 1 + 2
    assert all(path.name.endswith(suffixes) for path in files)
