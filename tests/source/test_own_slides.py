"""What a folder is recognised as: every layout, with each of its files missing in turn."""

import itertools
import shutil

import numpy as np
import own_layouts
import pytest
from st1k4m.errors import CatalogueError, SlideError
from st1k4m.expression.read_own import read_own_counts
from st1k4m.source import inputs, own_slides, places
from st1k4m.source.own_catalogue import from_table
from st1k4m.source.positions import read_positions

SECTION = own_layouts.make_section()
HD = own_layouts.make_section(hd=True)

LAYOUTS = [
    {"version": version, "matrix": matrix, "raw": raw, "flat": flat, "zipped": zipped}
    for version, matrix, raw, flat, zipped in itertools.product(
        (1, 2, 3, 4), ("h5", "mtx", "mtx.gz"), (False, True), (False, True), (False, True)
    )
]


def find(folder, slide="S", **columns):
    return own_slides.recognise(own_layouts.row(slide, folder, **columns))


def check(found, section, raw, tmp_path):
    """Counts, positions and image of what was recognised are those of the section."""
    assert not found.missing
    counts, facts = read_own_counts("S", found.parts["counts"], tmp_path / "w")
    expected, barcodes = section.raw() if raw else (section.counts, section.barcodes)
    genes = np.array(section.types) == "Gene Expression"
    assert counts.spots == [f"S_{barcode}" for barcode in barcodes]
    assert (counts.matrix != expected[:, genes]).nnz == 0
    assert counts.genes == np.array(section.genes)[genes].tolist()
    assert list(counts.gene_ids) == np.array(section.ids)[genes].tolist()
    positions = read_positions("S", found.parts["coord"])
    table = section.positions
    assert positions.barcodes == table["barcode"].tolist()
    assert (positions.x == table["pxl_col_in_fullres"]).all()
    assert (positions.y == table["pxl_row_in_fullres"]).all()
    assert (positions.row == table["array_row"]).all()
    assert (positions.col == table["array_col"]).all()
    assert (positions.selected == (table["in_tissue"] == 1)).all()
    return facts


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(map(str, layout.values())))
def test_visium_layouts(layout, tmp_path):
    own_layouts.write_outs(tmp_path / "outs", SECTION, **layout)
    found = find(tmp_path / "outs")
    assert (found.layout, found.tech) == ("visium", "Visium")
    check(found, SECTION, layout["raw"], tmp_path)
    assert found.parts["image"]["which"] == "hires"
    named_raw = layout["raw"] and (layout["matrix"] == "h5" or not layout["flat"])
    assert ("raw matrix" in " ".join(found.notes)) == named_raw


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("matrix", ["h5", "mtx", "mtx.gz"])
def test_visium_hd_layouts(matrix, zipped, tmp_path):
    own_layouts.write_outs(tmp_path / "outs", HD, matrix=matrix, zipped=zipped, bin_um=8)
    for path in (tmp_path / "outs", tmp_path / "outs/binned_outputs"):
        found = find(path)
        assert (found.layout, found.tech, found.parts["coord"]["bin_um"]) == (
            "visium_hd",
            "VisiumHD",
            8,
        )
        check(found, HD, False, tmp_path)
    assert find(tmp_path / "outs/binned_outputs/square_008um").parts["coord"]["bin_um"] == 8


def test_a_bin_is_chosen(tmp_path):
    for size in (2, 16, 24):
        section = own_layouts.make_section(hd=True, bin_um=size)
        own_layouts.write_outs(tmp_path / "outs", section, bin_um=size)
    found = find(tmp_path / "outs")
    assert "bins of 2, 16, 24 um; choose a size in column bin" in found.missing["counts"]
    chosen = find(tmp_path / "outs", bin="24")
    assert "square_024um" in chosen.parts["counts"]["matrix"]
    assert "no bin of 8 um" in find(tmp_path / "outs", bin="8").missing["coord"]


def test_a_doubled_folder_of_bins(tmp_path):
    own_layouts.write_outs(tmp_path / "a/binned_outputs", HD, bin_um=8)
    check(find(tmp_path / "a"), HD, False, tmp_path)


