"""The output of a run: bars in a terminal, plain lines elsewhere, no long lists of paths."""

import importlib.util
import os
import pty
import re
import subprocess
import sys

import pytest
import runs
from places import REPOSITORY
from st1k4m.demo.dataset import make_dataset

needs_display = pytest.mark.skipif(
    importlib.util.find_spec("snakemake_logger_plugin_rich") is None,
    reason="snakemake-logger-plugin-rich is not installed",
)


def run_in_terminal(words):
    """Run a command in a terminal; return the exit status and the output without control codes."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        words,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "400", "LINES": "50"},
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux reports in this way that the other side is closed
            break
        if not data:
            break
        shown += data
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace"))
    return process.wait(), text.replace("\r", "")


@pytest.fixture(scope="module")
def one_bad(tmp_path_factory):
    """Return a dataset of two slides, one of which has a word instead of a coordinate."""
    folder = tmp_path_factory.mktemp("one-bad")
    make_dataset(folder, [{"slide": "Good", "spots": 60}, {"slide": "Bad", "spots": 60}])
    (coord,) = folder.rglob("Bad_coord.csv")
    lines = coord.read_text().splitlines()
    lines[3] = lines[3].replace(",", ",x", 1)
    coord.write_text("\n".join(lines))
    return folder


@needs_display
def test_terminal_shows_a_bar_a_step_failures_whole_and_the_summary_last(one_bad, tmp_path):
    words = runs.command(tmp_path / "run", "--config", f"dataset={one_bad}")
    status, shown = run_in_terminal(words)
    assert status == 1
    assert re.search(r"Total Progress +━+", shown)
    assert re.search(r"draw slide +━+", shown)
    # a line of a job is printed complete, and the bars are redrawn below it
    (coord,) = one_bad.rglob("Bad_coord.csv")
    assert f"FAILED Bad at align_spots: {coord}, line 4: yaxis of spot" in shown
    last = shown.rstrip().splitlines()[-4:]
    assert "Slides: 1 done, 1 failed, 0 excluded, 0 not selected." in last
    assert last[-1].startswith(("Look at ", "To continue "))


def test_without_a_terminal_the_lines_are_plain(one_bad, tmp_path):
    done = runs.run(runs.command(tmp_path / "run", "-n", "--config", f"dataset={one_bad}"))
    assert done.returncode == 0, done.stdout
    assert "━" not in done.stdout
    assert "\x1b" not in done.stdout
    assert "rule align_spots:\n" in done.stdout


@needs_display
def test_terminal_without_the_display_has_plain_lines(one_bad, tmp_path):
    hide = tmp_path / "hide"
    hide.mkdir()
    (hide / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, package=None: (\n"
        "    None if name == 'snakemake_logger_plugin_rich' else find(name, package)\n"
        ")\n"
    )
    words = runs.command(tmp_path / "run", "-n", "--config", f"dataset={one_bad}")
    status, shown = run_in_terminal(["env", f"PYTHONPATH={hide}", *words])
    assert status == 0, shown
    assert "rule align_spots:" in shown
    assert "━" not in shown


def test_job_all_does_not_list_every_path(demo_run):
    (log,) = (demo_run / ".snakemake/log").glob("*.log")
    text = log.read_text()
    (job,) = re.findall(r"^localrule all:\n(?:    .*\n)*", text, re.MULTILINE)
    paths = re.findall(r"results/\S+", job)
    assert 0 < len(paths) <= 6
    assert re.search(r"and \d+ more\n", job)


def test_workflow_runs_below_a_path_with_a_space(sound_run, tmp_path):
    """Snakemake does not quote the interpreter, whose path has the space too."""
    clone = tmp_path / "a clone"
    clone.mkdir()
    for name in ("Snakefile", "config", "envs", "profiles", "report", "rules", "scripts"):
        (clone / name).symlink_to(REPOSITORY / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / ".venv"], check=True)
    (packages,) = (clone / ".venv/lib").glob("python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "ours.pth").write_text("\n".join(ours))
    words = runs.command(clone / "run", "--config", f"dataset={sound_run.dataset}")
    words[0] = str(clone / ".venv/bin/python")
    words[words.index("-s") + 1] = str(clone / "Snakefile")
    done = runs.run(words)
    assert done.returncode == 0, done.stdout
    assert runs.digests(clone / "run") == runs.digests(sound_run.workdir)
