"""Compare the products of a run with results of pandas, scanpy and PIL."""

import json
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import runs
import scanpy as sc
from PIL import Image
from st1k4m.collection import build_manifest
from st1k4m.demo.dataset import MARKERS
from st1k4m.formats.tile_store import TileStore

Image.MAX_IMAGE_PIXELS = None
DEMO = {
    "Demo_Breast_ST": ("ST", "square"),
    "Demo_Brain_Visium": ("Visium", "hexagonal"),
    "Demo_Colon_VisiumHD": ("VisiumHD", "square"),
    "Demo_v1.2+crop_Visium": ("Visium", "hexagonal"),
}
REAL = (
    "Human_Breast_Andersson_10142021_ST_C2",
    "Mouse_OlfactoryBulb_STUtility_ST2K_MOB1",
    "Mouse_Brain_10X_06232020_Visium_Coronal_squidpycrop",
    "Mouse_Brain_10X_06232020_Visium_Sagittal_Anterior_Section_1_100genes",
)
EMPTY = "Mouse_VisiumIO_VisiumHD_10bins_zerocounts"


@pytest.fixture(scope="session")
def real_run(real_slides, tmp_path_factory):
    """Return the working directory of a finished run over the real slides: read only."""
    return runs.shared_run(tmp_path_factory, "real-run", "--config", f"dataset={real_slides}")


@pytest.fixture(params=[*DEMO, *REAL])
def finished(request):
    """Return working directory, folder of the dataset, and name of one finished slide."""
    if request.param in DEMO:
        workdir = request.getfixturevalue("demo_run")
        return workdir, workdir / "resources/demo", request.param
    dataset = request.getfixturevalue("real_slides")
    return request.getfixturevalue("real_run"), dataset, request.param


@pytest.fixture
def adata(finished):
    workdir, _, slide = finished
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return anndata.read_h5ad(workdir / f"results/anndata/{slide}.h5ad")


@pytest.fixture
def record(finished):
    workdir, _, slide = finished
    return json.loads((workdir / f"results/records/{slide}.json").read_text())


def find(dataset, folder, name):
    (path,) = dataset.glob(f"*/{folder}/{name}")
    return path


def test_counts_are_those_of_the_file_cell_for_cell(finished, adata):
    _, dataset, slide = finished
    frame = pd.read_csv(find(dataset, "gene_exp", f"{slide}_count.csv"), index_col=0)
    with open(find(dataset, "gene_exp", f"{slide}_count.csv")) as file:
        printed = [name.strip('"') for name in file.readline().rstrip("\n").split(",")[1:]]
    counts = adata.layers["counts"]

    assert counts.dtype == np.int32
    assert adata.X.dtype == np.float32
    assert adata.var["name"].tolist() == printed
    assert adata.var_names.is_unique
    np.testing.assert_array_equal(counts.toarray(), frame.loc[adata.obs_names].to_numpy())


def test_spots_are_those_of_both_files_that_have_a_gene(finished, adata):
    _, dataset, slide = finished
    counts = pd.read_csv(find(dataset, "gene_exp", f"{slide}_count.csv"), index_col=0)
    coord = pd.read_csv(find(dataset, "coord", f"{slide}_coord.csv"), index_col=0)
    both = [spot for spot in counts.index[(counts > 0).any(axis=1)] if spot in coord.index]

    assert adata.obs_names.tolist() == both
    assert (adata.obs["barcode"] == [spot.removeprefix(f"{slide}_") for spot in both]).all()
    np.testing.assert_allclose(
        adata.obsm["spatial"], coord.loc[both, ["xaxis", "yaxis"]].to_numpy(), rtol=1e-12
    )


def test_x_is_scanpys_normalisation(adata):
    expected = anndata.AnnData(adata.layers["counts"].astype(np.float32))
    sc.pp.normalize_total(expected)
    sc.pp.log1p(expected)
    np.testing.assert_allclose(adata.X.toarray(), expected.X.toarray(), rtol=1e-5, atol=1e-6)
    totals = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    assert adata.uns["normalisation"]["target_sum"] == pytest.approx(np.median(totals))