def test_hd_by_its_scale_factors_alone(tmp_path):
    own_layouts.write_outs(tmp_path / "a", HD, bin_um=8, flat=True)
    found = find(tmp_path / "a")
    assert (found.layout, found.tech) == ("visium_hd", "VisiumHD")
    check(found, HD, False, tmp_path)


@pytest.mark.parametrize("matrix", ["h5", "mtx"])
@pytest.mark.parametrize("version", [1, 2])
def test_samples_side_by_side_are_told_apart_by_their_prefix(version, matrix, tmp_path):
    other = own_layouts.make_section(seed=5)
    layout = {"flat": True, "zipped": True, "version": version, "matrix": matrix}
    own_layouts.write_outs(tmp_path / "geo", SECTION, prefix="GSM1_A_", **layout)
    own_layouts.write_outs(tmp_path / "geo", other, prefix="GSM2_B_", **layout)
    check(find(tmp_path / "geo", prefix="GSM1_"), SECTION, False, tmp_path)
    check(find(tmp_path / "geo", prefix="GSM2_"), other, False, tmp_path)
    found = find(tmp_path / "geo")
    assert (
        "several samples (GSM1_A, GSM2_B); choose the slide's with the column prefix"
        in (found.missing["counts"])
    )


@pytest.mark.parametrize("name", ["outs.tar", "outs.tar.gz", "outs.tgz"])
def test_archives_are_read_where_they_are(name, tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", SECTION)
    own_layouts.pack(folder, tmp_path / name)
    shutil.rmtree(folder)
    before = sorted(tmp_path.iterdir())
    check(find(tmp_path / name), SECTION, False, tmp_path / "other")
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "other"] == before


def test_the_public_downloads(tmp_path):
    """An h5, an image and an archive of ``spatial``, side by side with a prefix; and nested."""
    folder = own_layouts.write_outs(tmp_path / "x", SECTION)
    place = tmp_path / "public"
    place.mkdir()
    (folder / "filtered_feature_bc_matrix.h5").rename(place / "V1_S_filtered_feature_bc_matrix.h5")
    own_layouts.pack(folder / "spatial", place / "V1_S_spatial.tar.gz")
    own_layouts.write(place / "V1_S_image.tif", own_layouts.png(SECTION.image))
    found = find(place)
    check(found, SECTION, False, tmp_path)
    assert found.parts["image"]["which"] == "full"
    own_layouts.pack(place, tmp_path / "GSE_RAW.tar")
    check(find(tmp_path / "GSE_RAW.tar"), SECTION, False, tmp_path)


def test_old_feature_tables_and_other_feature_types(tmp_path):
    mixed = own_layouts.make_section(antibodies=3)
    own_layouts.write_outs(tmp_path / "h5", mixed)
    own_layouts.write_outs(tmp_path / "mtx", mixed, matrix="mtx.gz")
    for name in ("h5", "mtx"):
        found = find(tmp_path / name)
        facts = check(found, mixed, False, tmp_path)
        assert facts["other_features"] == {"Antibody Capture": 3}
        warnings = read_own_counts("S", found.parts["counts"], tmp_path)[0].warnings
        assert warnings == ("features other than gene expression are left out: 3 Antibody Capture",)
    own_layouts.write_outs(tmp_path / "v2", SECTION, matrix="mtx", legacy=True)
    check(find(tmp_path / "v2"), SECTION, False, tmp_path)


def test_positions_decided_by_content_not_by_name(tmp_path):
    folder = own_layouts.write_outs(tmp_path / "a", SECTION, version=2)
    spatial = folder / "spatial"
    (spatial / "tissue_positions.csv").rename(spatial / "tissue_positions_list.csv")
    check(find(folder), SECTION, False, tmp_path)
    (spatial / "tissue_positions_list.csv").rename(spatial / "my spots.csv")
    (spatial / "scalefactors_json.json").rename(spatial / "factors.json")
    check(find(folder), SECTION, False, tmp_path)


