"""Names, ids, texts and headers are untrusted; docs/security.md lists the protections."""

import ast
import csv
import json
import os
import re
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import pytest
import runs
from faults import table
from st1k4m.collection import build_manifest
from st1k4m.dataset import check_name
from st1k4m.demo import dataset as demo
from st1k4m.errors import SlideError
from st1k4m.tiles import archives

SLIDE = "Sly_\u0130.1+x"
HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a\tb\r\nc\u2028d",
    "\x1b]0;owned\x07\x1b[2J",
    "=HYPERLINK(1)",
    "../../../../tmp/x",
    "$(touch canary)`touch canary`;touch canary",
    "{{7*7}}{wildcards.slide}%s",
    "\u202egnp.exe",
)


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    """Return a finished run over a slide with hostile texts, genes, ids and labels."""
    folder = tmp_path_factory.mktemp("hostile")
    dataset = folder / "dataset"
    row = demo.make_slide(dataset, SLIDE, annotated=True, spots=60, genes=40, um_per_px=8.0)
    texts = {"species", "tissue", "pmid", "title", "abstract", "keywords", "involve_cancer"}
    row |= dict.fromkeys(texts, " ".join(HOSTILE))
    demo.write_meta(dataset, [row])

    counts, coord, labels = (
        table.place(dataset, SLIDE, file) for file in ("counts", "coord", "annotation")
    )
    header, *lines = counts.read_text().splitlines()
    genes = header.split(",")[1:]
    genes[: len(HOSTILE)] = [f'"{text.replace(chr(34), 2 * chr(34))}"' for text in HOSTILE]
    ids = [line.split(",")[0] for line in lines[: len(HOSTILE)]]
    content = {path: path.read_text() for path in (coord, labels)}
    content[counts] = "\n".join([",".join(["", *genes]), *lines]) + "\n"
    for old, text in zip(ids, HOSTILE, strict=True):
        # Without white space, commas and quotes, which are the syntax of the tables.
        new = re.sub(r"[\s,\"]", "_", f"{SLIDE}_{text}")
        content = {path: known.replace(old, new) for path, known in content.items()}
    content[labels] = content[labels].replace("stroma", HOSTILE[0]).replace("tumour", HOSTILE[1])
    for path, text in content.items():
        path.write_text(text, newline="")
    before = set(folder.rglob("*"))
    done = runs.run(runs.command(folder / "run", "--config", f"dataset={dataset}"))
    assert done.returncode == 0, done.stdout
    return folder, done.stdout, before


def test_nothing_lands_outside_the_working_directory(hostile_run):
    folder, _, before = hostile_run
    made = {path for path in folder.rglob("*") if "run" not in path.relative_to(folder).parts[:1]}
    assert made == before
    known = {"resources", "work", "results", "logs", ".snakemake"}
    assert {path.name for path in (folder / "run").iterdir()} == known


def test_no_text_breaks_lines_or_columns_of_the_manifest(hostile_run):
    text = (hostile_run[0] / "run/results/manifest.tsv").read_text()
    assert len(text.splitlines()) == 2
    rows = list(csv.reader(text.splitlines(), delimiter="\t"))
    assert rows[0] == list(build_manifest.COLUMNS)
    assert len(rows[1]) == len(build_manifest.COLUMNS)
    assert rows[1][:2] == [SLIDE, "done"]
    assert text.replace("\t", "").replace("\n", "").isprintable()


def test_no_text_is_code_in_the_report(hostile_run):
    """Every script must be one call with JSON; test_report_browser tests it in a browser."""
    report = hostile_run[0] / "run/results/report"
    index = (report / "index.html").read_text()
    assert "alert(1)" not in index
    scripts = [path for path in report.rglob("*.js") if "alert(1)" in path.read_text()]
    assert scripts
    for text in (path.read_text() for path in scripts):
        assert "</script" not in text
        assert "\u2028" not in text
        calls = re.findall(r"^\w+\((.*)\);?$", text, re.MULTILINE)
        assert len(calls) == len(text.splitlines())
        assert "</script><script>" in json.dumps([json.loads(f"[{call}]") for call in calls])


def test_no_text_steers_the_terminal(hostile_run, tmp_path, monkeypatch):
    assert "\x1b" not in hostile_run[1]
    code = (
        "from st1k4m.run import job\nfrom st1k4m.errors import SlideError\n"
        "with job.run('cut_tiles', 'S', 'log'):\n"
        "    raise SlideError('S', 'spot \\x1b[2J is odd' + 9999 * 'x', 'hint \\x07')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(runs.REPOSITORY / "scripts")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "spot \\x1b[2J is odd" in done.stderr
    assert len(done.stderr) < 5000
    shown = done.stderr + (tmp_path / "log").read_text()
    assert shown.replace("\n", "").isprintable()


def test_genes_and_ids_are_kept_as_they_are(hostile_run):
    with h5py.File(hostile_run[0] / f"run/results/anndata/{SLIDE}.h5ad") as file:
        names = file["var/name"].asstr()[:].tolist()
        spots = file["obs/_index"].asstr()[:].tolist()
    assert names[: len(HOSTILE)] == list(HOSTILE)
    assert sum(any(sign in spot for sign in "<$={") for spot in spots) >= 5


NO_NAMES = (
    "../x /x .x -x a/b a\\b a{b} $(x) a;b a,b a'b a\"b a<b> a|b a* "
    "a\0 a\x1b a\u202eb a\u200bb \udcff"
)


@pytest.mark.parametrize("name", [*NO_NAMES.split(" "), "a b", "a\nb", "", "a" * 201], ids=ascii)
def test_name_that_is_more_than_a_name_is_no_slide(name):
    assert check_name(name)


def test_id_cannot_leave_an_archive():
    for spot in ("../x", "a/b", ".x", "a\\b", "a\nb"):
        with pytest.raises(SlideError, match="cannot be a file name"):
            archives.check_names("Slide", [spot])


def test_text_that_unpacks_to_200_mb_is_not_unpacked(tmp_path):
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak memory of a process is read from /proc")
    demo.make_slide(tmp_path, "Sly", spots=60, genes=40, um_per_px=8.0)
    path = tmp_path / "Visium/image/Sly.png"
    packed = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    chunk = b"zTXt" + packed
    bomb = struct.pack(">I", len(packed)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = path.read_bytes()
    path.write_bytes(data[:33] + bomb + data[33:])
    code = (
        "import sys; from st1k4m.image import decode\n"
        "header = decode.read_header(sys.argv[1]); list(decode.Bands(sys.argv[1], header))\n"
        # Not ru_maxrss, because a child inherits it from the process that started it.
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        env={"PYTHONPATH": str(runs.REPOSITORY / "scripts"), "PATH": os.environ["PATH"]},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 190_000


def test_nothing_is_unpickled_evaluated_or_handed_to_a_shell():
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    calls = {"eval", "exec", "compile", "system", "popen", "Popen", "check_output", "load_module"}
    for path in sorted((runs.REPOSITORY / "scripts").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "")}
                assert not names & forbidden, path
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
                owner = getattr(getattr(node.func, "value", None), "id", "")
                assert name not in calls or owner == "re", f"{path}, line {node.lineno}"
                given = {keyword.arg for keyword in node.keywords}
                assert not given & {"allow_pickle", "shell"}, f"{path}, line {node.lineno}"
                assert (owner, name) != ("yaml", "load"), f"{path}, line {node.lineno}"
