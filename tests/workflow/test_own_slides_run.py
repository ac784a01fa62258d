"""The user's own slides in a whole run, together with a dataset and alone."""

import json
import shutil

import h5py
import numpy as np
import own_layouts
import pandas as pd
import pytest
import runs
import scanpy as sc
from PIL import Image
from places import DATA
from scipy import sparse
from st1k4m.formats.tile_store import TileStore


def table(path, rows):
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["\t".join(columns)]
    lines += ["\t".join(str(row.get(name, "")) for name in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def run(workdir, dataset, *words, **options):
    values = [f"{key}={value}" for key, value in options.items()]
    words = runs.command(workdir, *words, "--config", f"dataset={dataset}", *values)
    return runs.finish(runs.start(words), timeout=600)


def outs_of(dataset, slide, folder, image=True):
    """Write the outs folder of a dataset's Visium slide: the same counts, positions, radius."""
    base = dataset / "Visium"
    counts = pd.read_csv(base / f"gene_exp/{slide}_count.csv", index_col=0)
    coord = pd.read_csv(base / f"coord/{slide}_coord.csv", index_col=0)
    barcodes = [name.removeprefix(f"{slide}_") for name in counts.index]
    section = own_layouts.Section(
        positions=None,
        counts=sparse.csr_matrix(counts.to_numpy().astype(np.int32)),
        barcodes=barcodes,
        genes=[name.split(".")[0] if name.endswith(".1") else name for name in counts.columns],
        ids=[f"ID{i}" for i in range(counts.shape[1])],
        types=["Gene Expression"] * counts.shape[1],
        image=np.asarray(Image.open(base / f"image/{slide}.png").convert("RGB")),
        factors={
            "spot_diameter_fullres": 2 * float(coord["r"].iloc[0]),
            "fiducial_diameter_fullres": 100.0,
            "tissue_hires_scalef": 0.5,
            "tissue_lowres_scalef": 0.1,
        },
    )
    from st1k4m.geometry.numbering import number_spots

    _, numbers = number_spots(coord["xaxis"].to_numpy(), coord["yaxis"].to_numpy(), ["hexagonal"])
    assert not numbers.doubts
    section.positions = pd.DataFrame(
        {
            "barcode": [name.removeprefix(f"{slide}_") for name in coord.index],
            "in_tissue": 1,
            "array_row": numbers.row,
            "array_col": numbers.col,
            "pxl_row_in_fullres": coord["yaxis"].to_numpy(),
            "pxl_col_in_fullres": coord["xaxis"].to_numpy(),
        }
    )
    return own_layouts.write_outs(folder, section, version=1, matrix="mtx.gz")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Run a demo dataset and one of its slides as outs in one run; return the run's folder."""
    from st1k4m.demo import dataset as demo

    folder = tmp_path_factory.mktemp("own")
    demo.make_dataset(folder / "data", [{"slide": "Demo_A", "tech": "Visium", "spots": 90}])
    outs = outs_of(folder / "data", "Demo_A", folder / "outs")
    image = folder / "data/Visium/image/Demo_A.png"
    rows = [
        {"slide": "Own_A", "path": outs, "image": image, "species": "human", "tissue": "breast"},
        {"slide": "Hires_A", "path": outs, "species": "human", "tissue": "breast"},
        {"slide": "Packed_A", "path": folder / "outs.tar.gz", "species": "human"},
        {"slide": "Nothing", "path": folder / "none"},
    ]
    own_layouts.pack(outs, folder / "outs.tar.gz")
    table(folder / "mine.tsv", rows)
    done = run(folder / "run", f"[{folder}/data, {folder}/mine.tsv]", "--keep-going")
    assert "4 done, 1 failed" in done.stdout, done.stdout[-3000:]
    return folder


def test_outs_and_dataset_give_the_same(both):
    dataset, own = (
        sc.read_h5ad(both / f"run/results/anndata/{n}.h5ad") for n in ("Demo_A", "Own_A")
    )
    order = [own.obs["barcode"].tolist().index(b) for b in dataset.obs["barcode"]]
    own = own[order]
    assert own.obs_names.tolist() == [f"Own_A_{b}" for b in dataset.obs["barcode"]]
    assert (own.layers["counts"] != dataset.layers["counts"]).nnz == 0
    assert np.array_equal(own.X.toarray(), dataset.X.toarray())
    assert np.array_equal(own.obsm["spatial"], dataset.obsm["spatial"])
    assert np.array_equal(own.obs["spot_radius"], dataset.obs["spot_radius"])
    assert own.var["gene_ids"].tolist()[:2] == ["ID0", "ID1"]
    records = [
        json.loads((both / f"run/results/records/{n}.json").read_text())["geometry"]
        for n in ("Demo_A", "Own_A")
    ]
    assert records[0]["um_per_px"] == pytest.approx(records[1]["um_per_px"], rel=1e-9)
    stores = [TileStore(both / f"run/results/tiles/{n}.h5") for n in ("Demo_A", "Own_A")]
    place = {name.removeprefix("Own_A_"): i for i, name in enumerate(stores[1].barcodes)}
    for row, name in enumerate(stores[0].barcodes):
        assert np.array_equal(stores[0][row], stores[1][place[name.removeprefix("Demo_A_")]])


def test_tiles_of_the_hires_image_are_its_crops(both):
    store = TileStore(both / "run/results/tiles/Hires_A.h5")
    adata = sc.read_h5ad(both / "run/results/anndata/Hires_A.h5ad")
    image = Image.open(both / "outs/spatial/tissue_hires_image.png").convert("RGB")
    radius = adata.obs["spot_radius"].iloc[0]
    for row, (x, y) in enumerate(adata.obsm["spatial"]):
        left, top = round(x - radius), round(y - radius)
        side = max(1, round(2 * radius))
        crop = image.crop((left, top, left + side, top + side))
        assert np.array_equal(store[row], np.asarray(crop))
    record = json.loads((both / "run/results/records/Hires_A.json").read_text())
    assert record["geometry"]["image_used"] == "hires"
    assert record["geometry"]["image_scale"] == 0.5


def test_an_archive_gives_what_the_folder_gives(both):
    packed, plain = (
        sc.read_h5ad(both / f"run/results/anndata/{n}.h5ad") for n in ("Packed_A", "Hires_A")
    )
    assert (packed.layers["counts"] != plain.layers["counts"]).nnz == 0
    assert np.array_equal(packed.obsm["spatial"], plain.obsm["spatial"])
    with (
        h5py.File(both / "run/results/tiles/Packed_A.h5") as one,
        h5py.File(both / "run/results/tiles/Hires_A.h5") as other,
    ):
        assert np.array_equal(one["img"][:], other["img"][:])


def test_a_slide_without_files_fails_alone_with_its_sentence(both):
    manifest = pd.read_csv(both / "run/results/manifest.tsv", sep="\t").set_index("slide")
    assert manifest.loc["Nothing", "status"] == "failed"
    assert f"{both}/none does not exist" in manifest.loc["Nothing", "reason"]


def test_the_same_command_builds_nothing_again_and_a_changed_file_its_slide(both, tmp_path):
    folder = shutil.copytree(both, tmp_path / "copy")
    own_rows = [{"slide": "Own_B", "path": folder / "outs"}]
    table(folder / "mine.tsv", own_rows)
    first = run(folder / "own", folder / "mine.tsv")
    assert "1 done" in first.stdout, first.stdout[-3000:]
    again = run(folder / "own", folder / "mine.tsv", "-n")
    assert "Nothing to be done" in again.stdout
    path = folder / "outs/filtered_feature_bc_matrix/barcodes.tsv.gz"
    path.write_bytes(path.read_bytes())
    content = (folder / "outs/spatial/tissue_positions_list.csv").read_text()
    (folder / "outs/spatial/tissue_positions_list.csv").write_text(content.replace(",1,", ",0,", 1))
    changed = run(folder / "own", folder / "mine.tsv", "-n")
    assert "align_spots" in changed.stdout
    assert "count_expression" in changed.stdout
    table(folder / "mine.tsv", [*own_rows, {"slide": "Own_C", "path": folder / "outs"}])
    refused = run(folder / "own", folder / "mine.tsv", "-n")
    assert "has changed since the catalogue was made; run once with refresh=true" in refused.stdout


def test_one_name_in_two_sources_is_refused(both, tmp_path):
    table(tmp_path / "t.tsv", [{"slide": "demo_a", "path": both / "outs"}])
    refused = run(tmp_path / "run", f"[{both}/data, {tmp_path}/t.tsv]", "-n")
    assert "slides of two sources have the same name" in refused.stdout


def test_describe_says_where_each_fact_comes_from(both):
    said = run(both / "run", f"[{both}/data, {both}/mine.tsv]", "describe").stdout
    assert "Hires_A: visium (Visium)" in said
    assert f"positions (space_ranger): {both}/outs/spatial/tissue_positions_list.csv" in said
    assert f"MISSING counts, positions, image: {both}/none does not exist" in said


def test_spots_that_are_not_in_tissue_have_that_reason(tmp_path):
    section = own_layouts.make_section()
    own_layouts.write_outs(tmp_path / "raw", section, raw=True)
    own_layouts.write_outs(tmp_path / "filtered", section)
    table(tmp_path / "t.tsv", [{"slide": n, "path": tmp_path / n} for n in ("raw", "filtered")])
    assert "2 done" in run(tmp_path / "run", tmp_path / "t.tsv").stdout
    beside = set(section.positions["barcode"][section.positions["in_tissue"] == 0])
    for slide in ("raw", "filtered"):
        ledger = pd.read_parquet(tmp_path / f"run/results/ledger/{slide}.parquet")
        assert len(ledger) == len(section.positions)
        reasons = ledger[ledger["reason"] == "not_in_tissue"]
        assert set(reasons["barcode"]) == beside
        assert reasons["in_counts"].all() == (slide == "raw")
    raw, filtered = (
        sc.read_h5ad(tmp_path / f"run/results/anndata/{n}.h5ad") for n in ("raw", "filtered")
    )
    raw = raw[[f"raw_{b}" for b in filtered.obs["barcode"]]]
    assert np.array_equal(raw.X.toarray(), filtered.X.toarray())


REAL = {
    "anterior": {"path": "visium_v1_h5_mouse_brain_anterior"},
    "her2": {"path": "st_human_breast_her2st_C2"},
    "mob": {"path": "st2k_mouse_bulb_stutility_MOB1"},
    "geo": {"path": "geo_flat_constructed", "prefix": "GSM0000001_"},
    "hd16": {"path": "visiumhd_8um_16um_mouse_intestine_fakecounts", "bin": "16"},
    "prostate": {"path": "visium_v2_mtx_human_prostate_12spots"},
    "rep9": {"path": "st_pipeline_mouse_bulb_REP9"},
    "glioblastoma": {"path": "visium_v2_11mm_nocounts_human_glioblastoma"},
}


@pytest.mark.slow
def test_real_outputs(tmp_path):
    own = DATA / "own"
    if not own.is_dir():
        pytest.skip(f"no real outputs at {own}; STIMAGE_DATA can name another folder")
    rows = [{"slide": n} | {**r, "path": own / r["path"]} for n, r in REAL.items()]
    table(tmp_path / "t.tsv", rows)
    before = {p: p.stat().st_mtime_ns for p in own.rglob("*")}
    done = run(tmp_path / "run", tmp_path / "t.tsv", "--keep-going")
    assert "5 done, 3 failed" in done.stdout, done.stdout[-3000:]
    assert {p: p.stat().st_mtime_ns for p in own.rglob("*")} == before
    manifest = pd.read_csv(tmp_path / "run/results/manifest.tsv", sep="\t").set_index("slide")
    assert "12 of 12 spots lie outside" in manifest.loc["prostate", "reason"]
    assert "no positions: no spot file" in manifest.loc["rep9", "reason"]
    assert "no counts: none of filtered" in manifest.loc["glioblastoma", "reason"]
    her2 = sc.read_h5ad(tmp_path / "run/results/anndata/her2.h5ad")
    same = DATA / "stimage-1k4m/ST/coord/Human_Breast_Andersson_10142021_ST_C2_coord.csv"
    coord = pd.read_csv(same, index_col=0)
    coord.index = [name.rpartition("_")[2] for name in coord.index]
    coord = coord.loc[her2.obs["barcode"]]
    assert np.allclose(her2.obsm["spatial"], coord[["xaxis", "yaxis"]], atol=0.01)
    assert np.allclose(her2.obs["spot_radius"], coord["r"], rtol=0.01)
