"""Faults of the dataset's table or of the configuration are reported before any job runs."""

import re
import shutil

import pytest
import runs
from st1k4m.demo import dataset as demo

META = "meta/meta_all_gene02122025.csv"
OVERRIDES = b"slide\tswap\tscale\tflip\tshift_x\tshift_y\n"


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Return a dataset of one slide: copy it, do not change it."""
    folder = tmp_path_factory.mktemp("dataset")
    demo.make_dataset(folder, [{"slide": "Demo_A", "spots": 60, "genes": 40, "um_per_px": 8.0}])
    return folder


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def edit(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


# The change of the dataset, the arguments of the command, and the expected message.
FAULTS = {
    "meta: missing": (lambda data: (data / META).unlink(), [], "one meta table"),
    "meta: empty": (lambda data: write(data / META, b""), [], "line 1: no column slide"),
    "meta: cut in a quote": (
        lambda data: write(data / META, (data / META).read_bytes()[:-2]),
        [],
        r"line 2: .*fix the quotes",
    ),
    "meta: not UTF-8": (
        lambda data: edit(data / META, b"Demo_A", b"Demo_\xff"),
        [],
        r"byte \d+ is not UTF-8",
    ),
    "meta: error page": (
        lambda data: write(data / META, b"<html>503</html>\n"),
        [],
        "line 1: no column slide",
    ),
    "meta: unknown technology": (
        lambda data: edit(data / META, b'"Visium"', b'"Xenium"'),
        [],
        "line 2: tech 'Xenium' is not one of ST, Visium, VisiumHD",
    ),
    "meta: name that leaves the folder": (
        lambda data: edit(data / META, b"Demo_A", b"../../Demo_A"),
        [],
        r"line 2: slide '\.\./\.\./Demo_A' is not a plain file name",
    ),
    "meta: name that is a command": (
        lambda data: edit(data / META, b"Demo_A", b"$(touch x)"),
        [],
        r"line 2: slide '\$\(touch x\)' is not a plain file name",
    ),
    "meta: oversized name": (
        lambda data: edit(data / META, b"Demo_A", b"D" * 5000),
        [],
        "line 2: slide .* is longer than 200 bytes",
    ),
    "dataset: missing": (shutil.rmtree, [], "there is no folder"),
    "dataset: malformed address": (
        lambda data: None,
        ["dataset=hf://somewhere"],
        "hf://datasets/OWNER/NAME@REVISION",
    ),
    "config: number for a name": (
        lambda data: None,
        ["dataset=0123"],
        "dataset: found 123, expected string",
    ),
    "config: unknown option": (
        lambda data: None,
        ["tiles={sise: 224}"],
        r"tiles\.sise: no such option; did you mean tiles\.size\?",
    ),
    "config: hostile extent": (
        lambda data: None,
        ["tiles={extent: __import__('os')}"],
        r"tiles\.extent: found .*, expected spot or micrometres",
    ),
    "config: unknown slide": (
        lambda data: None,
        ["exclude={Demo_B: lost}"],
        "exclude: 'Demo_B' is not in the catalogue; the catalogue has Demo_A",
    ),
    "config: missing table": (
        lambda data: None,
        ["geometry={overrides: /nowhere.tsv}"],
        r"/nowhere\.tsv: cannot be read",
    ),
    "config: broken table": (
        lambda data: write(data / "own.tsv", OVERRIDES + b"Demo_A\n"),
        ["geometry={overrides: DATASET/own.tsv}"],
        r"own\.tsv, line 2: 1 fields where the header has 6",
    ),
    "config: override of no slide": (
        lambda data: write(data / "own.tsv", OVERRIDES + b"Demo_B\tno\t1\tno\t0\t0\n"),
        ["geometry={overrides: DATASET/own.tsv}"],
        r"own\.tsv, line 2: slide 'Demo_B' is not in the catalogue; did you mean Demo_A\?",
    ),
    "config: table without its columns": (
        lambda data: write(data / "own.tsv", b"applies_to\tlattice\n"),
        ["geometry={table: DATASET/own.tsv}"],
        r"own\.tsv, line 1: no column pitch_um, spot_um, drawn_um, source",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_ends_the_run_before_it_begins(dataset, tmp_path, fault):
    damage, config, says = FAULTS[fault]
    data = shutil.copytree(dataset, tmp_path / "dataset")
    damage(data)
    config = [word.replace("DATASET", str(data)) for word in config]
    done = runs.run(runs.command(tmp_path / "run", "--config", f"dataset={data}", *config))

    assert done.returncode != 0
    assert re.search(says, done.stdout), done.stdout
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "run/results").exists()
    assert not (tmp_path / "run/x").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda text: text[: len(text) // 2], "fix it, or run with refresh", id="cut"),
        pytest.param(lambda text: b"", "no header row; fix it, or run with refresh", id="empty"),
        pytest.param(
            lambda text: text.replace(b"Demo_A\tVisium", b"../Demo_A\tVisium"),
            r"'\.\./Demo_A' is not a plain file name; fix it",
            id="name that leaves the folder",
        ),
    ],
)
def test_damaged_catalogue_is_refused(dataset, tmp_path, damage, says):
    words = runs.command(tmp_path, "--config", f"dataset={dataset}")
    assert runs.run([*words, "-n"]).returncode == 0
    path = tmp_path / "resources/catalogue.tsv"
    path.write_bytes(damage(path.read_bytes()))
    done = runs.run(words)
    assert done.returncode != 0
    assert re.search(says, done.stdout), done.stdout
    assert "Traceback" not in done.stdout
