"""Splits keep what they promise, are as balanced as can be, and stay where they are."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_slides import read_facts, relate
from st1k4m.collection import balance, groups, make_splits, relations, tables
from st1k4m.collection.facts import SlideFacts
from st1k4m.collection.make_splits import read_earlier, split_slides
from st1k4m.collection.relations import Relation
from st1k4m.collection.split_options import SplitOptions
from st1k4m.errors import ConfigError

#: What each kind of split promises, written out again.
KEPT = {
    "slide": set(),
    "section": {"same_section"},
    "block": {"same_section", "same_block"},
    "patient": {"same_section", "same_block", "same_patient"},
    "study": {"same_section", "same_block", "same_patient", "same_study"},
}
RANK = {"possible": 0, "likely": 1, "certain": 2}


def row(slide, study="S", patient="", block="", tech="Visium", tissue="brain", spots=100):
    return {
        "slide": slide,
        "study": study,
        "patient": patient,
        "block": block,
        "tech": tech,
        "species": "human",
        "tissue": tissue,
        "spots": str(spots),
        "tier": "",
    }


@st.composite
def collections(draw):
    """Slides with some known studies, patients and blocks, and random relations among them."""
    number = draw(st.integers(1, 24))
    names = [f"s{index:02d}" for index in range(number)]
    some = st.sampled_from(["", "a", "b", "c"])
    slides = []
    for name in names:
        study = draw(some)
        patient = draw(some)
        slides.append(
            row(
                name,
                study,
                patient and f"{study}:{patient}",
                patient and f"{study}:{patient}:{draw(some)}",
                tech=draw(st.sampled_from(["ST", "Visium"])),
                tissue=draw(st.sampled_from(["brain", "breast", "lung"])),
                spots=draw(st.integers(0, 5000)),
            )
        )
    pairs = list(itertools.combinations(names, 2))
    found = []
    if pairs:
        for one, other in draw(st.lists(st.sampled_from(pairs), max_size=20)):
            kind = draw(st.sampled_from(relations.KINDS))
            found.append(Relation(one, other, kind, "drawn", draw(st.sampled_from(list(RANK)))))
    return slides, found


options = st.builds(
    lambda by, shape, size, confidence, stratify, seed, hold: SplitOptions(
        by=by,
        size=size,
        confidence=confidence,
        stratify=stratify,
        seed=seed,
        hold_out=hold,
        **shape,
    ),
    st.sampled_from(list(KEPT)),
    st.sampled_from(
        [{"folds": 2}, {"folds": 5}, {"fractions": {"train": 0.7, "val": 0.1, "test": 0.2}}]
    ),
    st.sampled_from(["slides", "spots"]),
    st.sampled_from(list(RANK)),
    st.sampled_from([(), ("tech",), ("tech", "tissue")]),
    st.integers(0, 5),
    st.sampled_from([{}, {"tissue": ["lung"]}]),
)


def assert_kept(slides, found, asked, part):
    """No promised relation, and no slide of unknown patient, is divided."""
    for relation in found:
        if (
            relation.relation in KEPT[asked.by]
            and RANK[relation.confidence] >= RANK[asked.confidence]
        ):
            assert part[relation.slide_a] == part[relation.slide_b], relation
    if asked.by == "study":
        for one, other in itertools.combinations(slides, 2):
            if one["study"] == other["study"]:
                assert part[one["slide"]] == part[other["slide"]]
    if asked.by == "patient":
        for one, other in itertools.combinations(slides, 2):
            if one["study"] != other["study"]:
                continue
            if not one["patient"] or not other["patient"] or one["patient"] == other["patient"]:
                assert part[one["slide"]] == part[other["slide"]]


@given(collections(), options)
@settings(max_examples=300, deadline=None)
def test_no_promised_relation_crosses_parts(drawn, asked):
    slides, found = drawn
    split = split_slides(slides, found, asked)
    names = set(asked.parts) | ({"test"} if asked.hold_out else set())
    assert set(split.part) == {one["slide"] for one in slides}
    assert set(split.part.values()) <= names
    assert_kept(slides, found, asked, split.part)
    for one in slides:
        if one["tissue"] in asked.hold_out.get("tissue", ()):
            assert split.part[one["slide"]] == "test"
    again = split_slides(slides[::-1], found[::-1], asked)
    assert again == split


@given(collections(), options)
@settings(max_examples=150, deadline=None)
def test_groups_are_the_components_of_what_must_stay_together(drawn, asked):
    """A group holds nothing that could be parted: each is connected by pairs that must stay."""
    slides, found = drawn
    if asked.by in ("block", "patient", "study"):
        return
    group = groups.group_slides(slides, found, asked.by, asked.confidence)
    near = defaultdict(set)
    for relation in found:
        if (
            relation.relation in KEPT[asked.by]
            and RANK[relation.confidence] >= RANK[asked.confidence]
        ):
            near[relation.slide_a].add(relation.slide_b)
            near[relation.slide_b].add(relation.slide_a)
    for one in group:
        reached, ring = {one}, {one}
        while ring:
            ring = {other for at in ring for other in near[at]} - reached
            reached |= ring
        assert {other for other in group if group[other] == group[one]} == reached


@pytest.mark.parametrize("by", list(KEPT))
@pytest.mark.parametrize("shape", [{"folds": 5}, {"fractions": {"train": 0.8, "test": 0.2}}])
def test_published_table_keeps_what_it_promises(published, by, shape):
    slides, found = published
    asked = SplitOptions(by=by, **shape)
    split = split_slides(slides, found, asked)
    assert_kept(slides, found, asked, split.part)
    assert len(split.part) == 1149
    for part, share in asked.parts.items():
        inside = sum(1 for label in split.part.values() if label == part)
        assert abs(inside - share * 1149) <= 2, (part, inside)


@pytest.fixture(scope="module")
def published(published_meta, tmp_path_factory):
    """Rows of slides.tsv and relations.tsv as they are read from disk."""
    from st1k4m.collection import relate_slides

    folder = tmp_path_factory.mktemp("published")
    related = relate(read_facts(published_meta))
    relate_slides.write_slides(folder / "slides.tsv", related.slides)
    relations.write_relations(folder / "relations.tsv", related.relations)
    _, slides = tables.read_table(folder / "slides.tsv")
    return slides, relations.read_relations(folder / "relations.tsv")


def test_published_tissues_are_spread(published):
    """No fold has more than half of a tissue that many studies have."""
    slides, found = published
    split = split_slides(slides, found, SplitOptions(by="study", folds=5))
    for tissue in ("brain", "breast", "kidney", "skin"):
        of = [split.part[one["slide"]] for one in slides if one["tissue"] == tissue]
        assert max(of.count(part) for part in "01234") < 0.6 * len(of), tissue


def test_everything_in_hest_can_be_held_out(published):
    slides, found = published
    asked = SplitOptions(by="study", folds=5, hold_out={"also_in": ["HEST-1k"]})
    split = split_slides(slides, found, asked)
    also_in = {one.slide_a for one in found if one.relation == "also_in"}
    assert {split.part[slide] for slide in also_in} == {"test"}
    assert_kept(slides, found, asked, split.part)
    assert any("Held out as test: 352 slides" in line for line in split.head)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=9),
    st.sampled_from([[0.5, 0.5], [0.8, 0.1, 0.1], [1 / 3] * 3]),
    st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_sizes_are_the_best_there_are(sizes, shares, seed):
    def gap(part):
        found = np.bincount(part, weights=sizes, minlength=len(shares))
        return ((found - np.array(shares) * sum(sizes)) ** 2).sum()

    names = [str(index) for index in range(len(sizes))]
    part = balance.assign(names, np.array(sizes), np.zeros((len(sizes), 0)), shares, seed)
    best = min(map(gap, itertools.product(range(len(shares)), repeat=len(sizes))))
    assert gap(part) <= best + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_search_comes_near_the_best_where_not_all_is_tried(seed, monkeypatch):
    """The search for large cases, on cases small enough to try all."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, 10)
    strata = np.zeros((10, 3))
    strata[np.arange(10), rng.integers(0, 3, 10)] = sizes
    names = [str(index) for index in range(10)]
    shares = [1 / 3] * 3
    best = balance.assign(names, sizes, strata, shares, 0)
    monkeypatch.setattr(balance, "EXHAUSTIVE", 1)
    found = balance.assign(names, sizes, strata, shares, 0)

    def gap(part):
        return np.abs(np.bincount(part, weights=sizes, minlength=3) - sizes.sum() / 3).max()

    assert gap(found) <= gap(best) + 0.02 * sizes.sum()