def test_a_gzipped_file_under_a_plain_name_and_the_other_way_round(tmp_path):
    import gzip

    folder = own_layouts.write_outs(tmp_path / "a", SECTION, matrix="mtx.gz")
    barcodes = folder / "filtered_feature_bc_matrix/barcodes.tsv.gz"
    barcodes.write_bytes(gzip.decompress(barcodes.read_bytes()))
    positions = folder / "spatial/tissue_positions.csv"
    positions.write_bytes(gzip.compress(positions.read_bytes()))
    check(find(folder), SECTION, False, tmp_path)


def test_images(tmp_path):
    for images, which in ((("hires", "lowres"), "hires"), (("lowres",), "lowres"), ((), None)):
        folder = own_layouts.write_outs(tmp_path / f"{which}", SECTION, images=images)
        found = find(folder)
        assert found.parts.get("image", {}).get("which") == which
        assert ("image" in found.missing) == (which is None)
    own_layouts.write(tmp_path / "full.tif", own_layouts.png(SECTION.image))
    found = find(tmp_path / "hires", image=str(tmp_path / "full.tif"))
    assert (found.parts["image"]["which"], found.parts["image"]["image"]) == (
        "given",
        str(tmp_path / "full.tif"),
    )
    missing = find(tmp_path / "hires", image=str(tmp_path / "none.tif")).missing
    assert missing == {"image": f"the image {tmp_path}/none.tif does not exist"}


def _outs(folder, **layout):
    return own_layouts.write_outs(folder, SECTION, **layout)


# What is left out of which layout; for which kinds it is missing; what the sentence says.
LACKING = [
    ("h5", "filtered_feature_bc_matrix.h5", ["counts"], "no counts: none of filtered_feature_bc_"),
    ("mtx", "filtered_feature_bc_matrix/matrix.mtx", ["counts"], "matrix.mtx with barcodes.tsv"),
    ("mtx", "filtered_feature_bc_matrix/barcodes.tsv", ["counts"], "no barcodes.tsv (plain or gz"),
    ("mtx", "filtered_feature_bc_matrix/features.tsv", ["counts"], "no features.tsv or genes.tsv"),
    ("h5", "spatial/tissue_positions.csv", ["coord"], "no positions: none of tissue_positions.csv"),
    ("h5", "spatial/scalefactors_json.json", ["coord"], "no scalefactors_json.json among"),
    ("h5", "spatial", ["coord", "image"], "and no scalefactors_json.json among the"),
]


@pytest.mark.parametrize(
    ("matrix", "left_out", "kinds", "says"), LACKING, ids=[f"{r[0]}-{r[1]}" for r in LACKING]
)
def test_what_is_missing_is_said_with_the_place(matrix, left_out, kinds, says, tmp_path):
    folder = _outs(tmp_path / "outs", matrix=matrix)
    gone = folder / left_out
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    found = find(folder)
    assert sorted(found.missing) == kinds
    assert says in found.missing[kinds[0]]
    assert str(folder) in found.missing[kinds[0]]


def test_unknown_and_absent_folders(tmp_path):
    assert "does not exist" in find(tmp_path / "nothing").missing["counts"]
    (tmp_path / "empty").mkdir()
    assert "has no file" in find(tmp_path / "empty").missing["image"]
    own_layouts.write(tmp_path / "other/a.txt", b"hello\n")
    assert "has no known layout" in find(tmp_path / "other").missing["coord"]
    own_layouts.write(tmp_path / "broken.tar.gz", b"\x1f\x8b no archive")
    assert "cannot be read as an archive" in find(tmp_path / "broken.tar.gz").missing["counts"]