def test_qc_is_scanpys(adata):
    expected = anndata.AnnData(adata.layers["counts"].copy(), var=adata.var[[]].copy())
    sc.pp.calculate_qc_metrics(expected, percent_top=None, log1p=False, inplace=True)
    for name in ("n_genes_by_counts", "total_counts"):
        np.testing.assert_allclose(adata.obs[name], expected.obs[name], rtol=1e-6)
    for name in ("n_cells_by_counts", "mean_counts", "pct_dropout_by_counts", "total_counts"):
        np.testing.assert_allclose(adata.var[name], expected.var[name], rtol=1e-5)


def test_variable_genes_are_scanpys(adata):
    expected = anndata.AnnData(adata.layers["counts"].astype(np.float32), var=adata.var[[]].copy())
    wanted = min(128, adata.n_vars)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.experimental.pp.highly_variable_genes(expected, n_top_genes=wanted)
    ours = set(adata.var_names[adata.var["highly_variable"]])
    theirs = set(expected.var_names[expected.var["highly_variable"]])
    assert len(ours) == len(theirs)
    assert len(ours & theirs) >= 0.97 * len(theirs)


def test_ledger_accounts_for_every_spot(finished, adata, record):
    workdir, dataset, slide = finished
    ledger = pq.read_table(workdir / f"results/ledger/{slide}.parquet").to_pandas()
    counts = pd.read_csv(find(dataset, "gene_exp", f"{slide}_count.csv"), usecols=[0]).iloc[:, 0]
    coord = pd.read_csv(find(dataset, "coord", f"{slide}_coord.csv"), usecols=[0]).iloc[:, 0]

    assert sorted(ledger["spot"]) == sorted({*counts, *coord})
    assert set(ledger.loc[ledger["in_counts"], "spot"]) == set(counts)
    assert set(ledger.loc[ledger["in_coord"], "spot"]) == set(coord)
    kept = ledger[ledger["status"] == "kept"]
    assert set(kept["spot"]) == set(adata.obs_names)
    assert (kept["reason"] == "").all()
    assert (ledger.loc[ledger["status"] == "dropped", "reason"] != "").all()
    assert record["spots"]["kept"] == len(kept) == adata.n_obs
    assert sum(record["spots"]["dropped"].values()) == len(ledger) - len(kept)
    tile = kept.set_index("spot")["tile"].loc[adata.obs_names]
    assert tile.tolist() == adata.obs["tile"].tolist() == list(range(adata.n_obs))


