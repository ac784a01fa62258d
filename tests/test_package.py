"""The library as a package: importing it loads few modules, and its wheel is complete."""

import json
import os
import subprocess
import sys
import tomllib

import anndata
import pytest
import st1k4m
import yaml
from places import REPOSITORY, SCRIPTS


def run_python(python, code, *, cwd, **environment):
    """Run code in an interpreter; return its output."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code], cwd=cwd, env=clean | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_costs_less_than_50_ms_and_nothing_heavy(tmp_path):
    code = """
import sys, time
known = set(sys.modules)
begin = time.process_time()
import st1k4m
print(time.process_time() - begin)
print(*(set(sys.modules) - known))
"""
    printed = [
        run_python(sys.executable, code, cwd=tmp_path, PYTHONPATH=str(SCRIPTS)).splitlines()
        for _ in range(3)
    ]
    assert min(float(seconds) for seconds, _ in printed) < 0.05
    loaded = {name.partition(".")[0] for name in printed[0][1].split()}
    assert loaded <= {"st1k4m", *sys.stdlib_module_names}
    assert not {name for name in printed[0][1].split() if name.startswith("st1k4m.")}


def test_public_names_are_those_of_their_rooms():
    from st1k4m.counts import read_counts as old_read_counts
    from st1k4m.expression.dense_csv import read_counts
    from st1k4m.formats.tile_store import TileStore
    from st1k4m.tiles import TileStore as OldTileStore

    assert st1k4m.read_counts is read_counts is old_read_counts
    assert st1k4m.TileStore is TileStore is OldTileStore
    assert {"Collection", "TileStore", "read_counts"} <= set(dir(st1k4m))
    with pytest.raises(AttributeError, match="no attribute 'read_images'"):
        st1k4m.read_images  # noqa: B018


def test_version_is_stated_once_and_repeated_by_the_citation_alone():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "scripts/st1k4m/__init__.py"
    assert citation["version"] == st1k4m.__version__


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return an environment with the wheel; the packages that it needs are found by their path."""
    folder = tmp_path_factory.mktemp("installed")
    # a copy, because building must leave no files in the repository
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "scripts"):
        subprocess.run(["cp", "-r", REPOSITORY / name, source], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, source, "--wheel-dir", folder / "wheels"], check=True)
    (wheel,) = (folder / "wheels").glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env/bin/python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True
    )
    (packages,) = (folder / "env/lib").glob("python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "ours.pth").write_text("\n".join(ours))
    return python


@pytest.mark.slow
def test_wheel_reads_a_run_from_another_folder(installed, sound_run, tmp_path):
    code = f"""
import json, st1k4m
from pathlib import Path
store = st1k4m.TileStore({str(sound_run.workdir / "results/tiles/Sound_ST.h5")!r})
(path,) = Path({str(sound_run.dataset)!r}).rglob("Sound_ST_count.csv")
counts = st1k4m.read_counts(path)
print(json.dumps([st1k4m.__file__, len(store), store[0].shape[2], counts.matrix.shape]))
"""
    file, tiles, channels, shape = json.loads(run_python(installed, code, cwd=tmp_path))
    assert file.startswith(str(installed.parent.parent))
    adata = anndata.read_h5ad(sound_run.workdir / "results/anndata/Sound_ST.h5ad", backed="r")
    assert (tiles, channels, shape) == (sum(adata.obs["tile"] >= 0), 3, [60, 40])


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_library(installed):
    (package,) = (installed.parent.parent / "lib").glob("python*/site-packages/st1k4m")

    def files(folder):
        found = (path for path in folder.rglob("*") if path.is_file())
        return {
            path.relative_to(folder): path.read_bytes()
            for path in found
            if "__pycache__" not in path.parts
        }

    assert files(package) == files(SCRIPTS / "st1k4m")
