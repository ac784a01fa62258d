"""Compare pairs with the arrays that the collection was made from, and check the errors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import cv2
import h5py
import numpy as np
import pytest
from made_collection import SLIDES, TARGET, stamp_panel, stamp_slide
from st1k4m.errors import SlideError
from st1k4m.run.products import stamp
from st1k4m.run.provenance import Made
from st1k4m.run.steps import REVISIONS
from st1k4m.training.collection import Collection

FULL = [slide for slide, (tiles, _) in SLIDES.items() if tiles]


@pytest.fixture
def collection(collection_folder):
    return Collection(collection_folder.folder)


@pytest.fixture
def changeable(collection_folder, tmp_path):
    """Return a copy of the results, which a test may damage."""
    shutil.copytree(collection_folder.folder, tmp_path / "results")
    return tmp_path / "results"


def expected_tile(made, slide, row, size):
    tile = made.tiles[slide][row]
    if tile.shape[0] != size:
        how = cv2.INTER_AREA if size < tile.shape[0] else cv2.INTER_CUBIC
        tile = cv2.resize(tile, (size, size), interpolation=how)
    return tile.transpose(2, 0, 1)


def every_pair(made):
    return [(slide, row) for slide in FULL for row in range(len(made.spots[slide]))]


@pytest.mark.parametrize("size", [16, 20, 24, 7])
def test_every_pair_is_that_of_the_tile_store_and_the_anndata(collection, collection_folder, size):
    made = collection_folder
    pairs = collection.pairs(panel="some", size=size, target="both", labels=True, arrays="numpy")
    assert len(pairs) == len(every_pair(made)) == 110
    assert pairs.genes == made.genes
    for index, (slide, row) in enumerate(every_pair(made)):
        pair = pairs[index]
        spot = made.spots[slide][row]
        assert (pair["slide"], pair["spot"], pair["index"]) == (slide, spot, index)
        np.testing.assert_array_equal(pair["tile"], expected_tile(made, slide, row, size))
        np.testing.assert_array_equal(pair["counts"], made.counts[slide].loc[spot, made.genes])
        np.testing.assert_array_equal(pair["expression"], made.x[slide].loc[spot, made.genes])
        np.testing.assert_array_equal(pair["present"], made.measured[:, FULL.index(slide)])
        assert (pair["label"] == -1) == (made.labels[slide][row] == "")
        assert [*pairs.label_names, ""][pair["label"]] == made.labels[slide][row]
    assert pair["tile"].dtype == np.uint8
    assert pair["expression"].dtype == np.float32
    assert pair["counts"].dtype == np.int32
    assert pair["present"].dtype == bool


def test_several_pairs_are_the_single_ones_stacked_in_the_order_asked_for(collection):
    pairs = collection.pairs(panel="some", size=16, labels=True, arrays="numpy")
    wanted = [109, 3, 50, 3, -1, 0]
    batch = pairs[wanted]
    assert batch["tile"].shape == (6, 3, 16, 16)
    for place, index in enumerate(wanted):
        single = pairs[index]
        for key, value in single.items():
            np.testing.assert_array_equal(batch[key][place], value)
    assert pairs[10:14]["index"].tolist() == [10, 11, 12, 13]
    assert [pair["spot"] for pair in pairs.__getitems__(wanted)] == batch["spot"]
    assert pairs[[]]["tile"].shape == (0, 3, 16, 16)


def test_the_panels_own_normalisation(collection, collection_folder):
    made = collection_folder
    pairs = collection.pairs(panel="some", size=16, over="panel", arrays="numpy")
    stacked = anndata.read_h5ad(made.folder / "collection/panels/some.h5ad").to_df()
    for index in range(len(pairs)):
        pair = pairs[index]
        np.testing.assert_array_equal(pair["expression"], stacked.loc[pair["spot"]])


@pytest.mark.parametrize("target", ["log1p", "counts", "both"])
def test_all_genes_of_one_slide_are_sparse(collection, collection_folder, target):
    made = collection_folder
    pairs = collection.pairs(slides=["A_1"], target=target, arrays="numpy")
    adata = collection.anndata("A_1")
    assert pairs.genes == adata.var_names.tolist()
    batch = pairs[[30, 2, 2]]
    spots = [made.spots["A_1"][row] for row in (30, 2, 2)]
    assert ("expression" in batch, "counts" in batch) == (target != "counts", target != "log1p")
    for key, table in (("expression", made.x), ("counts", made.counts)):
        if key in batch:
            assert batch[key].format == "csr"
            np.testing.assert_array_equal(batch[key].toarray(), table["A_1"].loc[spots])
            np.testing.assert_array_equal(pairs[2][key], table["A_1"].loc[spots[1]])


def test_tiles_alone_need_no_panel(collection):
    pairs = collection.pairs(size=16, target=None, arrays="numpy")
    assert set(pairs[0]) == {"tile", "slide", "spot", "index"}
    assert len(pairs) == 110


def test_parts_of_a_split(collection):
    assert collection.splits == ["folds", "parts"]
    assert collection.pairs("folds", 0, "some", arrays="numpy").slides == ["A_1", "A_2.x+y"]
    both = collection.pairs(split="folds", part=["1", "2"], panel="some", size=16, arrays="numpy")
    assert both.slides == ["B_1", "C_1", "D_1"]
    assert len(both) == 53
    assert both[50]["slide"] == "C_1"
    assert collection.pairs("parts", "val", "some", slides=["B_1"], arrays="numpy").slides == [
        "B_1"
    ]


def test_the_tables(collection, collection_folder):
    assert collection.slides["slide"].tolist() == list(SLIDES)
    assert collection.slides["patient"].tolist() == [""] * 5
    assert collection.slides["um_per_px"].isna().sum() == 4
    assert collection.slides["spots"].sum() == 110
    assert collection.panel("some")["gene"].tolist() == collection_folder.genes
    assert collection.split("parts").set_index("slide")["part"]["B_1"] == "val"
    assert collection.anndata("B_1").n_obs == 50
    np.testing.assert_array_equal(collection.tiles("B_1")[7], collection_folder.tiles["B_1"][7])


def test_a_dense_panel(collection_folder, changeable):
    path = changeable / "collection/panels/some.h5ad"
    panel = anndata.read_h5ad(path)
    panel.X, panel.layers["counts"] = panel.X.toarray(), panel.layers["counts"].toarray()
    panel.write_h5ad(path)
    stamp_panel(changeable, SLIDES)
    for over in ("all", "panel"):
        sparse = Collection(collection_folder.folder).pairs(
            panel="some", size=16, over=over, target="both", arrays="numpy"
        )[:]
        dense = Collection(changeable).pairs(
            panel="some", size=16, over=over, target="both", arrays="numpy"
        )[:]
        np.testing.assert_array_equal(dense["expression"], sparse["expression"])
        np.testing.assert_array_equal(dense["counts"], sparse["counts"])


def test_no_more_files_are_open_than_allowed(collection):
    pairs = collection.pairs(panel="some", size=16, max_open=2, arrays="numpy")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        pairs[[0, 40, 60, 109]]
        assert len(os.listdir("/proc/self/fd")) <= before + 3  # one compressed store: two files
    assert pairs[:]["index"].tolist() == list(range(110))


def test_a_transform_is_called_on_every_tile(collection):
    def darken(tile):
        return (tile // 2).astype(np.float32)

    plain = collection.pairs(panel="some", size=16, arrays="numpy")
    pairs = collection.pairs(panel="some", size=16, transform=darken, arrays="numpy")
    batch = pairs[[5, 80]]
    np.testing.assert_array_equal(batch["tile"], plain[[5, 80]]["tile"] // 2)
    assert batch["tile"].dtype == np.float32
    np.testing.assert_array_equal(pairs[5]["tile"], batch["tile"][0])


WRONG = {
    "split": ({"split": "studies"}, "no split 'studies'; known are folds, parts"),
    "part": ({"split": "parts", "part": "trian"}, "has no part 'trian'; it has test, train, val"),
    "no part": ({"split": "parts"}, "split parts needs a part; it has test, train, val, void"),
    "no split": ({"part": "train"}, "part 'train' needs a split; known are folds, parts"),
    "panel": ({"panel": "sone"}, "no panel 'sone'; known are some"),
    "slide": ({"slides": "A_3"}, "no slide 'A_3'; known are A_1, A_2.x.y, B_1"),
    "size": ({"panel": "some", "size": "big"}, "size must be a whole number of pixels or None"),
    "size 0": ({"panel": "some", "size": 0}, "not 0"),
    "no size": ({"panel": "some"}, "tiles have 2 sizes: 16 px .A_1., 24 px .B_1.; give size"),
    "no panel": ({"size": 16}, "5 slides have different genes: give a panel, one slide"),
    "no tile": ({"split": "parts", "part": "void", "panel": "some"}, "none of the 1 slides has a"),
    "nothing": ({"split": "parts", "part": "val", "slides": "A_1"}, "no slide is left of split"),
    "target": (
        {"panel": "some", "target": "log"},
        "target must be 'log1p', 'counts', 'both', None",
    ),
    "over": ({"slides": "A_1", "over": "panel"}, "over='panel' needs a panel; known are some"),
    "arrays": ({"panel": "some", "arrays": "jax"}, "arrays must be 'torch', 'numpy', None"),
    "open": ({"panel": "some", "size": 16, "max_open": 0}, "max_open must be at least 1"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_bad_use_fails_at_once_in_a_sentence(collection, wrong):
    options, says = WRONG[wrong]
    with pytest.raises(ValueError, match=says) as caught:
        collection.pairs(**options)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_collection(tmp_path, changeable):
    with pytest.raises(ValueError, match=r"slides\.tsv does not exist: give the results folder"):
        Collection(tmp_path)
    table = changeable / "collection/slides.tsv"
    table.write_text(table.read_text().replace("\tstudy\t", "\tstud\t"))
    with pytest.raises(ValueError, match="has no column study; run the workflow again with this"):
        Collection(changeable)


def test_a_pair_that_is_not_there(collection):
    pairs = collection.pairs(panel="some", size=16, arrays="numpy")
    for wrong in (110, -111, [0, 400]):
        with pytest.raises(IndexError, match="does not exist: there are 110 pairs"):
            pairs[wrong]
    with pytest.raises(IndexError, match="numbered by integers, not by float64"):
        pairs[[0.5]]


def test_a_panel_that_lacks_a_slide_names_it(changeable):
    path = changeable / "collection/panels/some.h5ad"
    panel = anndata.read_h5ad(path)
    panel[panel.obs["slide"] != "B_1"].copy().write_h5ad(path)
    stamp_panel(changeable, SLIDES)
    with pytest.raises(ValueError, match="panel some has no expression of B_1; choose slides"):
        Collection(changeable).pairs(panel="some", size=16)


def test_only_slides_that_the_panel_is_about(changeable):
    path = changeable / "collection/panels/some.h5ad"
    panel = anndata.read_h5ad(path)
    panel = panel[panel.obs["slide"] != "B_1"].copy()
    panel.uns["panel"]["slides"] = [slide for slide in SLIDES if slide != "B_1"]
    panel.varm["present"] = panel.varm["present"][:, [0, 1, 3, 4]]
    panel.write_h5ad(path)
    stamp_panel(changeable, panel.uns["panel"]["slides"])
    collection = Collection(changeable)
    assert collection.panel_slides("some") == ["A_1", "A_2.x+y", "C_1", "D_1"]
    pairs = collection.pairs(panel="some", arrays="numpy")
    assert pairs.slides == ["A_1", "A_2.x+y", "C_1", "D_1"]
    assert len(pairs) == 60
    with pytest.raises(ValueError, match="panel some has none of the 1 slides chosen; it has 4"):
        collection.pairs("parts", "val", "some")
    with pytest.raises(ValueError, match="panel some has no expression of B_1; choose slides"):
        collection.pairs(panel="some", slides=["A_1", "B_1"], size=16)


def test_a_panel_of_another_version(changeable):
    with h5py.File(changeable / "collection/panels/some.h5ad", "r+") as file:
        del file["layers/counts"]
    with pytest.raises(ValueError, match=r"some\.h5ad is not a panel of this version"):
        Collection(changeable).pairs(panel="some", size=16)


def test_a_store_of_another_version_or_run_names_slide_and_file(changeable):
    store = changeable / "tiles/B_1.h5"
    with h5py.File(store, "r+") as file:
        file.move("barcode", "barcodes")
    with pytest.raises(SlideError, match=r"B_1: .*tiles/B_1\.h5 is not a tile store of this vers"):
        Collection(changeable).pairs(panel="some", size=16)
    shutil.copy(changeable / "tiles/A_1.h5", store)
    stamp_slide(changeable, "B_1")
    with pytest.raises(SlideError, match=r"B_1: .*tiles/B_1\.h5 has other spots than the p"):
        Collection(changeable).pairs(panel="some", size=16)
    store.unlink()
    with pytest.raises(SlideError, match=r"B_1: .*tiles/B_1\.h5 does not exist"):
        Collection(changeable).pairs(panel="some", size=16)


REPLACED = {
    "older store": (
        "tiles/B_1.h5", Made("cut_tiles", 1),
        r"B_1: .*tiles/B_1\.h5 is of revision 1 of cut_tiles, which is at \d",
    ),
    "older AnnData": (
        "anndata/B_1.h5ad", Made("build_anndata", 1),
        r"B_1: .*anndata/B_1\.h5ad is of revision 1 of build_anndata",
    ),
    "other tiles": (
        "tiles/B_1.h5", Made("cut_tiles", REVISIONS["cut_tiles"], {"diameter": 3}),
        r"B_1: .*anndata/B_1\.h5ad was made from another .*tiles/B_1\.h5 than the current one",
    ),
    "older panel": (
        "collection/panels/some.h5ad", Made("choose_panel", 0),
        r"some\.h5ad was made by revision 0 of choose_panel, this version has revision \d of ch",
    ),
    "panel of others": (
        "collection/panels/some.h5ad", Made("choose_panel", REVISIONS["choose_panel"]),
        r"some\.h5ad was made from other AnnData files than those in the results; run the workf",
    ),
}  # fmt: skip


@pytest.mark.parametrize("replaced", REPLACED)
def test_files_of_another_version_or_run_are_refused_at_once(changeable, replaced):
    path, made, says = REPLACED[replaced]
    stamp(changeable / path, Path(path).suffix, made)
    with pytest.raises((SlideError, ValueError), match=says) as caught:
        Collection(changeable).pairs(panel="some", size=16)
    assert len(str(caught.value).splitlines()) <= 2  # a SlideError has its hint on line 2


@pytest.mark.parametrize("path", ["tiles/B_1.h5", "anndata/B_1.h5ad"])
def test_a_file_that_does_not_say_what_made_it_is_refused(changeable, path):
    with h5py.File(changeable / path, "r+") as file:
        del file.attrs["made"]
    with pytest.raises(SlideError, match=rf"B_1: .*{path} does not state that \w+ made it"):
        Collection(changeable).pairs(panel="some", size=16)


def test_a_panel_is_compared_with_slides_that_are_not_chosen_too(changeable):
    assert Collection(changeable).pairs("folds", "0", "some", arrays="numpy").slides
    stamp(changeable / "anndata/B_1.h5ad", ".h5ad", Made("build_anndata", 1))
    with pytest.raises(ValueError, match="was made from other AnnData files than those in the"):
        Collection(changeable).pairs("folds", "0", "some", arrays="numpy")
    tiles = Collection(changeable).pairs("folds", "0", "some", target=None, arrays="numpy")
    assert tiles.slides == ["A_1", "A_2.x+y"]  # the expression is not read


def test_a_store_that_has_other_spots_than_its_anndata(changeable):
    path = changeable / "anndata/A_1.h5ad"
    adata = anndata.read_h5ad(path)
    adata[:30].copy().write_h5ad(path)
    stamp_slide(changeable, "A_1")
    with pytest.raises(SlideError, match=r"A_1\.h5ad has 28 spots with a tile, .*A_1\.h5 has 37"):
        Collection(changeable).pairs(slides="A_1")


def vanish(path):
    path.unlink()


def replace(path):
    path.rename(path.with_suffix(".old"))
    shutil.copy(path.with_suffix(".old"), path)


def cut(path):
    stat = path.stat()
    os.truncate(path, stat.st_size // 2)


@pytest.mark.parametrize(
    ("harm", "says"),
    [(vanish, "No such file"), (replace, "it was replaced after"), (cut, "it was replaced after")],
)
def test_a_store_that_changes_while_it_is_read(changeable, harm, says):
    pairs = Collection(changeable).pairs(panel="some", size=16, arrays="numpy")
    pairs[[0, 60, 109]]
    harm(changeable / "tiles/B_1.h5")
    pairs[[0, 109]]  # the other slides still exist
    with pytest.raises(SlideError, match=rf"B_1: .*tiles/B_1\.h5 cannot be read: {says}"):
        pairs[[0, 60, 109]]


def test_normalised_values_are_scanpys(collection, collection_folder):
    import scanpy as sc

    adata = collection.anndata("B_1")
    adata.X = adata.layers["counts"].astype(np.float32)
    sc.pp.normalize_total(adata, target_sum=TARGET)
    sc.pp.log1p(adata)
    pairs = collection.pairs(slides="B_1", panel="some", arrays="numpy")
    table = adata.to_df()[collection_folder.genes]
    np.testing.assert_allclose(pairs[:]["expression"], table, rtol=3e-7)


def test_numpy_pairs_need_no_torch(collection_folder):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from st1k4m.training.collection import Collection\n"
        f"pairs = Collection({str(collection_folder.folder)!r}).pairs(panel='some', size=16)\n"
        "batches = list(pairs.loader(batch_size=50, seed=1))\n"
        "print(type(batches[0]['tile']).__module__, sum(len(b['index']) for b in batches))\n"
        "print(*[name for name in ('scanpy', 'anndata') if name in sys.modules])\n"
        "try: pairs.loader(workers=2)\n"
        "except ValueError as error: print(error)\n"
    )
    folders = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": folders}, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "numpy 110", "",
        "workers=2 needs PyTorch: pip install torch, or give workers=0",
    ], done.stderr  # fmt: skip