def test_strata_are_spread_where_sizes_leave_a_choice():
    slides = [row(f"s{n}", study=str(n), tissue="lung" if n < 4 else "brain") for n in range(8)]
    split = split_slides(slides, [], SplitOptions(folds=4, stratify=("tissue",)))
    for part in "0123":
        inside = [one["tissue"] for one in slides if split.part[one["slide"]] == part]
        assert sorted(inside) == ["brain", "lung"]


@given(collections(), options, st.sampled_from(["new", "a", "b"]))
@settings(max_examples=100, deadline=None)
def test_others_stay_when_a_slide_is_added(drawn, asked, study):
    slides, found = drawn
    before = split_slides(slides, found, asked)
    added = [*slides, row("new", study, study and f"{study}:p", tissue="brain")]
    after = split_slides(added, found, asked, before.part)
    for one in slides:
        slide = one["slide"]
        alone = {other for other, group in after.group.items() if group == after.group[slide]}
        parts = {before.part[other] for other in alone if other != "new"}
        if len(parts) == 1:
            assert after.part[slide] == before.part[slide]
    assert_kept(added, found, asked, after.part)


def test_file_is_made_again_with_the_earlier_parts(tmp_path):
    slides = [
        {"slide": f"GSE{n}_x", "pmid": "", "tech": "ST", "tissue": "t", "spots": 1}
        for n in range(9)
    ]

    def write(number):
        facts = [SlideFacts(one["slide"], tech="ST", spots=n + 1) for n, one in enumerate(slides)]
        related = relate(facts[:number])
        from st1k4m.collection import relate_slides

        relate_slides.write_slides(tmp_path / "slides.tsv", related.slides)
        relations.write_relations(tmp_path / "relations.tsv", related.relations)

    def split(options=None):
        out = tmp_path / "s.tsv"
        make_splits.make_splits(
            tmp_path / "slides.tsv",
            tmp_path / "relations.tsv",
            out,
            name="s",
            options=options or {"by": "study", "folds": 3},
            earlier=out,
        )
        return {one["slide"]: one["part"] for one in tables.read_table(out)[1]}

    write(8)
    before = split()
    assert (tmp_path / "s.tsv").read_text().startswith("# Split 's' of 8 slides.\n# Guarantee: ")
    write(9)
    after = split()
    assert {slide: after[slide] for slide in before} == before
    assert read_earlier(tmp_path / "s.tsv", SplitOptions(folds=3, seed=1)) == {}
    sizes = Counter(split({"folds": 2}).values()).values()
    assert sorted(sizes) == [4, 5]


