"""What a job asks for: enough for its slide, not much more, and more when it was not enough."""

import pytest
import yaml
from places import REPOSITORY
from st1k4m.plan import costs
from st1k4m.source.assemble import assemble
from st1k4m.source.catalogue import Slide

PROFILES = REPOSITORY / "profiles"

SMALL = Slide("small", "ST", spots=300, genes=16_000)
ORDINARY = Slide("ordinary", "Visium", spots=2_261, genes=32_285)
LARGEST = Slide("largest", "VisiumHD", spots=605_471, genes=18_085)
SLIDES = (SMALL, ORDINARY, LARGEST)


@pytest.mark.parametrize("step", costs.STEPS)
@pytest.mark.parametrize("slide", SLIDES, ids=lambda slide: slide.slide)
def test_a_job_is_given_more_than_an_ordinary_slide_takes(step, slide):
    likely = costs.estimate(step, costs.quantities(slide))
    given = costs.need(step, slide)
    assert given["mem_mb"] >= costs.ENGINE_MB + likely.memory_mb
    assert given["runtime"] * 60 >= costs.SLOWER * likely.seconds


@pytest.mark.parametrize("step", costs.STEPS)
@pytest.mark.parametrize("slide", SLIDES, ids=lambda slide: slide.slide)
def test_but_not_twice_as_much_above_the_least(step, slide):
    likely = costs.estimate(step, costs.quantities(slide))
    given = costs.need(step, slide)["mem_mb"]
    assert given <= max(costs.LEAST_MB, 2 * (costs.ENGINE_MB + likely.memory_mb))


def test_a_retry_gets_as_much_again():
    first, second = (costs.need("count_expression", LARGEST, attempt) for attempt in (1, 2))
    assert second["mem_mb"] == 2 * first["mem_mb"]
    assert second["runtime"] == 2 * first["runtime"]


def test_bytes_that_the_source_tells_replace_what_spots_and_genes_suggest():
    told = Slide("told", "Visium", spots=2_261, genes=32_285, counts_bytes=10**9)
    assert costs.quantities(told)["counts_mb"] == 1_000
    assert costs.quantities(ORDINARY)["counts_mb"] == pytest.approx(292, abs=1)


def test_a_slide_of_which_only_bytes_are_known_gets_its_needs():
    unknown = Slide("unknown", "VisiumHD", counts_bytes=30 * 10**9, coord_bytes=40_000_000)
    assert costs.need("count_expression", unknown)["mem_mb"] > 3_000


def test_every_published_slide_fits_an_ordinary_node(published_meta):
    content = published_meta.read_bytes()
    table = assemble("hf://datasets/o/n", "0" * 40, {}, "meta/m.csv", content)
    given = [
        max(costs.need(step, slide)["mem_mb"] for step in costs.STEPS)
        for slide in table.slides.values()
    ]
    assert max(given) < 16_000
    assert sum(mb > 2_500 for mb in given) == 4  # VisiumHD


def test_the_slurm_profile_sets_nothing_that_the_default_profile_takes_away():
    read = {
        name: yaml.safe_load((PROFILES / name / "config.yaml").read_text())
        for name in ("default", "slurm")
    }
    assert set(read["default"]) & set(read["slurm"]) == set()
    assert set(read["slurm"]["set-resources"]) <= set(costs.STEPS)
