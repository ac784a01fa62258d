"""The options of panels: defaults, what the schema allows, and what does not go together."""

import dataclasses

import pytest
import yaml
from places import REPOSITORY
from st1k4m.collection.panel_options import (
    METHODS,
    NameOptions,
    foresee_losses,
    read_options,
    read_panels,
)
from st1k4m.errors import ConfigError
from st1k4m.run import settings

SCHEMA = REPOSITORY / "config/config.schema.yaml"
PANEL = yaml.safe_load(SCHEMA.read_text())["$defs"]["panel"]["properties"]
SPLITS = {"study": {"by": "study", "folds": 3}, "patients": {"fractions": {"train": 0.8}}}


def test_the_schema_has_every_option_and_the_documentation_too():
    documentation = (REPOSITORY / "config/README.md").read_text()
    assert PANEL["method"]["enum"] == list(METHODS)
    names = {field.name for field in dataclasses.fields(NameOptions)}
    assert set(PANEL["names"]["properties"]) == names
    for key, content in PANEL.items():
        assert content["description"]
        assert f"`panels.NAME.{key}`" in documentation
    for key in names:
        assert f"`{key}:" in documentation


@pytest.mark.parametrize(("method", "n"), [("overlap_hvg", 100), ("slide_hvg", 128), ("hest", 50)])
def test_numbers_of_genes_are_those_of_the_methods_authors(method, n):
    assert read_options("p", {"method": method}).n == n


def test_the_demos_panel_is_sound():
    demo = yaml.safe_load((REPOSITORY / "config/demo.yaml").read_text())
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text()) | demo
    assert settings.check(config, SCHEMA) == []
    assert list(read_panels(demo["panels"], config.get("splits", {}))) == ["human"]


@pytest.mark.parametrize(
    ("panel", "fault"),
    [
        ({"method": "pca"}, "panels.p.method"),
        ({"method": "mean", "n": 0}, "panels.p.n"),
        ({"method": "mean", "share": 1.5}, "panels.p.share"),
        ({"method": "mean", "train": {"parts": ["0"]}}, "panels.p.train"),
        ({"method": "mean", "select": {"organ": ["brain"]}}, "panels.p.select"),
    ],
)
def test_the_schema_names_a_wrong_option(panel, fault):
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    (said,) = settings.check(config | {"panels": {"p": panel}}, SCHEMA)
    assert said.sentence.startswith(fault)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"split": "study", "part": ["3"]}, "'3' is not a part of study (0, 1, 2)"),
        ({"split": "patients", "part": ["0"]}, "'0' is not a part of patients (train)"),
        ({"split": "blocks", "part": ["0"]}, "no split 'blocks'; configured are: study, patients"),
    ],
)
def test_parts_that_no_split_has_are_refused(train, said):
    with pytest.raises(ConfigError) as refused:
        read_panels({"p": {"method": "mean", "train": train}}, SPLITS)
    assert said in str(refused.value)


def test_parts_may_be_given_as_numbers():
    panels = {"p": {"method": "mean", "train": {"split": "study", "part": [0, 2]}}}
    assert read_panels(panels, SPLITS)["p"].parts == ("0", "2")


def test_all_faults_of_all_panels_are_said_at_once():
    panels = {
        "a": {"method": "list"},
        "b": {"method": "slide_hvg", "normalise": "all", "genes": "f"},
    }
    with pytest.raises(ConfigError) as refused:
        read_panels(panels, {})
    assert str(refused.value).count("\n") == 2


def test_selection_needs_every_list():
    select = {"species": ["human"], "tissue": ["breast", "brain"], "tech": []}
    options = read_options("p", {"method": "mean", "select": select})
    facts = {"slide": "S", "tech": "ST", "species": "human", "tissue": "brain"}
    assert options.takes(facts)
    assert not options.takes(facts | {"species": "mouse"})
    assert not options.takes(facts | {"tissue": "skin"})
    assert not read_options("p", {"method": "mean", "select": {"slides": ["T"]}}).takes(facts)


def test_a_small_gene_list_is_foreseen():
    genes = {"A": 36601, "B": 17943, "C": 1186, "D": 36601, "E": 40}
    options = read_options("p", {"method": "overlap_hvg", "n": 100})
    assert foresee_losses("p", options, genes) == (
        "panels.p: E (40), C (1,186) print few genes; the median is 17,943. At most 40 can be "
        "common to all, not the 100 asked for. Leave these slides out by `select`, or set `share` "
        "below 1."
    )
    assert foresee_losses("p", options, {"A": 20000, "B": 36601}) == ""
    shared = read_options("p", {"method": "overlap_hvg", "share": 0.9})
    assert foresee_losses("p", shared, genes) == ""
