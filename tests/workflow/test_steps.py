"""The table of steps equals the rules as Snakemake parses them, in both directions."""

import re
from pathlib import Path

import pytest
from places import REPOSITORY
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, ResourceSettings
from st1k4m.run.steps import STALE_AFTER, STEPS, slide_of_product

# Rules that make no file: targets, and commands that only print.
NO_STEP = {"all", "plan", "describe", "leaks", "remove_leftovers"}
EVERYTHING = {
    "tiles": {"format": "webdataset"},
    "panels": {"some": {"method": "overlap_hvg", "n": 10}},
    "shards": {"some": {"panel": "some", "format": "webdataset"}},
    "spatialdata": True,
    "card": True,
}


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    """Return the rules as Snakemake parsed them, by name, with every optional step selected."""
    with SnakemakeApi() as api:
        flow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config=EVERYTHING),
            snakefile=REPOSITORY / "Snakefile",
            workdir=tmp_path_factory.mktemp("parse"),
        )
        yield {rule.name: rule for rule in flow._workflow.rules}


def test_every_rule_is_a_step_and_every_step_a_rule(rules):
    assert set(rules) - NO_STEP == set(STEPS)


def step_that_makes(path):
    """Return the step that makes a file, if any; the path may have wildcards or values."""
    for step in STEPS.values():
        for pattern in step.makes.values():
            before, _, rest = pattern.partition("{")  # the slide, or the name of a split
            after = rest.partition("}")[2]
            if path == pattern or (after and path.startswith(before) and path.endswith(after)):
                return step.name
    return None


def bare(path):
    """Return a path of a rule without the constraints of its wildcards."""
    return re.sub(r"\{(\w+),.*?\}(?=[._/]|$)", r"{\1}", str(path))


def test_every_step_makes_what_its_rule_puts_out(rules):
    for name, step in STEPS.items():
        assert sorted(step.makes.values()) == sorted(map(bare, rules[name].output)), name


def test_every_step_reads_what_its_rule_takes_in(rules):
    """The table may have more inputs than the rule shows if a function returns some of them."""
    for name, step in STEPS.items():
        paths = [path for path in rules[name].input if isinstance(path, str)]
        read = {step_that_makes(str(path)) for path in paths} - {None}
        stated = {other for other in step.reads if not other.startswith("fetch_")}
        hidden = len(paths) < len(rules[name].input)
        assert read <= stated if hidden else read == stated, name


def test_every_step_has_a_script_of_its_name(rules):
    for name in STEPS:
        assert Path(rules[name].script).name == f"{name}.py"
        assert f"/{name}" in str(rules[name].log[0])


def test_what_is_stale_after_a_step():
    """The expected steps were written by hand, from the diagram in the Snakefile."""
    exports = ("write_spatialdata", "hash_products")
    assert STALE_AFTER["draw_slide"] == ("hash_products",)
    assert STALE_AFTER["write_spatialdata"] == ("hash_products",)
    assert STALE_AFTER["build_anndata"] == ("fingerprint_slide", "draw_slide", *exports)
    tiles_and_all_after = (
        "cut_tiles",
        "build_anndata",
        "fingerprint_slide",
        "pack_tiles",
        "draw_slide",
        *exports,
    )
    assert STALE_AFTER["cut_tiles"] == tiles_and_all_after[1:]
    assert STALE_AFTER["count_expression"] == tiles_and_all_after
    assert STALE_AFTER["align_spots"] == tiles_and_all_after
    # an image can be fetched again for cut_tiles alone, and then the spots are kept
    assert STALE_AFTER["fetch_image"] == tiles_and_all_after
    assert STALE_AFTER["fetch_coord"] == tiles_and_all_after
    assert STALE_AFTER["fetch_counts"] == ("count_expression", *tiles_and_all_after)


@pytest.mark.parametrize(
    ("path", "slide"),
    [
        ("results/anndata/S_1.0+A.h5ad", "S_1.0+A"),
        ("results/report/slides/S.js", "S"),
        ("results/features/timm_resnet/S.h5", "S"),
        ("results/collection/splits/study.tsv", ""),
        ("results/manifest.tsv", ""),
        ("results/anndata/deeper/S.h5ad", ""),
    ],
)
def test_the_slide_of_a_product(path, slide):
    assert slide_of_product(path) == slide
