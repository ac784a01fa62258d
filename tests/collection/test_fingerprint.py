"""The fingerprint of a slide, as the step makes it from an AnnData."""

import numpy as np
import pytest
import scanpy as sc
from published_slides import relate
from st1k4m.collection import facts, tables
from st1k4m.collection.fingerprint import read_fingerprint, read_genes
from st1k4m.collection.fingerprint_slide import bare_barcode, fingerprint_slide, residuals
from st1k4m.collection.genes import GeneCounter
from st1k4m.run.products import read_made


@pytest.mark.parametrize(
    ("spot", "bare"),
    [
        ("ACGTACGTACGTACGT-1", "ACGTACGTACGTACGT"),
        ("sample.1_ACGTACGTACGTACGT-1", "ACGTACGTACGTACGT"),
        ("ACGTACGTACGTACGT", "ACGTACGTACGTACGT"),
        ("10x13", "10x13"),
        ("rep2_10x13", "10x13"),
        ("s_008uu_00123_00456-1", "s_008um_00123_00456"),
        ("s_008um_00123_00456-1", "s_008um_00123_00456"),
        ("spot 7", "spot 7"),
    ],
)
def test_barcode_is_bare_of_what_was_put_around_it(spot, bare):
    assert bare_barcode(spot) == bare


def test_residual_is_what_neighbours_do_not_explain():
    """On a line of spots with counts 0 but for one, by hand."""
    points = np.column_stack([np.arange(9.0), np.zeros(9)])
    totals = np.zeros(9, int)
    totals[4] = 99
    found = residuals(points, totals, np.array([4, 0, 5]))
    expected = [np.log(100), -np.log(100) / 6, -np.log(100) / 6]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_fingerprint_of_a_run_is_that_of_its_anndata(sound_run, tmp_path):
    name = sound_run.rows[0]["slide"]
    anndata = sound_run.workdir / f"results/anndata/{name}.h5ad"
    of_the_run = sound_run.workdir / f"work/fingerprints/{name}.npz"
    for out in ("a.npz", "b.npz"):
        fingerprint_slide(anndata, tmp_path / out, slide=name, made=read_made(of_the_run))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (tmp_path / "a.npz").read_bytes() == of_the_run.read_bytes()

    adata = sc.read_h5ad(anndata)
    found = read_fingerprint(tmp_path / "a.npz")
    counts = adata.layers["counts"]
    assert found.slide == name
    assert sorted(found.totals) == sorted(np.asarray(counts.sum(axis=1)).ravel())
    assert sorted(found.detected) == sorted(np.asarray((counts > 0).sum(axis=1)).ravel())
    assert (np.diff(found.keys) > 0).all()
    assert found.places.min() >= 0
    assert found.places.max() <= 1
    genes = read_genes(tmp_path / "a.npz")
    assert genes.names == adata.var["name"].tolist()
    assert genes.spots.tolist() == np.asarray((counts > 0).sum(axis=0)).ravel().tolist()
    assert read_genes(tmp_path / "a.npz", known={genes.digest}).names == []


def test_genes_are_counted_over_slides(sound_run, tmp_path):
    counter = GeneCounter()
    expected = {}
    spots = 0
    for one in sound_run.rows:
        counter.add(sound_run.workdir / f"work/fingerprints/{one['slide']}.npz")
        adata = sc.read_h5ad(sound_run.workdir / f"results/anndata/{one['slide']}.h5ad")
        spots += adata.n_obs
        found = np.asarray((adata.layers["counts"] > 0).sum(axis=0)).ravel()
        for gene, number in zip(adata.var["name"], found, strict=True):
            expected.setdefault(gene, []).append((one["slide"], number, adata.n_obs))
    counter.write(tmp_path / "genes.tsv")
    _, rows = tables.read_table(tmp_path / "genes.tsv")
    assert [row["gene"] for row in rows] == sorted(expected)
    for row in rows:
        seen = expected[row["gene"]]
        assert int(row["slides_printed"]) == len({slide for slide, _, _ in seen})
        assert int(row["slides_found"]) == len({slide for slide, number, _ in seen if number})
        looked_at = sum({slide: n for slide, _, n in seen}.values())
        share = min(1, sum(number for _, number, _ in seen) / looked_at)
        assert float(row["share_of_spots"]) == pytest.approx(share, rel=1e-5)


def test_tables_of_a_run(sound_run):
    folder = sound_run.workdir / "results/collection"
    _, slides = tables.read_table(folder / "slides.tsv")
    assert [row["slide"] for row in slides] == sorted(row["slide"] for row in sound_run.rows)
    for row in slides:
        adata = sc.read_h5ad(sound_run.workdir / f"results/anndata/{row['slide']}.h5ad")
        record = adata.uns["st1k4m"]
        assert int(row["spots"]) == record["spots"]["in_counts"]
        assert float(row["um_per_px"]) == pytest.approx(record["geometry"]["um_per_px"], rel=1e-5)
    _, split = tables.read_table(folder / "splits/study.tsv")
    assert {row["slide"] for row in split} == {row["slide"] for row in slides}
    records = sorted((sound_run.workdir / "results/records").glob("*.json"))
    again = relate(facts.from_records(records))
    assert [row["slide"] for row in again.slides] == [row["slide"] for row in slides]
