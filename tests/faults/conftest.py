"""One run over all damaged slides, and the undamaged slides, which must not fail."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import runs
from faults import table
from st1k4m.collection import build_manifest
from st1k4m.demo import dataset as demo

SMALL = {"spots": 60, "genes": 40, "um_per_px": 8.0}


@dataclass
class Run:
    """A finished run over damaged slides."""

    workdir: Path
    status: int
    terminal: str
    rows: dict[str, dict[str, str]]


@pytest.fixture(scope="session")
def damaged_run(tmp_path_factory, sound_run):
    """Return the run over the undamaged slides and one slide for each fault of the table."""
    runs.need_permissions()
    with runs.shared_folder(tmp_path_factory, "damaged") as folder:
        if not (folder / "ended.json").exists():
            dataset = shutil.copytree(sound_run.dataset, folder / "dataset")
            rows = list(sound_run.rows)
            for fault in table.WORKFLOW:
                rows.append(demo.make_slide(dataset, fault.slide, annotated=True, **SMALL))
                fault.damage(table.place(dataset, fault.slide, fault.file))
            demo.write_meta(dataset, rows)
            for path in dataset.rglob("*"):  # it must do to read it
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode & ~0o222)
            words = runs.command(folder / "run", "--config", f"dataset={dataset}")
            done = runs.run([*runs.AS_USER, *words])
            ended = {"status": done.returncode, "terminal": done.stdout}
            (folder / "ended.json").write_text(json.dumps(ended))
    ended = json.loads((folder / "ended.json").read_text())
    rows = build_manifest.read_manifest(folder / "run/results/manifest.tsv")
    return Run(folder / "run", rows={row["slide"]: row for row in rows}, **ended)


@pytest.fixture(scope="session")
def small_slide(tmp_path_factory):
    """Return the dataset of one small slide, ``Bad_Slide``: copy it, do not change it."""
    folder = tmp_path_factory.mktemp("small")
    demo.make_slide(folder, "Bad_Slide", annotated=True, **SMALL)
    return folder
