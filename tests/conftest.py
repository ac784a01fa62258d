"""Data for tests: generated slides and datasets, the folder of real slides, finished runs."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import runs
from places import DATA
from st1k4m.demo import dataset as demo


@pytest.fixture
def make_slide(tmp_path):
    """Return a function that makes a slide below ``tmp_path/dataset`` and returns its meta row.

    Its arguments are those of ``demo.make_slide``.
    """

    def make(slide="Demo_Visium", **arguments):
        return demo.make_slide(tmp_path / "dataset", slide, **arguments)

    return make


@pytest.fixture
def make_dataset(tmp_path):
    """Return a function that makes a dataset and returns its folder.

    Its argument is a list of arguments of ``demo.make_slide``, one per slide.
    """

    def make(slides=({"slide": "Demo_A"}, {"slide": "Demo_B", "seed": 1}), folder="dataset"):
        demo.make_dataset(tmp_path / folder, [dict(arguments) for arguments in slides])
        return tmp_path / folder

    return make


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory):
    """Return the folder of the demo's dataset, shared by all tests: read only."""
    folder = tmp_path_factory.mktemp("demo")
    demo.make_demo(folder)
    return folder


@pytest.fixture(scope="session")
def real_slides():
    """Return the folder of real slides in the dataset's layout: read only."""
    folder = DATA / "stimage-1k4m"
    if not folder.is_dir():
        pytest.skip(f"no real slides at {folder}; STIMAGE_DATA can name another folder")
    return folder


@pytest.fixture(scope="session")
def published_meta():
    """Return the published meta table of all 1,149 slides."""
    path = DATA / "catalogue" / "meta_all_gene02122025.csv"
    if not path.is_file():
        pytest.skip(f"no published meta table at {path}; STIMAGE_DATA can name another folder")
    return path


@pytest.fixture(scope="session")
def run_workflow():
    """Return a function that runs the workflow in a folder and returns the finished process."""

    def run(workdir, *arguments, cores=2):
        return runs.run(runs.command(workdir, *arguments, cores=cores))

    return run


@dataclass(frozen=True)
class SoundRun:
    """A finished run without failed slides: read or copy it, do not change it."""

    dataset: Path
    workdir: Path
    rows: list[dict[str, str]]


@pytest.fixture(scope="session")
def sound_run(tmp_path_factory):
    """Return a finished run on one core over two small slides with every kind of file."""
    slides = [
        {"slide": "Sound_1.0+A", "spots": 60, "genes": 40, "um_per_px": 8.0, "unmatched": 1},
        {"slide": "Sound_ST", "tech": "ST", "spots": 60, "genes": 40, "um_per_px": 12.0}
        | {"image_format": "jpeg", "annotated": True, "seed": 1},
    ]
    with runs.shared_folder(tmp_path_factory, "sound") as folder:
        if not (folder / "rows.json").exists():
            rows = demo.make_dataset(folder / "dataset", slides)
            dataset = f"dataset={folder / 'dataset'}"
            done = runs.run(runs.command(folder / "run", "--config", dataset, cores=1))
            assert done.returncode == 0, done.stdout
            (folder / "rows.json").write_text(json.dumps(rows))
    rows = json.loads((folder / "rows.json").read_text())
    return SoundRun(folder / "dataset", folder / "run", rows)


@pytest.fixture(scope="session")
def follows_tissue():
    """Return a function that correlates a marker of the darkest tissue with the tiles' darkness.

    The correlation is near 1 if each tile shows its spot, and lower for swapped axes or shifted
    tiles.
    """
    import numpy as np

    def correlate(tiles, expression):
        darkness = [255.0 - np.asarray(tile)[..., 1].mean() for tile in tiles]
        return float(np.corrcoef(darkness, expression)[0, 1])

    return correlate
