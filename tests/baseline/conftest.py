"""Collections with known truth, made once."""

import pytest
from baseline_data import make_collection
from st1k4m.baseline.collect_targets import TargetOptions, collect_targets
from st1k4m.baseline.embed_tiles import embed_tiles
from st1k4m.collection.panel_options import PanelOptions


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Four groups of two slides whose expression follows the region under each spot."""
    return make_collection(tmp_path_factory.mktemp("made") / "results")


@pytest.fixture(scope="session")
def embed():
    """Embed every slide of a made collection; the features' paths."""

    def run(made, folder, encoder="pixels"):
        paths = {
            slide: folder / encoder.replace(":", "--") / f"{slide}.h5" for slide in made.slides
        }
        for slide, path in paths.items():
            embed_tiles(made.tiles(slide), path, slide=slide, encoder=encoder)
        return paths

    return run


@pytest.fixture(scope="session")
def collect():
    """Collect the targets of a made collection; their path."""

    def run(made, out, split="study", method="overlap_hvg", n=24, **options):
        panel = PanelOptions(method=method, n=n)
        options = TargetOptions(panel, hest_genes=options.pop("hest_genes", 20), **options)
        collect_targets(made.anndata(), made.table, made.split(split), out, options)
        return out

    return run


@pytest.fixture(scope="session")
def prepared(made, embed, collect, tmp_path_factory):
    """Targets and features of the sound collection."""
    folder = tmp_path_factory.mktemp("prepared")
    return collect(made, folder / "targets.h5ad"), embed(made, folder)


@pytest.fixture(scope="session", autouse=True)
def one_core():
    """Small matrices on several cores only wait for one another."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
