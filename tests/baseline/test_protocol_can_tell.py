"""On data whose truth is known the protocols say the truth."""

import json
import shutil

import anndata
import numpy as np
import pytest
from baseline_data import make_collection

pytest.importorskip("sklearn")

from st1k4m.baseline.build_baseline import summarise_ridge
from st1k4m.baseline.fit_ridge import TRAINING_MEAN, fit_ridge
from st1k4m.baseline.numbers import read_json
from st1k4m.baseline.targets import read_targets
from st1k4m.errors import ConfigError, SlideError, StaleProductError
from st1k4m.run import products
from st1k4m.run.provenance import Made


@pytest.fixture(scope="module")
def rows(collect, embed, tmp_path_factory):
    """Collect, embed and fit; the rows of the whole by (protocol, metric)."""

    def run(made, split="study", encoder="pixels"):
        folder = tmp_path_factory.mktemp("fit")
        targets = collect(made, folder / "targets.h5ad", split=split)
        features = embed(made, folder) if encoder == "pixels" else {}
        fit_ridge(targets, features, folder / "s.json", folder / "p.json", encoder=encoder)
        found = summarise_ridge(encoder, read_json(folder / "s.json"), 1000, 0)
        return {(row.protocol, row.metric): row for row in found if row.tissue == "all"}

    return run


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """Make eight groups of one slide."""

    def make(**options):
        folder = tmp_path_factory.mktemp("groups")
        return make_collection(folder / "results", groups=8, per_group=1, labelled=False, **options)

    return make


def test_pixels_predict_what_follows_the_tissue(rows, groups):
    found = rows(groups())
    clean = found["clean", "pearson"]
    assert clean.value > 0.3 and clean.low > 0.25 and clean.groups == 8
    assert found["hest", "pearson"].value > 0.3
    assert clean.gap == pytest.approx(found["hest", "pearson"].value - clean.value)


def test_tiles_that_belong_to_other_spots_predict_nothing(rows, groups):
    found = rows(groups(shuffled=True))["clean", "pearson"]
    assert found.low < 0 < found.high and abs(found.value) < 0.05


def test_a_split_that_leaks_scores_visibly_higher(rows, tmp_path):
    """Every patient has a code of its own: only a split that leaks can know it."""
    made = make_collection(tmp_path / "results", private=True, labelled=False)
    clean, leaking = (rows(made, split)["clean", "pearson"] for split in ("study", "slide"))
    assert leaking.value > clean.value + 0.1
    assert leaking.low > clean.high
    assert clean.low < 0.05


def test_the_training_mean_is_a_floor_without_correlation_and_all_of_it_is_counted(rows, made):
    floor, pixels = rows(made, encoder=TRAINING_MEAN), rows(made)
    assert np.isnan(floor["clean", "pearson"].value)
    genes, slides = 24, 8
    assert floor["clean", "undefined"].value == genes * slides
    assert floor["clean", "mse"].value > pixels["clean", "mse"].value


def test_the_clean_panel_is_of_the_training_part_alone(made, collect, tmp_path):
    before = read_targets(collect(made, tmp_path / "a.h5ad"))
    changed = tmp_path / "changed"
    shutil.copytree(made.results, changed)
    path = changed / "anndata/G2_S1.h5ad"
    adata = anndata.read_h5ad(path)
    counts = adata.layers["counts"].tolil()
    genes = before.panels["clean"]["2"]
    outside = [g for g in adata.var_names if g not in before.panels["hest"]["all"] and g != "DEMO0"]
    for number, gene in enumerate(outside):  # what varied little now varies most, on this slide
        counts[number % 7 :: 7, adata.var_names.get_loc(gene)] = 300
    adata.layers["counts"] = counts.tocsr().astype(np.int32)
    adata.write_h5ad(path, convert_strings_to_categoricals=False)
    after = read_targets(collect(type(made)(changed, made.slides), tmp_path / "b.h5ad"))
    assert after.panels["clean"]["2"] == genes  # its test slide says nothing
    assert set(after.panels["clean"]["1"]) != set(before.panels["clean"]["1"])
    assert set(after.panels["hest"]["all"]) != set(before.panels["hest"]["all"])