ST_COUNTS = "\tA\tB\tC\n1x2\t1\t0\t3\n2x2\t0.0\t2\t0\n3x3\t0\t0\t5.0\n"
SPOT_FILES = {
    "detector": "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n"
    "1\t2\t1.1\t2.0\t100.5\t200.25\t1\n2\t2\t2.0\t2.1\t150\t200\t0\n3\t3\t3.0\t3.0\t200\t250\t1\n",
    "selection": "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\n"
    "1\t2\t1.1\t2.0\t100.5\t200.25\n3\t3\t3.0\t3.0\t200\t250\n",
    "ids": ",X,Y\n1x2,100.5,200.25\n3x3,200,250\n",
    "no header": "1\t2\t1.1\t2.0\t100.5\t200.25\n3\t3\t3.0\t3.0\t200\t250\n",
    "labels": "Row.names\tx\ty\tpixel_x\tpixel_y\tlabel\n"
    "1x2\t1.1e0\t2.04e0\t100.5\t200.25\tcancer\n3x3\t3.0\t2.9\t200\t250\tfat\n",
}


@pytest.mark.parametrize("spots", SPOT_FILES)
@pytest.mark.parametrize("form", ["tsv", "gz", "csv", "turned"])
def test_st_layouts(spots, form, tmp_path):
    text = ST_COUNTS
    if form == "csv":
        text = text.replace("\t", ",")
    if form == "turned":
        text = "\t1x2\t2x2\t3x3\nA\t1\t0\t0\nB\t0\t2\t0\nC\t3\t0\t5\n"
    name = "S_stdata." + ("csv" if form == "csv" else "tsv")
    own_layouts.write(tmp_path / f"a/{name}", text.encode(), form == "gz")
    own_layouts.write(tmp_path / "a/spots.txt", SPOT_FILES[spots].encode())
    own_layouts.write(tmp_path / "a/he.jpg", own_layouts.png(SECTION.image))
    found = find(tmp_path / "a")
    assert (found.layout, found.tech, found.missing) == ("st", "ST", {})
    counts, _ = read_own_counts("S", found.parts["counts"], tmp_path / "w")
    assert counts.spots == ["S_1x2", "S_2x2", "S_3x3"]
    assert counts.genes == ["A", "B", "C"]
    assert counts.matrix.toarray().tolist() == [[1, 0, 3], [0, 2, 0], [0, 0, 5]]
    positions = read_positions("S", found.parts["coord"])
    kept = [b for b, s in zip(positions.barcodes, positions.selected, strict=True) if s]
    assert kept == ["1x2", "3x3"]
    first = positions.barcodes.index("1x2")
    assert (positions.x[first], positions.y[first]) == (100.5, 200.25)
    assert (positions.col[first], positions.row[first]) == (1, 2)
    assert not (tmp_path / "w").exists() or not list((tmp_path / "w").iterdir())


def test_st_counts_named_by_adjusted_positions(tmp_path):
    text = ST_COUNTS.replace("1x2", "1.04x1.97").replace("2x2", "2.1x2.0").replace("3x3", "3x2.9")
    own_layouts.write(tmp_path / "a.tsv", text.encode())
    part = {"format": "text", "matrix": str(tmp_path / "a.tsv")}
    counts, _ = read_own_counts("S", part, tmp_path / "w")
    assert counts.spots == ["S_1x2", "S_2x2", "S_3x3"]
    assert "rounded" in counts.warnings[0]
    own_layouts.write(tmp_path / "a.tsv", text.replace("3x2.9", "2x2.2").encode())
    with pytest.raises(SlideError, match="spot 2x2 occurs twice"):
        read_own_counts("S", part, tmp_path / "w")


def test_an_h5ad_needs_its_technology(tmp_path):
    own_layouts.write(tmp_path / "a.h5ad", b"\x89HDF")
    (tmp_path / "t.tsv").write_text("slide\tpath\nA\ta.h5ad\n")
    row = from_table(tmp_path / "t.tsv").slides["A"]
    assert row.reason == "the files do not show the technology; give it in column tech"
    (tmp_path / "t.tsv").write_text("slide\tpath\ttech\nA\ta.h5ad\tVisium\n")
    assert from_table(tmp_path / "t.tsv").slides["A"].status == "ok"