def test_tiles_are_the_authors_crop(finished, adata):
    workdir, dataset, slide = finished
    store = TileStore(workdir / f"results/tiles/{slide}.h5")
    coord = pd.read_csv(find(dataset, "coord", f"{slide}_coord.csv"), index_col=0)
    image = Image.open(find(dataset, "image", f"{slide}.png")).convert("RGB")
    r = coord["r"].iloc[0]
    side = max(1, round(2 * r))

    assert store.barcodes == adata.obs_names.tolist()
    for row in range(0, len(store), max(1, len(store) // 200)):
        x, y = coord.loc[store.barcodes[row], ["xaxis", "yaxis"]]
        left, top = round(x - r), round(y - r)
        crop = np.asarray(image.crop((left, top, left + side, top + side)))
        assert store.coords[row].tolist() == [left, top]
        np.testing.assert_array_equal(store[row], crop)


def test_stores_are_read_by_the_conventions_of_hest(finished, adata, record):
    workdir, _, slide = finished
    with h5py.File(workdir / f"results/tiles/{slide}.h5") as file:
        assert file["img"].shape[0] == file["coords"].shape[0] == file["barcode"].shape[0]
        assert file["img"].dtype == np.uint8
        assert file["coords"].dtype == np.int64
        assert file["barcode"].shape[1:] == (1,)
        names = [name.decode() for name in file["barcode"][:].flatten()]
        assert adata[names].n_obs == adata.n_obs
        assert file["img"].attrs["name"] == slide
        assert {"patch_size_src", "patch_size_target", "downsample", "pixel_size"} <= set(
            file["img"].attrs
        )


def test_pictures_fit_their_scale_factors(finished, adata, record):
    _, dataset, slide = finished
    width, height = Image.open(find(dataset, "image", f"{slide}.png")).size
    spatial = adata.uns["spatial"][slide]
    for name, longest in (("hires", 2000), ("lowres", 600)):
        picture = spatial["images"][name]
        scale = spatial["scalefactors"][f"tissue_{name}_scalef"]
        assert picture.dtype == np.uint8
        assert max(picture.shape) == min(longest, max(width, height))
        assert picture.shape[1] == pytest.approx(width * scale, abs=1)
        assert picture.shape[0] == pytest.approx(height * scale, abs=1)


def test_record_is_in_the_anndata_and_has_no_trace_of_the_run(finished, adata, record):
    workdir, _, slide = finished
    stored = adata.uns["st1k4m"]
    assert stored["slide"] == record["slide"] == slide
    assert stored["spots"]["kept"] == adata.n_obs
    assert str(workdir) not in json.dumps(record)


def test_scanpy_draws_it_with_no_further_argument(finished, adata, tmp_path):
    import matplotlib

    matplotlib.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        axes = sc.pl.spatial(adata, color="total_counts", show=False)
    assert axes[0].get_images()
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("slide", DEMO)
def test_demo_tiles_show_the_tissue_that_the_counts_follow(demo_run, slide, follows_tissue):
    adata = anndata.read_h5ad(demo_run / f"results/anndata/{slide}.h5ad")
    tiles = TileStore(demo_run / f"results/tiles/{slide}.h5")
    species = adata.uns["st1k4m"]["study"]["species"]
    marker = adata[:, [name for name in MARKERS[species][0] if name in adata.var_names]]
    expression = np.asarray(marker.X.mean(axis=1)).ravel()
    sound = follows_tissue([tiles[row] for row in adata.obs["tile"]], expression)
    shifted = follows_tissue(
        [tiles[row] for row in np.roll(adata.obs["tile"], len(tiles) // 3)], expression
    )
    assert sound > 0.5
    assert shifted < sound - 0.3


@pytest.mark.parametrize(("slide", "expected"), DEMO.items())
def test_demo_geometry_is_found(demo_run, slide, expected):
    record = json.loads((demo_run / f"results/records/{slide}.json").read_text())
    assert (record["study"]["tech"], record["geometry"]["lattice"]) == expected
    assert record["geometry"]["um_per_px"] > 0
    assert "radius_inconsistent" not in record["flags"]


def test_slide_without_any_count_ends_as_an_anndata_without_rows(real_run):
    adata = anndata.read_h5ad(real_run / f"results/anndata/{EMPTY}.h5ad")
    ledger = pq.read_table(real_run / f"results/ledger/{EMPTY}.parquet").to_pandas()
    rows = {
        row["slide"]: row for row in build_manifest.read_manifest(real_run / "results/manifest.tsv")
    }
    assert adata.shape == (0, 10)
    assert ledger["reason"].tolist() == ["no_genes"] * 10
    assert rows[EMPTY]["status"] == "done"
    assert rows[EMPTY]["spots_kept"] == "0"


def test_manifest_and_summary_list_what_was_built(demo_run):
    rows = build_manifest.read_manifest(demo_run / "results/manifest.tsv")
    summary = json.loads((demo_run / "results/summary.json").read_text())
    assert [row["slide"] for row in rows] == sorted(DEMO)
    assert {row["status"] for row in rows} == {"done"}
    kept = sum(int(row["spots_kept"]) for row in rows)
    assert summary["found"]["pairs"] == kept
    assert summary["declared"]["slides"] == 4
    assert summary["declared"]["pairs"] == sum(int(row["spots_declared"]) for row in rows)
