"""The generated slides are what tests, benchmarks and the demo take them for."""

import csv
import re

import cv2
import numpy as np
import pandas as pd
import pytest
from runs import hash_files
from st1k4m.demo import dataset as demo
from st1k4m.demo import tissue as demo_tissue

NAMES = ["Demo_Breast_ST", "Demo_Brain_Visium", "Demo_Colon_VisiumHD", "Demo_v1.2+crop_Visium"]
TECH = dict(zip(NAMES, ["ST", "Visium", "VisiumHD", "Visium"], strict=True))


def read(folder, slide, tech):
    base = folder / tech
    return (
        cv2.imread(str(base / "image" / f"{slide}.png"))[..., ::-1],
        pd.read_csv(base / "gene_exp" / f"{slide}_count.csv", index_col=0),
        pd.read_csv(base / "coord" / f"{slide}_coord.csv", index_col=0),
    )


def cut(image, coord):
    r = coord["r"].iloc[0]
    height, width = image.shape[:2]
    for x, y in zip(coord["xaxis"], coord["yaxis"], strict=True):
        left, top = np.clip([x - r, y - r], 0, [width - 2, height - 2]).astype(int)
        yield image[top : max(top + 1, round(y + r)), left : max(left + 1, round(x + r))]


def test_demo_is_four_slides_in_the_datasets_layout(demo_folder):
    with (demo_folder / demo.META_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["slide"]: row["tech"] for row in rows} == TECH
    for row in rows:
        _, counts, coord = read(demo_folder, row["slide"], row["tech"])
        assert counts.shape == (int(row["spot_num"]), int(row["gene_num"]))
        assert list(coord.columns) == ["yaxis", "xaxis", "r"]
        assert coord.index.str.startswith(row["slide"] + "_").all()
    assert (demo_folder / "meta" / "bib.txt").read_text().startswith("@misc{")


def test_demo_is_the_same_bytes_every_time(demo_folder, tmp_path):
    demo.make_demo(tmp_path)
    assert hash_files(tmp_path) == hash_files(demo_folder)


@pytest.mark.parametrize(
    ("slide", "start"),
    list(zip(NAMES, [b"\x89PNG", b"\xff\xd8\xff", b"II*\x00", b"\x89PNG"], strict=True)),
)
def test_images_are_png_jpeg_and_tiff_all_named_png(demo_folder, slide, start):
    path = demo_folder / TECH[slide] / "image" / f"{slide}.png"
    assert path.read_bytes().startswith(start)


BARCODES = [r"\d+x\d+", "[ACGT]{16}-1", r"s_008um_\d{5}_\d{5}-1", "[ACGT]{16}-1"]


@pytest.mark.parametrize(("slide", "pattern"), list(zip(NAMES, BARCODES, strict=True)))
def test_spots_are_named_as_the_platform_names_them(demo_folder, slide, pattern):
    _, counts, coord = read(demo_folder, slide, TECH[slide])
    for index in (counts.index, coord.index):
        assert index.is_unique
        assert index.str.fullmatch(re.escape(slide) + "_" + pattern).all()


def test_visium_slide_joins_only_by_id(demo_folder):
    _, counts, coord = read(demo_folder, "Demo_Brain_Visium", "Visium")
    assert len(counts.index.difference(coord.index)) == 1
    assert len(coord.index.difference(counts.index)) == 1
    shared = counts.index.intersection(coord.index)
    assert list(counts.index[counts.index.isin(shared)]) != list(
        coord.index[coord.index.isin(shared)]
    )


@pytest.mark.parametrize("slide", NAMES)
def test_zeros_are_printed_as_the_technology_prints_them(demo_folder, slide):
    tech = TECH[slide]
    lines = (demo_folder / tech / "gene_exp" / f"{slide}_count.csv").read_text().splitlines()
    cells = lines[1].split(",")[1:]
    assert all(cell.endswith(".0") == (tech != "ST") for cell in cells)