def test_st_with_several_of_a_kind_or_none(tmp_path):
    for name in ("A1", "A2"):
        own_layouts.write(tmp_path / f"st/cnts/{name}.tsv", ST_COUNTS.encode())
        own_layouts.write(tmp_path / f"st/spots/{name}_sel.tsv", SPOT_FILES["detector"].encode())
        own_layouts.write(tmp_path / f"st/imgs/{name}/he.jpg", own_layouts.png(SECTION.image))
    assert "2 count tables" in find(tmp_path / "st").missing["counts"]
    found = find(tmp_path / "st", prefix="A2")
    assert not found.missing
    assert "A2" in found.parts["image"]["image"]
    shutil.rmtree(tmp_path / "st/spots")
    assert "no positions: no spot file" in find(tmp_path / "st", prefix="A1").missing["coord"]
    shutil.rmtree(tmp_path / "st/imgs")
    assert "no image among" in find(tmp_path / "st", prefix="A1").missing["image"]


# A table of slides and what is said of it.
TABLES = [
    ("slide\n", "no column path"),
    ("path\tslide\timmage\n", "'immage' is not a column of a table of slides; did you mean image?"),
    ("slide\tpath\tpath\n", "the column 'path' occurs twice"),
    ("slide\tpath\n", "has no slide"),
    ("", "has no slide"),
    ("slide\tpath\na b\t/x\n", "line 2: slide 'a b' is not a plain file name"),
    ("slide\tpath\nA\t/x\nA\t/y\n", "line 3: slide 'A' is on line 2 already"),
    ("slide\tpath\nA\n", "line 2: 1 fields where the header has 2"),
    ("slide\tpath\nA\t\n", "line 2: slide A has no path"),
    ("slide\tpath\ttech\nA\t/x\tXenium\n", "tech 'Xenium' is not one of ST, Visium, VisiumHD"),
    ("slide\tpath\tbin\nA\t/x\t8um\n", "bin '8um' is not a whole number of micrometres"),
    ("slide\tpath\tscale\timage\nA\t/x\t-1\ti.png\n", "scale '-1' is not a number above 0"),
    ("slide\tpath\tscale\nA\t/x\t0.5\n", "scale is given for the image in column image"),
]


@pytest.mark.parametrize(("text", "says"), TABLES, ids=range(len(TABLES)))
def test_faults_of_a_table(text, says, tmp_path):
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(CatalogueError) as error:
        from_table(tmp_path / "t.tsv")
    assert says in str(error.value)
    assert "t.tsv" in str(error.value)


def test_a_table_makes_a_catalogue(tmp_path):
    own_layouts.write_outs(tmp_path / "data/outs", SECTION)
    (tmp_path / "t.tsv").write_text(
        "# ours\nslide\tpath\tspecies\tpatient\nA\tdata/outs\thuman\tP1\nB\tdata/none\t\t\n"
    )
    made = from_table(tmp_path / "t.tsv", checksums=True)
    row = made.slides["A"]
    assert (row.tech, row.species, row.patient, row.status) == ("Visium", "human", "P1", "ok")
    assert made.path("A", "counts") == str(tmp_path / "data/outs/filtered_feature_bc_matrix.h5")
    assert row.counts_bytes > 0
    assert len(row.coord_sha256) == 64
    assert made.slides["B"].status == "missing_file"
    layout = made.layout("B", "counts")
    with pytest.raises(SlideError, match="does not exist"):
        inputs.require("B", "counts", made.path("B", "counts"), layout)


def test_a_member_of_an_archive_that_is_gone_is_named(tmp_path):
    own_layouts.pack(own_layouts.write_outs(tmp_path / "outs", SECTION), tmp_path / "o.tar")
    with (
        pytest.raises(SlideError, match=r"there is no file .*o\.tar!/outs/none"),
        places.at_hand("S", f"{tmp_path}/o.tar!/outs/none.h5", tmp_path),
    ):
        pass


