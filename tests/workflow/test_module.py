"""Another workflow imports this one with ``module``, from another folder."""

import pytest
import runs
from places import REPOSITORY

# The importing workflow: ten lines, with one rule that reads the last products.
SNAKEFILE = """
config.setdefault("dataset", {dataset!r})

module st1k4m:
    snakefile: "{repository}/Snakefile"
    config: config

use rule * from st1k4m{renamed}

rule list_slides:
    default_target: True
    input: rules.{all}.input
    output: "slides.txt"
    shell: "ls results/anndata > {{output}}"
"""


@pytest.fixture
def importing(tmp_path):
    """Return a function that writes the workflow and returns its folder."""

    def write(dataset, renamed=False):
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        words = {
            "dataset": str(dataset),
            "repository": REPOSITORY,
            "renamed": " as st1k4m_*" if renamed else "",
            "all": "st1k4m_all" if renamed else "all",
        }
        (folder / "Snakefile").write_text(SNAKEFILE.format(**words))
        return folder

    return write


def words_of(folder, *arguments):
    """Return the command line of a run of the importing workflow in its folder."""
    words = runs.command(folder, *arguments)
    words[words.index("-s") + 1] = str(folder / "Snakefile")
    return words


@pytest.mark.parametrize("renamed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_importing_workflow_makes_the_same_products_and_its_own(sound_run, importing, renamed):
    folder = importing(sound_run.dataset, renamed)
    done = runs.run(words_of(folder))
    assert done.returncode == 0, done.stdout
    assert runs.digests(folder) == runs.digests(sound_run.workdir)
    slides = sorted(path.name for path in (sound_run.workdir / "results/anndata").iterdir())
    assert (folder / "slides.txt").read_text().split() == slides


@pytest.mark.slow
def test_demo_comes_out_to_the_last_product(demo_run, importing):
    folder = importing("demo")
    done = runs.run(words_of(folder))
    assert done.returncode == 0, done.stdout
    assert runs.digests(folder) == runs.digests(demo_run)
    assert len((folder / "slides.txt").read_text().split()) == 4


def test_importing_workflow_keeps_its_engine_and_its_configuration(sound_run, importing):
    folder = importing(sound_run.dataset)
    with open(folder / "Snakefile", "a") as file:
        file.write(
            "import sys\n"
            "import snakemake.jobs, snakemake.io\n"
            "assert snakemake.jobs.wait_for_files is snakemake.io.wait_for_files\n"
            "assert 'engine' not in sys.modules\n"
            "assert sorted(config) == ['dataset']\n"
        )
    done = runs.run(words_of(folder, "-n"))
    assert done.returncode == 0, done.stdout


def test_options_of_the_importing_workflow_hold(sound_run, importing):
    folder = importing(sound_run.dataset)
    done = runs.run(words_of(folder, "-n", "--config", "tiles={size: huge}"))
    assert done.returncode != 0
    assert "tiles.size" in done.stdout


def test_prefix_of_paths_is_refused_in_a_sentence(sound_run, importing):
    folder = importing(sound_run.dataset)
    text = (folder / "Snakefile").read_text()
    (folder / "Snakefile").write_text(
        text.replace("config: config\n", 'config: config\n    prefix: "st1k4m"\n')
    )
    done = runs.run(words_of(folder, "-n"))
    assert done.returncode != 0
    assert "remove `prefix` and " in done.stdout
    assert "Traceback" not in done.stdout


def test_importing_workflow_can_write_manifest_and_report_after_a_failure(make_dataset, importing):
    dataset = make_dataset([{"slide": "Good", "spots": 60}, {"slide": "Bad", "spots": 60}])
    next(dataset.rglob("Bad.png")).unlink()
    folder = importing(dataset, renamed=True)
    with open(folder / "Snakefile", "a") as file:
        file.write("\nonstart:\n    st1k4m.begin()\n")
        file.write("\nonerror:\n    st1k4m.end(failed=True)\n")
    words = words_of(folder, "--workflow-profile", REPOSITORY / "profiles/default")
    done = runs.run([str(word) for word in words])
    assert done.returncode != 0
    assert "Slides: 1 done, 1 failed" in done.stdout
    manifest = (folder / "results/manifest.tsv").read_text()
    assert "\nBad\tfailed\t" in manifest
    assert (folder / "results/report/index.html").exists()