@pytest.mark.parametrize("slide", NAMES)
def test_counts_hold_what_real_files_hold(demo_folder, slide):
    path = demo_folder / TECH[slide] / "gene_exp" / f"{slide}_count.csv"
    genes = path.open().readline().rstrip("\n").split(",")[1:]
    _, counts, _ = read(demo_folder, slide, TECH[slide])
    assert any(gene.upper().startswith("MT-") for gene in genes)
    assert any(gene.startswith("ENS") and "." in gene for gene in genes)
    assert len(set(genes)) == len(genes) - 1
    assert (counts.sum(axis=0) == 0).any()
    assert (counts.sum(axis=1) == 0).any()
    assert 0.4 < (counts == 0).to_numpy().mean() < 0.98


@pytest.mark.parametrize("slide", NAMES)
def test_expression_follows_the_colour_of_the_tissue(demo_folder, slide, follows_tissue):
    image, counts, coord = read(demo_folder, slide, TECH[slide])
    shared = [spot for spot in counts.index if spot in coord.index]
    counts, coord = counts.loc[shared], coord.loc[shared]
    markers = [gene for species in demo.MARKERS.values() for gene in species[0]]
    marker = np.log1p(counts[counts.columns.intersection(markers)].sum(axis=1))
    height, width = image.shape[:2]
    wrong = (
        coord.rename(columns={"xaxis": "yaxis", "yaxis": "xaxis"}),
        coord.assign(xaxis=width - coord["xaxis"]),
        coord.assign(yaxis=height - coord["yaxis"]),
        coord.assign(xaxis=coord["xaxis"].to_numpy()[::-1]),
    )
    right = follows_tissue(cut(image, coord), marker)
    assert right > 0.65
    for moved in wrong:
        assert follows_tissue(cut(image, moved), marker) < right - 0.5


@pytest.mark.parametrize("slide", NAMES)
def test_most_spots_are_on_tissue_and_some_are_not(demo_folder, slide):
    image, _, coord = read(demo_folder, slide, TECH[slide])
    spread = np.array([np.ptp(tile.mean(axis=(0, 1))) for tile in cut(image, coord)])
    assert 0.02 < (spread < 8).mean() < 0.35


def test_annotation_labels_the_spots_by_region(demo_folder):
    path = demo_folder / "annotation" / "Demo_Breast_ST_anno.csv"
    labels = pd.read_csv(path, sep="\t", index_col=0)["V2"]
    _, counts, _ = read(demo_folder, "Demo_Breast_ST", "ST")
    assert set(labels.index) == set(counts.index)
    assert {"invasive cancer", "undetermined"} <= set(labels.dropna())
    assert labels.isna().any()


@pytest.mark.parametrize("array", demo_tissue.ARRAYS)
@pytest.mark.parametrize("rotation", [0, 11])
def test_neighbours_are_a_pitch_apart(array, rotation):
    spots, size = demo_tissue.lay_spots(array, 200, um_per_px=2.0, rotation=rotation, jitter=0.0)
    centres = np.stack([spots.x, spots.y], axis=1)
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() * 2.0 == pytest.approx(demo_tissue.ARRAYS[array].pitch_um)
    assert spots.r * 2 * 2.0 == pytest.approx(demo_tissue.ARRAYS[array].cut_um)
    assert spots.x.max() < size[1]
    assert spots.y.max() < size[0]
    assert len({*zip(spots.row.tolist(), spots.col.tolist(), strict=True)}) == len(spots)


def test_a_slide_has_the_spots_and_genes_asked_for(make_slide, tmp_path):
    row = make_slide("Demo_X", tech="ST", spots=54, genes=12, missing=0.3, seed=7)
    _, counts, coord = read(tmp_path / "dataset", "Demo_X", "ST")
    assert (row["spot_num"], row["gene_num"]) == ("54", "12")
    assert counts.shape == (54, 12)
    assert len(coord) == 54
