"""What a run will cost, from the catalogue alone."""

import pytest
from st1k4m.plan import costs, forecast
from st1k4m.source.assemble import assemble
from st1k4m.source.catalogue import Catalogue, Slide


def table(*slides, dataset="hf://datasets/o/n"):
    return Catalogue(dataset, "0" * 40, {slide.slide: slide for slide in slides})


SMALL = Slide("a", "ST", spots=100, genes=1000, counts_bytes=250_000, coord_bytes=7000)
SMALL.image_bytes = 2_000_000
LARGE = Slide("b", "VisiumHD", spots=600_000, genes=18_000, counts_bytes=43 * 10**9)
LARGE.coord_bytes, LARGE.image_bytes = 42_000_000, 10**9


def test_downloads_are_the_bytes_of_the_listing():
    made = forecast.make_plan(table(SMALL, LARGE), ["a", "b"])
    assert made.download == 250_000 + 7000 + 2_000_000 + 43 * 10**9 + 42_000_000 + 10**9
    assert made.told == made.slides == 2


def test_what_is_here_is_not_to_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resources/files/image").mkdir(parents=True)
    (tmp_path / "resources/files/image/a.png").touch()
    assert forecast.make_plan(table(SMALL), ["a"]).download == 257_000


def test_a_folder_downloads_and_copies_nothing():
    made = forecast.make_plan(table(SMALL, dataset="/data"), ["a"])
    assert made.download == 0
    assert made.kept == made.peaks[16] == costs.kept_bytes(SMALL, costs.quantities(SMALL))


def test_downloads_that_are_not_kept_count_for_the_peak_alone():
    slides = [Slide(f"s{n}", "ST", spots=9, genes=9, counts_bytes=10**6) for n in range(20)]
    names = [slide.slide for slide in slides]
    keep = forecast.make_plan(table(*slides), names, True, [16])
    drop = forecast.make_plan(table(*slides), names, False, [16])
    files = keep.kept - drop.kept
    assert files == pytest.approx(keep.download)
    assert drop.peaks[16] - drop.kept == pytest.approx(files * 16 / 20)
    assert keep.peaks[16] == keep.kept


def test_sizes_that_no_source_tells_are_estimated_and_said():
    unknown = Slide("a", "Visium", spots=2000, genes=30_000)
    made = forecast.make_plan(table(unknown), ["a"])
    assert costs.input_bytes(unknown)["counts"] == 2000 * 30_000 * 4
    assert "the file sizes of 1 slides" in "\n".join(forecast.describe(made))


def test_the_longest_chain_bounds_the_makespan():
    made = forecast.make_plan(table(SMALL, LARGE), ["a", "b"], cores=[1, 2, 64])
    assert made.longest[0] == "b"
    assert made.makespans[1] == pytest.approx(sum(made.seconds.values()))
    assert made.makespans[2] == made.makespans[64] == made.longest[1]


def test_it_says_what_bounds_the_run():
    made = forecast.make_plan(
        table(*[SMALL, LARGE], dataset="/data"), ["a"] * 500 + ["b"], cores=[1, 999]
    )
    assert forecast.bound(made, 1) == "cores"
    assert forecast.bound(made, 999) == "the longest chain"
    far = forecast.make_plan(table(SMALL, LARGE), ["a", "b"], cores=[16])
    assert forecast.bound(far, 16, network=1e6) == "transfers"


def test_free_cores_take_the_next_chain():
    assert forecast.schedule([3, 1, 1, 1, 2], 2) == 5
    assert forecast.schedule([], 4) == 0


def test_larger_slides_cost_more_in_every_step():
    small, large = costs.quantities(SMALL), costs.quantities(LARGE)
    for step in costs.STEPS:
        assert costs.estimate(step, large).seconds > costs.estimate(step, small).seconds
        assert costs.estimate(step, large).memory_mb > costs.estimate(step, small).memory_mb


def test_pixels_that_are_known_are_used():
    assert costs.quantities(SMALL, pixels=5e6)["pixels_m"] == 5


def test_the_published_dataset_can_be_planned(published_meta):
    content = published_meta.read_bytes()
    whole = assemble("hf://datasets/o/n", "0" * 40, {}, "meta/m.csv", content)
    made = forecast.make_plan(whole, whole.slides)
    assert made.slides == 1149
    assert 0.3e12 < made.download < 1e12
    assert made.makespans[16] > made.makespans[1024] >= made.longest[1]
