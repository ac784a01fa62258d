"""The authors' contrastive recipe on a split: it learns, and goes on where it was killed."""

import numpy as np
import pytest
from baseline_data import make_collection
from made_collection import stamp_slide
from tiny_models import save_clip

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from st1k4m.baseline import train_contrastive as contrastive  # noqa: E402
from st1k4m.baseline.encoders import load_model  # noqa: E402
from st1k4m.baseline.numbers import read_json  # noqa: E402
from st1k4m.baseline.options import ContrastiveOptions  # noqa: E402
from st1k4m.collection.choose_panel import choose_panel  # noqa: E402
from st1k4m.errors import ConfigError  # noqa: E402


def test_recall_is_counted_by_hand():
    tiles = np.eye(3)
    genes = np.array([[1.0, 0, 0], [1, 0.5, 0], [0, 0.2, 0.1]])
    # own similarities 1, 0.5, 0.1; the first is tied with the second, the third is behind none
    found = contrastive.find_recall(tiles, genes)
    assert found[1] == pytest.approx(2 / 3) and found[5] == 1.0
    flat = contrastive.find_recall(np.ones((20, 2)), np.ones((20, 2)))
    assert flat[1] == flat[10] == 0.0 and flat[50] == 1.0


def test_the_loss_is_clips():
    rng = np.random.default_rng(0)
    one, other = (torch.tensor(rng.normal(size=(6, 4))) for _ in range(2))

    class Fixed:
        logit_scale = torch.tensor(0.7)

        def __call__(self, tiles, expression):
            return one, other

    batch = {"tile": None, "expression": np.zeros((6, 2)), "present": np.ones((6, 2), bool)}
    scores = np.exp(0.7) * one.numpy() @ other.numpy().T
    rows = np.log(np.exp(scores).sum(axis=1)) - np.diag(scores)
    columns = np.log(np.exp(scores).sum(axis=0)) - np.diag(scores)
    expected = (rows.mean() + columns.mean()) / 2
    assert float(contrastive.contrast(Fixed(), batch)) == pytest.approx(expected)


def test_a_gene_that_is_absent_adds_nothing():
    batch = {"expression": np.ones((2, 3)), "present": np.array([[1, 1, 0], [0, 1, 1]], bool)}
    assert contrastive.fill_absent(batch).tolist() == [[1, 1, 0], [0, 1, 1]]


def write_panel(made):
    """Choose the panel of a made collection, whose files state what they were made from."""
    for slide in made.slides:
        stamp_slide(made.results, slide)
    folder = made.results / "collection/panels"
    choose_panel(
        "panel",
        {"method": "mean", "n": 39},
        made.table,
        made.results / "anndata",
        folder / "panel.tsv",
        folder / "panel.h5ad",
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A collection of small tiles with a panel, and the name of a tiny CLIP."""
    folder = tmp_path_factory.mktemp("tiny")
    made = make_collection(folder / "results", groups=3, per_group=1, spots=100, genes=40)
    write_panel(made)
    return made, save_clip(folder / "clip")[0]


def options(image, **more):
    return ContrastiveOptions(
        **{"image": image, "batch": 32, "epochs": 3, "learning_rate": 1e-3} | more
    )


def train(tiny, folder, recipe, **more):
    made, _ = tiny
    arguments = {"split": "study", "panel": "panel", "slides": made.slides, "train": ["0", "1"]}
    contrastive.train_contrastive(
        made.results,
        folder / "checkpoint.pt",
        folder / "scores.json",
        **arguments | {"options": recipe} | more,
    )
    return read_json(folder / "scores.json")


def test_it_learns_and_finds_more_than_chance_on_a_study_it_has_not_seen(tiny, tmp_path):
    scores = train(tiny, tmp_path, options(tiny[1], epochs=25))
    assert scores["train"] == ["G0_S0", "G1_S0"] and list(scores["slides"]) == ["G2_S0"]
    assert scores["losses"][-1] < scores["losses"][0] - 0.3
    facts = scores["slides"]["G2_S0"]
    assert facts["spots"] == 99 and facts["group"] == "study2"
    assert facts["chance"]["10"] == pytest.approx(10 / 99)
    assert facts["recall"]["10"] > 1.5 * facts["chance"]["10"]


def test_a_training_that_is_killed_goes_on_to_the_same_weights(tiny, tmp_path, monkeypatch):
    recipe = options(tiny[1], checkpoint_steps=3)
    whole = train(tiny, tmp_path, recipe)

    class Killed(Exception):
        pass

    fit = contrastive.fit
    for killed_at in (1, 5, 7, 14):  # before any checkpoint, in an epoch, at its end, in the next
        folder = tmp_path / str(killed_at)
        folder.mkdir()

        def kill(step, at=killed_at):
            if step == at:
                raise Killed

        monkeypatch.setattr(contrastive, "fit", lambda *a, stop=kill: fit(*a, after_step=stop))
        with pytest.raises(Killed):
            train(tiny, folder, recipe)
        assert not (folder / "scores.json").exists()
        monkeypatch.setattr(contrastive, "fit", fit)
        assert train(tiny, folder, recipe) == whole


def test_a_checkpoint_of_another_recipe_is_not_gone_on_with(tiny, tmp_path):
    train(tiny, tmp_path, options(tiny[1], epochs=1))
    changed = train(tiny, tmp_path, options(tiny[1], epochs=1, seed=5))
    (tmp_path / "new").mkdir()
    assert changed == train(tiny, tmp_path / "new", options(tiny[1], epochs=1, seed=5))


def test_no_slide_to_measure_on_is_said(tiny, tmp_path):
    with pytest.raises(ConfigError, match="held-out parts of split study have none of the 1"):
        train(tiny, tmp_path, options(tiny[1]), slides=["G0_S0"])


def test_the_recipe_is_the_authors(tiny):
    recipe = ContrastiveOptions()
    assert (recipe.dimensions, recipe.batch, recipe.epochs) == (32, 1024, 15)
    assert (recipe.learning_rate, recipe.weight_decay) == (5e-5, 0.2)
    model = contrastive.make_model(load_model(tiny[1]), 39, options(tiny[1]))
    tiles = np.zeros((2, 3, 32, 32), np.uint8)
    one, other = model(tiles, np.ones((2, 39), np.float32))
    assert one.shape == other.shape == (2, 32)
    np.testing.assert_allclose(one.detach().norm(dim=1), 1, atol=1e-6)
    assert float(model.logit_scale.detach()) == pytest.approx(np.log(1 / 0.07))
