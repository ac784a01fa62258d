"""The examples learn, on a collection whose expression follows the colour of the tile."""

import importlib.util

import made_collection
import numpy as np
import pytest
from places import REPOSITORY

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def learnable(tmp_path_factory):
    """Make three slides; half of the genes rise with the red of the tile, the others fall."""
    made = made_collection.Made(tmp_path_factory.mktemp("learnable") / "results")
    rng = np.random.default_rng(0)
    genes = [f"GENE{i}" for i in range(12)]
    stacked = {}
    for slide in ("A_1", "B_1", "C_1"):
        red = rng.uniform(30, 220, 200)
        rate = np.exp((red[:, None] - 125) / 60 * np.repeat([1, -1], 6)) * 5
        pixels = rng.normal(128, 20, (200, 32, 32, 3))
        pixels[..., 0] += red[:, None, None] - 128
        stacked[slide] = made_collection.make_slide(
            made, slide, 200, side=32, genes=genes, rng=rng,
            counts=rng.poisson(rate), pixels=pixels.clip(0, 255).astype(np.uint8),
        )  # fmt: skip
    parts = {"A_1": "0", "B_1": "1", "C_1": "2"}
    made_collection.write_tables(made, list(parts), {"study": parts}, genes, stacked)
    return made.folder


def load(name):
    path = REPOSITORY / f"examples/{name}.py"
    assert len(path.read_text().splitlines()) < 60
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_regression(learnable, capsys):
    assert load("regression").main(learnable, "study", "some", "0", epochs=8) > 0.5
    assert "mean Pearson correlation on part 0" in capsys.readouterr().out


def test_contrastive_learns_and_goes_on_where_it_was(learnable, tmp_path):
    example = load("contrastive")
    saved = [tmp_path / name for name in ("whole", "in_two_runs")]
    whole = example.main(learnable, "study", "some", "0", epochs=6, saved=saved[0])
    for epochs in (2, 6):
        again = example.main(learnable, "study", "some", "0", epochs=epochs, saved=saved[1])
    assert whole == again > 0.25  # 10 of 64 by chance
    one, two = (torch.load(path)[0] for path in saved)
    assert all(torch.equal(one[name], two[name]) for name in one)
