"""Relations from names, publications, numbers and other collections, without any content."""

import csv
import itertools
import time
from collections import Counter

import pytest
from places import DATA
from published_slides import PATTERNS, read_facts, relate
from st1k4m.collection import stated
from st1k4m.collection.facts import SlideFacts
from st1k4m.errors import ConfigError


@pytest.fixture(scope="module")
def published(published_meta):
    return relate(read_facts(published_meta))


@pytest.fixture(scope="module")
def found(published):
    """Relations by pair and kind."""
    return {(row.slide_a, row.slide_b, row.relation): row for row in published.relations}


@pytest.fixture(scope="module")
def overlap():
    """The overlap with HEST-1k as it was worked out, evidence and chance hits together."""
    path = DATA / "catalogue/stimage_hest_overlap.tsv"
    if not path.is_file():
        pytest.skip(f"no table of the overlap at {path}")
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def assert_all_related(found, slides, relation, least=("likely", "certain")):
    for one, other in itertools.combinations(sorted(slides), 2):
        assert found[one, other, relation].confidence in least, (one, other)


def test_published_table_takes_seconds(published_meta):
    begin = time.perf_counter()
    relate(read_facts(published_meta))
    assert time.perf_counter() - begin < 60


def test_sections_published_twice_are_found(found):
    numbers = (("GSE201610_GSM6068595", "GSE223066_GSM6939166"),)
    numbers += (("GSE201610_GSM6068596", "GSE223066_GSM6939163"),)
    numbers += (("GSE201610_GSM6068597", "GSE223066_GSM6939165"),)
    numbers += (("GSE201610_GSM6068598", "GSE223066_GSM6939167"),)
    numbers += (("GSE217058_GSM6704281", "GSE218537_GSM6751446"),)
    numbers += (("GSE217058_GSM6704282", "GSE218537_GSM6751447"),)
    for pair in numbers:
        assert found[*pair, "same_section"].confidence == "likely"
    for one, other in itertools.product(("593", "594"), ("162", "164")):  # equal numbers, all four
        pair = f"GSE201610_GSM6068{one}", f"GSE223066_GSM6939{other}"
        assert "one of 2 such slides" in found[*pair, "same_section"].evidence


def test_releases_of_one_section_are_found(found):
    brain = "Mouse_Brain_10X_"
    coronal = "03292022_Visium", "05252023_Visium", "06232020_Visium_Coronal"
    assert_all_related(found, [brain + name for name in coronal], "same_section")
    for end in ("Anterior_Section_2", "Posterior_Section_2"):
        releases = [f"{brain}{date}_Visium_Sagittal_{end}" for date in ("06232020", "07122022")]
        assert_all_related(found, releases, "same_section")


def test_blocks_are_found(found):
    sections = [f"Human_Breast_10X_06232020_Visium_Block_A_Section_{n}" for n in (1, 2)]
    assert_all_related(found, sections, "same_block")
    for organ in ("Human_Colon", "Mouse_Brain"):
        names = [
            f"{organ}_10X_10052023_Visium_{kind}_rep{n}"
            for kind in ("control", "post_xenium")
            for n in (1, 2)
        ]
        assert_all_related(found, names, "same_block")


def test_one_paper_under_two_accessions_is_one_study(published, found):
    for one, other in (
        ("GSE240429", "GSE243981"),
        ("GSE169749", "GSE190595"),
        ("GSE201610", "GSE223066"),
        ("GSE217058", "GSE218537"),
    ):
        of = {
            study: [row["slide"] for row in published.slides if row["study"] == study]
            for study in (one, other)
        }
        assert of[one] and of[other]
        for pair in itertools.product(of[one], of[other]):
            assert found[*pair, "same_study"].confidence == "certain"


def test_studies_are_as_many_as_counted_by_name(published):
    assert len(published.slides) == 1149
    assert len({row["study"] for row in published.slides}) == 175
    assert all(row["study"] for row in published.slides)
    assert sum(not row["slide"].startswith("GSE") for row in published.slides) == 293


def test_patients_of_the_big_studies(published):
    patient = {row["slide"]: row["patient"] for row in published.slides}

    def count(part):
        named = {slide: name for slide, name in patient.items() if part in slide}
        assert all(named.values()), part
        return len(set(named.values()))

    assert count("_He_06222020_") == 23
    assert count("_Andersson_10142021_") == 8
    assert count("_Maynard_02082021_") == 3
    assert count("_Louise_02152023_") == 10
    assert count("_Asp_12122019_") == 3
    assert count("_Erickson_08102022_") == 1
    assert patient["GSE144239_GSM4284316"] == patient["GSE144239_GSM4284317"] != ""
    assert patient["GSE144239_GSM4284316"] != patient["GSE144239_GSM4284319"]
    assert patient["GSE254652_GSM8047885"] == ""  # nobody says