def test_a_gene_that_is_constant_or_absent_is_named_and_counted(made, collect, embed, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(made.results, results)
    gene = read_targets(collect(made, tmp_path / "all.h5ad")).panels["clean"]["0"][0]
    for slide, absent in (("G0_S0", True), ("G0_S1", False)):
        path = results / f"anndata/{slide}.h5ad"
        adata = anndata.read_h5ad(path)
        if absent:
            adata = adata[:, adata.var["name"] != gene].copy()
        else:
            counts = adata.layers["counts"].tolil()
            counts[:, adata.var_names.get_loc(gene)] = 0
            adata.layers["counts"] = counts.tocsr()
        adata.write_h5ad(path, convert_strings_to_categoricals=False)
    partial = type(made)(results, made.slides)
    targets = collect(partial, tmp_path / "t.h5ad")
    fit_ridge(targets, embed(made, tmp_path), tmp_path / "s", tmp_path / "p", encoder="pixels")
    scores = read_json(tmp_path / "s")
    first = scores["protocols"]["clean"][0]["slides"]
    assert first["G0_S0"]["undefined"] == {gene: "not measured"}
    assert first["G0_S1"]["undefined"] == {gene: "constant in the slide"}
    place = scores["protocols"]["clean"][0]["genes"].index(gene)
    assert first["G0_S0"]["pearson"][place] is None and first["G0_S0"]["mse"][place] is None
    found = {
        (row.protocol, row.metric): row.value
        for row in summarise_ridge("pixels", scores, 100, 0)
        if row.tissue == "all"
    }
    assert found["clean", "undefined"] == 2 and found["clean", "pearson"] > 0.3


def test_the_same_inputs_give_the_same_bytes(made, prepared, collect, tmp_path):
    targets, features = prepared
    again = collect(made, tmp_path / "again.h5ad")
    assert again.read_bytes() == targets.read_bytes()
    for name in "ab":
        fit_ridge(targets, features, tmp_path / name, tmp_path / f"p{name}", encoder="pixels")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "pa").read_bytes() == (tmp_path / "pb").read_bytes()


def test_every_number_says_what_made_it(prepared, tmp_path):
    targets, features = prepared
    fit_ridge(targets, features, tmp_path / "s", tmp_path / "p", encoder="pixels")
    scores = json.loads((tmp_path / "s").read_text())
    assert scores["targets"]["split"] == "study" and len(scores["targets"]["sha256"]) == 64
    assert scores["targets"]["panel"]["method"] == "overlap_hvg"
    assert set(scores["features"]["tiles"]) == set(features)
    assert scores["features"]["weights"] == "none" and scores["versions"]["scikit-learn"]
    assert scores["slides"]["G0_S0"]["study"] == "study0"


def test_features_of_another_encoder_or_tile_store_are_refused(made, prepared, embed, tmp_path):
    targets, features = prepared
    with pytest.raises(SlideError, match="has encoder 'pixels', expected 'timm:x'"):
        fit_ridge(targets, features, tmp_path / "s", tmp_path / "p", encoder="timm:x")
    mixed = dict(features)
    short = tmp_path / "short.h5"
    shutil.copy(features["G0_S0"], short)
    import h5py

    with h5py.File(short, "r+") as file:
        kept = file["features"][:-2], file["barcode"][:-2]
        del file["features"], file["barcode"]
        file["features"], file["barcode"] = kept
    mixed["G0_S0"] = short
    with pytest.raises(SlideError, match="2 of its 119 spots have no features"):
        fit_ridge(targets, mixed, tmp_path / "s", tmp_path / "p", encoder="pixels")


def test_features_of_an_earlier_tile_store_are_named_as_stale(made, prepared, collect, tmp_path):
    results, features = tmp_path / "results", dict(prepared[1])
    shutil.copytree(made.results, results)
    features["G1_S0"] = shutil.copy(features["G1_S0"], tmp_path / "G1_S0.h5")
    joined = Made("build_anndata", 1, reads={"cut_tiles": "b"})
    products.stamp(results / "anndata/G1_S0.h5ad", ".h5ad", joined)
    targets = collect(type(made)(results, made.slides), tmp_path / "t.h5ad")
    paths = tmp_path / "s", tmp_path / "p"
    products.stamp(features["G1_S0"], ".h5", Made("embed_tiles", 1, reads={"cut_tiles": "b"}))
    fit_ridge(targets, features, *paths, encoder="pixels")
    products.stamp(features["G1_S0"], ".h5", Made("embed_tiles", 1, reads={"cut_tiles": "a"}))
    with pytest.raises(StaleProductError, match=r"G1_S0.h5 is from another tile store"):
        fit_ridge(targets, features, *paths, encoder="pixels")


def test_a_split_without_training_slides_is_said(made, collect, tmp_path):
    folder = tmp_path / "one"
    shutil.copytree(made.results, folder)
    table = folder / "collection/splits/study.tsv"
    lines = [
        line for line in table.read_text().splitlines() if line[:3] not in ("G1_", "G2_", "G3_")
    ]
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match="fold 0 has no training slide among the baseline's 2"):
        collect(type(made)(folder, made.slides), tmp_path / "t.h5ad")
    table.write_text("slide\tpart\tgroup\nother\t0\tg\n")
    with pytest.raises(ConfigError, match="none of the 8 slides that the panel selects"):
        collect(type(made)(folder, made.slides), tmp_path / "t.h5ad")