def test_a_link_to_a_folder_above_is_followed_once(tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", SECTION)
    (folder / "again").symlink_to(folder)
    (folder / "nowhere.h5").symlink_to(folder / "gone.h5")
    check(find(folder), SECTION, False, tmp_path)


def test_two_runs_in_one_folder_are_several_samples(tmp_path):
    for name in ("liver", "lung"):
        own_layouts.write_outs(tmp_path / f"runs/{name}/outs", SECTION)
    assert "has several samples (liver, lung)" in find(tmp_path / "runs").missing["counts"]
    check(find(tmp_path / "runs", prefix="lung"), SECTION, False, tmp_path)


def test_zip(tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", SECTION)
    shutil.make_archive(tmp_path / "run", "zip", tmp_path, "outs")
    shutil.rmtree(folder)
    check(find(tmp_path / "run.zip"), SECTION, False, tmp_path)
    check(find(f"{tmp_path}/run.zip!/outs/"), SECTION, False, tmp_path)


def write_hest(folder, technologies):
    """Write a folder of HEST-1k with a sample a technology."""
    import anndata as ad

    table = SECTION.positions
    obs = table.set_index("barcode")[["in_tissue", "array_row", "array_col"]]
    counts, _ = SECTION.raw()
    (folder / "st").mkdir(parents=True)
    lines = ["id,dataset_title,st_technology,species,organ,patient"]
    for number, technology in enumerate(technologies):
        adata = ad.AnnData(counts.astype(np.float32), obs=obs)
        adata.var_names = [f"g{i}" for i in range(adata.n_vars)]
        adata.obsm["spatial"] = table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
        adata.uns["spatial"] = {"ST": {"scalefactors": {"spot_diameter_fullres": 32.5}}}
        adata.write_h5ad(folder / f"st/TENX{number}.h5ad")
        own_layouts.write(folder / f"wsis/TENX{number}.tif", own_layouts.png(SECTION.image))
        lines.append(f'TENX{number},"A study, of 2024",{technology},Homo sapiens,Breast,P1')
    (folder / "HEST_v1_1_0.csv").write_text("\n".join(lines) + "\n")


def test_hest(tmp_path):
    from st1k4m.source import open_dataset

    write_hest(tmp_path / "hest", ["Visium", "Xenium", "Spatial Transcriptomics"])
    made = open_dataset.load(str(tmp_path / "hest"), tmp_path / "c.tsv")
    assert list(made.slides) == ["TENX0", "TENX2"]
    row = made.slides["TENX0"]
    assert (row.tech, row.species, row.tissue, row.patient, row.study) == (
        "Visium",
        "human",
        "breast",
        "P1",
        "A study, of 2024",
    )
    assert made.slides["TENX2"].tech == "ST"
    assert "1 samples of Xenium are left out" in made.notes
    layout = made.layout("TENX0", "counts", "coord", "image")
    counts, _ = read_own_counts("TENX0", layout["counts"], tmp_path)
    assert (counts.matrix != SECTION.raw()[0]).nnz == 0
    positions = read_positions("TENX0", layout["coord"])
    assert (positions.diameter, len(positions.barcodes)) == (32.5, len(SECTION.positions))
    (tmp_path / "hest/HEST_v1_1_0.csv").unlink()
    with pytest.raises(CatalogueError, match="has no metadata table"):
        open_dataset.load(str(tmp_path / "hest"), tmp_path / "d.tsv")


def test_members_of_an_archive_are_never_written_under_their_own_names(tmp_path):
    import tarfile

    folder = own_layouts.write_outs(tmp_path / "outs", SECTION)
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "analysis" not in path.parts:
                tar.add(path, arcname=f"../../escaped/{path.relative_to(folder)}")
    before = sorted(tmp_path.iterdir())
    check(find(tmp_path / "evil.tar"), SECTION, False, tmp_path / "deep/work")
    left = [path for path in sorted(tmp_path.rglob("*")) if "work" in path.parts]
    assert [path.name for path in left if path.is_file()] == []
    assert not (tmp_path.parent / "escaped").exists()
    assert [p for p in sorted(tmp_path.iterdir()) if p.name != "deep"] == before