def test_what_cannot_be_balanced_is_said():
    slides = [row(f"a{n}", "A", tissue="lung") for n in range(8)]
    slides += [row("b", "B"), row("c", "C"), row("d", "")]
    split = split_slides(slides, [], SplitOptions(folds=3, stratify=("tissue",)))
    text = "\n".join(split.head)
    assert "its largest group, a0, alone has 8" in text
    assert "lung (1 in" in text
    assert "Unknown study in 1 of 11 slides" in text


def test_too_few_groups_and_no_slides_are_no_error():
    split = split_slides([row("a"), row("b", "T")], [], SplitOptions(folds=5))
    assert len(set(split.part.values())) == 2
    assert any("fewer groups (2) than parts (5)" in line for line in split.head)
    assert split_slides([], [], SplitOptions(folds=5)).part == {}


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({}, "either folds"),
        ({"folds": 5, "fractions": {"a": 1.0}}, "either folds"),
        ({"folds": 1}, "2 or more"),
        ({"fractions": {"train": 0.8, "test": 0.1}}, "sum to 0.9"),
        ({"folds": 2, "by": "organ"}, "by must be one of study"),
        ({"folds": 2, "stratify": ["age"]}, "'age'"),
        ({"folds": 2, "confidence": "sure"}, "confidence must be"),
        ({"folds": 2, "fold": 3}, "unknown fold"),
        ({"folds": 2, "hold_out": {"organ": ["lung"]}}, "hold_out accepts"),
        ({"fractions": {"train": 0.8, "val": 0.2}, "hold_out": {"tissue": ["lung"]}}, "'test'"),
    ],
)
def test_faults_of_options_are_named(section, says):
    with pytest.raises(ConfigError, match=says) as error:
        SplitOptions.from_config("mine", section)
    assert str(error.value).startswith("splits.mine: ")