def test_equal_numbers_alone_are_no_more_than_possible(published_meta, found):
    numbers = {one.slide: (one.spots, one.genes) for one in read_facts(published_meta)}
    pmid = {one.slide: one.pmid for one in read_facts(published_meta)}
    groups = Counter(numbers.values())
    checked = 0
    for one, other in itertools.combinations(sorted(numbers), 2):
        if numbers[one] != numbers[other] or groups[numbers[one]] < 2:
            continue
        row = found[one, other, "same_section"]
        stated_otherwise = "both are" in row.evidence or (pmid[one] and pmid[one] == pmid[other])
        if not stated_otherwise:
            assert row.confidence == "possible", row
            checked += 1
    assert checked >= 11


def test_overlap_with_hest_is_that_of_the_evidence(published, overlap):
    rows = [row for row in published.relations if row.relation == "also_in"]
    expected = {
        row["slide"]: row
        for row in overlap
        if "CHANCE" not in row["evidence"] and row["evidence"] != "STPath list"
    }
    assert {row.slide_a for row in rows} == set(expected)
    assert len(expected) == 352
    ids = {slide: set(row["hest_ids"].split(";")) - {""} for slide, row in expected.items()}
    for row in rows:
        assert row.slide_b.removeprefix("HEST-1k:") in (ids[row.slide_a] or {"unknown"})
        if expected[row.slide_a]["evidence"] == "spots+genes":
            assert row.confidence == "possible"
    assert len({row.slide_a for row in rows if not row.slide_b.endswith("unknown")}) == 325


@pytest.mark.parametrize(
    ("text", "pmids"),
    [
        ("", []),
        ("nan", []),
        ("32579974,38037084", ["32579974", "38037084"]),
        ("32579974; 38037084", ["32579974", "38037084"]),
        ("PMID: 33558695", ["33558695"]),
        ("34650042.0", ["34650042"]),
        ("00000000", []),
        ("10.1038/s41467-021-26271-2", []),
    ],
)
def test_pubmed_ids_in_their_forms(text, pmids):
    assert stated.read_pmids(text) == pmids


def test_patients_of_one_name_in_two_studies_are_two(tmp_path):
    facts = [
        SlideFacts("A1", study="X", patient="1"),
        SlideFacts("A2", study="X", patient="1"),
        SlideFacts("B1", study="Y", patient="1"),
    ]
    related = relate(facts)
    pairs = {(row.slide_a, row.slide_b) for row in related.relations}
    assert pairs == {("A1", "A2")}
    assert [row["patient"] for row in related.slides] == ["X: 1", "X: 1", "Y: 1"]


def test_own_table_of_relations_adds_to_the_shipped_one(tmp_path):
    own = tmp_path / "own.tsv"
    own.write_text(
        "# mine\nslides\trelation\tname\tconfidence\tsource\n"
        "lab_(p\\d+)_.*\tsame_patient\tLab \\1\tcertain\tthe lab's list\n"
        "lab_.*\tsame_study\tLab\tcertain\tthe lab's list\n"
    )
    facts = [SlideFacts(name) for name in ("lab_p1_a", "lab_p1_b", "lab_p2_a")]
    related = relate(facts, patterns=(PATTERNS, own))
    kinds = {(row.slide_a, row.slide_b): set() for row in related.relations}
    for row in related.relations:
        kinds[row.slide_a, row.slide_b].add(row.relation)
    assert kinds == {
        ("lab_p1_a", "lab_p1_b"): {"same_patient", "same_study"},
        ("lab_p1_a", "lab_p2_a"): {"same_study"},
        ("lab_p1_b", "lab_p2_a"): {"same_study"},
    }
    assert [row["patient"] for row in related.slides] == ["Lab p1", "Lab p1", "Lab p2"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("(x\tsame_study\tX\tcertain\ts", "regular expression"),
        ("x\tsame_study\t\\1\tcertain\ts", "regular expression"),
        ("x\tsame_lab\tX\tcertain\ts", "relation 'same_lab' must be one of"),
        ("x\tsame_study\tX\tsure\ts", "confidence 'sure' must be one of"),
        ("x\tsame_study\t\tcertain\ts", "name is empty"),
        ("x\tsame_study\tX\tcertain", "cells, but the header row has"),
    ],
)
def test_faults_of_a_table_are_named(tmp_path, row, says):
    path = tmp_path / "relations.tsv"
    path.write_text(f"slides\trelation\tname\tconfidence\tsource\n{row}\n")
    with pytest.raises(ConfigError, match=says) as error:
        stated.read_patterns([path])
    assert str(path) in str(error.value)


def test_a_duplicate_of_a_known_patient_is_of_that_patient():
    facts = [
        SlideFacts("GSE1_a", pmid="30000001", spots=900, genes=800, patient="P"),
        SlideFacts("GSE2_b", pmid="30000001", spots=900, genes=800),
    ]
    first, second = relate(facts).slides
    assert second["patient"] == first["patient"] == "GSE1: P"
    assert second["patient_source"] == "as GSE1_a, the same section"
    assert first["section"] == second["section"] == "GSE1_a"
