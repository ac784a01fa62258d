"""Exports in a run: made on request, complete, and not made again without a change."""

import json
import subprocess

import pytest
from places import DATA

SLIDE = "Exported_1.0+A"


@pytest.fixture
def dataset(make_dataset):
    slides = [
        {"slide": SLIDE, "spots": 60, "genes": 40, "um_per_px": 8.0},
        {"slide": "Exported_B", "spots": 60, "genes": 40, "um_per_px": 8.0, "seed": 1},
    ]
    return f"dataset={make_dataset(slides)}"


def test_a_store_is_made_once_and_goes_with_what_it_was_made_from(dataset, run_workflow, tmp_path):
    spatialdata = pytest.importorskip("spatialdata", reason="needs the extra spatialdata")
    asked = ["--config", dataset, "spatialdata={full_image: true, collection: false}"]
    done = run_workflow(tmp_path / "run", *asked)
    assert done.returncode == 0, done.stdout
    store = tmp_path / "run" / "results" / "spatialdata" / f"{SLIDE}.zarr"
    data = spatialdata.read_zarr(store)
    name = SLIDE.replace("+", "_")
    assert set(data.images) == {f"{name}_{which}_image" for which in ("full", "hires", "lowres")}
    record = json.loads((tmp_path / "run" / "results" / "records" / f"{SLIDE}.json").read_text())
    assert data["table"].n_obs == record["spots"]["kept"]
    assert data.attrs["st1k4m"]["record"] == record

    assert "Nothing to be done" in run_workflow(tmp_path / "run", *asked).stdout

    (tmp_path / "dataset" / "Visium" / "image" / f"{SLIDE}.png").write_bytes(b"broken")
    assert run_workflow(tmp_path / "run", *asked).returncode == 1
    assert not store.exists()
    assert (store.parent / "Exported_B.zarr").exists()


@pytest.mark.slow
def test_the_results_of_a_run_are_described_as_a_dataset(dataset, run_workflow, tmp_path):
    asked = ["--config", dataset, "card={name: Mine}"]
    done = run_workflow(tmp_path / "run", *asked)
    assert done.returncode == 0, done.stdout
    results = tmp_path / "run" / "results"
    assert "# Mine" in (results / "README.md").read_text()
    described = json.loads((results / "collection" / "croissant.json").read_text())
    listed = {item["@id"] for item in described["distribution"]}
    assert {f"anndata/{SLIDE}.h5ad", f"tiles/{SLIDE}.h5", "collection/splits/study.tsv"} <= listed
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "collection/SHA256SUMS"], cwd=results
    )
    assert checked.returncode == 0
    assert "Nothing to be done" in run_workflow(tmp_path / "run", *asked).stdout


SECTION = "Mouse_Brain_10X_06232020_Visium_Sagittal_Anterior_Section_1_100genes"


@pytest.mark.slow
def test_a_real_section_is_as_spatialdata_io_reads_it(real_slides, run_workflow, tmp_path):
    """The dataset's slide and the folder of Space Ranger are of one section."""
    spatialdata = pytest.importorskip("spatialdata", reason="needs the extra spatialdata")
    reader = pytest.importorskip("spatialdata_io", reason="needs spatialdata-io")
    import numpy as np

    folder = DATA / "own" / "visium_v1_h5_mouse_brain_anterior"
    if not folder.is_dir():
        pytest.skip(f"no folder of Space Ranger at {folder}")
    done = run_workflow(
        tmp_path / "run",
        "--config",
        f"dataset={real_slides}",
        f"select={{slides: [{SECTION}]}}",
        "spatialdata={collection: false}",
    )
    assert done.returncode == 0, done.stdout
    ours = spatialdata.read_zarr(tmp_path / "run" / "results" / "spatialdata" / f"{SECTION}.zarr")
    theirs = reader.visium(folder, dataset_id=SECTION)

    names = {name for _, name, _ in theirs.gen_elements()}
    assert names <= {name for _, name, _ in ours.gen_elements()}
    assert set(theirs.coordinate_systems) <= set(ours.coordinate_systems)
    for name in names - {"table"}:
        systems = spatialdata.transformations.get_transformation(theirs[name], get_all=True)
        found = spatialdata.transformations.get_transformation(ours[name], get_all=True)
        assert set(systems) <= set(found), name
    attributes = theirs["table"].uns["spatialdata_attrs"]
    assert ours["table"].uns["spatialdata_attrs"] == attributes

    # the dataset's image is Space Ranger's lowres picture
    lowres = json.loads((folder / "spatial" / "scalefactors_json.json").read_text())
    factor = lowres["tissue_lowres_scalef"]
    kept = ours["table"].obs["barcode"].astype(str)
    table = theirs["table"][kept.to_numpy()]
    assert theirs["table"].n_obs - ours["table"].n_obs == 6  # spots without counts
    assert (ours["table"].layers["counts"] != table.X).nnz == 0
    assert np.allclose(table.obsm["spatial"] * factor, ours["table"].obsm["spatial"])
    radius = theirs[SECTION]["radius"].iloc[0] * factor
    assert np.allclose(ours[SECTION]["radius"], radius)
    assert ours[SECTION].index.name == theirs[SECTION].index.name == "spot_id"
