"""A section is found again in any disguise, and unrelated slides are not taken for one."""

import numpy as np
import pytest
from disguises import BLIND, DISGUISES, fingerprint, read_slide, scaled
from published_slides import relate
from st1k4m.collection import content
from st1k4m.collection.facts import SlideFacts
from st1k4m.demo import dataset

REAL = {
    "Human_Breast_Andersson_10142021_ST_C2": "ST",
    "Mouse_OlfactoryBulb_STUtility_ST2K_MOB1": "ST",
    "Mouse_Brain_10X_06232020_Visium_Coronal_squidpycrop": "Visium",
    "Mouse_Brain_10X_06232020_Visium_Sagittal_Anterior_Section_1_100genes": "Visium",
}
#: Ten bins without a count: only its image can tell.
EMPTY = {"Mouse_VisiumIO_VisiumHD_10bins_zerocounts": "VisiumHD"}


def pairs(compared):
    return {(row.slide_a, row.slide_b): row for row in compared.relations}


@pytest.fixture(scope="module")
def seen(real_slides):
    slides = {name: read_slide(real_slides, tech, name) for name, tech in (REAL | EMPTY).items()}
    # The largest image has 92 million pixels: at a quarter of its side it is disguised in no time.
    largest = "Human_Breast_Andersson_10142021_ST_C2"
    return slides | {largest: scaled(slides[largest], 0.25)}


@pytest.fixture(scope="module")
def disguised(seen):
    """All disguises of all real slides, compared at once."""
    prints = {name: fingerprint(name, slide) for name, slide in seen.items()}
    for name, slide in seen.items():
        for how, disguise in (DISGUISES | BLIND).items():
            prints[f"{name}|{how}"] = fingerprint(f"{name}|{how}", disguise(slide))
    return pairs(content.compare(prints))


@pytest.mark.parametrize("how", DISGUISES)
@pytest.mark.parametrize("slide", REAL)
def test_a_real_section_is_found_in_disguise(disguised, slide, how):
    row = disguised[slide, f"{slide}|{how}"]
    assert row.relation == "same_section"
    assert row.confidence in ("likely", "certain")
    if how in ("mirrored", "all"):
        assert "mirrored left and right" in row.evidence
    if how == "turned":
        assert "turned by 90 degrees anticlockwise" in row.evidence  # back again


@pytest.mark.parametrize("how", BLIND)
@pytest.mark.parametrize("slide", REAL)
def test_counts_alone_find_a_section(disguised, slide, how):
    row = disguised[slide, f"{slide}|{how}"]
    assert row.confidence in ("likely", "certain")
    assert "image" not in row.evidence


@pytest.mark.parametrize("how", sorted(set(DISGUISES) - {"cropped"}))
@pytest.mark.parametrize("slide", EMPTY)
def test_an_image_alone_finds_a_section(disguised, slide, how):
    assert disguised[slide, f"{slide}|{how}"].confidence == "likely"


def test_real_sections_are_not_each_other(disguised):
    for one, other in disguised:
        assert one.split("|")[0] == other.split("|")[0]


def generate(folder, number):
    """Fingerprints of generated slides that have nothing in common but their arrays."""
    prints = {}
    for index in range(number):
        tech = ("Visium", "ST", "Visium")[index % 3]
        name = f"Generated{index}"
        dataset.make_slide(
            folder,
            name,
            tech=tech,
            spots=(120, 300, 600)[index % 3],
            genes=(200, 60, 200)[index % 3],
            um_per_px=(8.0, 10.0, 6.0)[index % 3],
            seed=index,
        )
        prints[name] = fingerprint(name, read_slide(folder, tech, name))
    return prints


def assert_unrelated(prints):
    assert content.compare(prints).relations == []


def test_unrelated_slides_are_not_related(tmp_path):
    assert_unrelated(generate(tmp_path, 30))


@pytest.mark.slow
def test_three_hundred_unrelated_slides_are_not_related(tmp_path):
    prints = generate(tmp_path, 300)
    assert_unrelated(prints)
    facts = [SlideFacts(name, spots=120, genes=200) for name in prints]  # equal numbers, by chance
    assert relate(facts, prints).relations == []


def test_content_denies_what_equal_numbers_suggest(tmp_path):
    prints = generate(tmp_path, 3)
    facts = [SlideFacts(f"GSE{n}_x", pmid="30000001", spots=9, genes=9) for n in range(2)]
    prints = dict(
        zip(("GSE0_x", "GSE1_x"), (prints["Generated0"], prints["Generated2"]), strict=True)
    )
    kinds = {row.relation: row.confidence for row in relate(facts, prints).relations}
    assert kinds == {"same_study": "certain"}
    kinds = {row.relation: row.confidence for row in relate(facts).relations}
    assert kinds == {"same_study": "certain", "same_section": "likely"}
    same = dict.fromkeys(("GSE0_x", "GSE1_x"), prints["GSE0_x"])
    kinds = {row.relation: row.confidence for row in relate(facts, same).relations}
    assert kinds == {"same_study": "certain", "same_section": "certain"}


def test_correlation_over_common_barcodes_is_numpys():
    rng = np.random.default_rng(0)
    prints = []
    for index in range(40):  # more than are compared sparsely, and keys that only some have
        number = int(rng.integers(10, 60))
        keys = np.sort(rng.choice(100 if index else 300, number, replace=False)).astype(np.uint64)
        values = rng.normal(0, 0.3, number).astype(np.float32)
        empty = np.zeros((64, 64), np.uint8)
        zeros = np.zeros(number, int)
        prints.append(
            content.Fingerprint(
                str(index), number, keys, zeros, zeros, values, np.zeros((number, 2)), empty, empty
            )
        )
    shared, correlation = content.correlate_residuals(prints)
    for one, other in ((0, 1), (3, 17), (39, 5), (8, 8)):
        _, left, right = np.intersect1d(prints[one].keys, prints[other].keys, return_indices=True)
        assert shared[one, other] == len(left)
        if len(left) > 2:
            expected = np.corrcoef(
                np.clip(prints[one].residuals[left].astype(float), -1, 1),
                np.clip(prints[other].residuals[right].astype(float), -1, 1),
            )[0, 1]
            assert correlation[one, other] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("symmetry", content.SYMMETRIES)
def test_places_turn_with_the_picture(symmetry):
    picture = np.zeros((64, 64), np.uint8)
    picture[10:12, 40:42] = 255
    place = np.array([[41 / 64, 11 / 64]])
    row, column = np.argwhere(content.turn(picture, symmetry) > 0).mean(axis=0) + 0.5
    np.testing.assert_allclose(content.turn_places(place, symmetry), [[column / 64, row / 64]])
