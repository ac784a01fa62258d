"""The loader: exact epochs for any workers and ranks, resuming, faults in workers."""

import gc
import itertools
import multiprocessing
import pickle
import shutil
import signal
import subprocess
import sys
import weakref

import numpy as np
import pytest
from st1k4m.errors import SlideError
from st1k4m.training.collection import Collection

torch = pytest.importorskip("torch", reason="torch is not installed")

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(scope="module")
def pairs(collection_folder):
    return Collection(collection_folder.folder).pairs(panel="some", size=16, labels=True)


def indices(loader):
    return [batch["index"].tolist() for batch in loader]


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[key].dtype
            assert torch.equal(value, other[key]), key
        else:
            assert value == other[key], key


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_an_epoch_is_exact_over_ranks_and_workers(pairs, world, drop_last):
    orders = []
    for workers in (0, 1, 2, 3, 4):
        ranks = [
            indices(pairs.loader(
                batch_size=16, seed=3, rank=rank, world=world, workers=workers,
                drop_last=drop_last,
            ))
            for rank in range(world)
        ]  # fmt: skip
        assert len({len(batches) for batches in ranks}) == 1
        orders.append(ranks)
    assert all(other == orders[0] for other in orders)
    found = flat(flat(orders[0]))
    if drop_last:
        assert all(len(batch) == 16 for batch in flat(orders[0]))
        assert len(set(found)) == len(found) == 110 // world // 16 * 16 * world
    else:
        assert sorted(found) == list(range(110))


def test_ranks_in_a_row_are_the_order_of_one(pairs):
    whole = flat(indices(pairs.loader(batch_size=16, seed=5)))
    ranks = [flat(indices(pairs.loader(batch_size=16, seed=5, rank=r, world=3))) for r in range(3)]
    assert flat(ranks) == whole != sorted(whole)
    assert flat(indices(pairs.loader(batch_size=7, seed=5))) == whole
    assert flat(indices(pairs.loader(batch_size=7, shuffle=False))) == list(range(110))


def test_epochs_differ_and_come_again(pairs):
    loader = pairs.loader(batch_size=16, seed=1)
    epochs = [indices(loader) for _ in range(3)]
    assert len({str(epoch) for epoch in epochs}) == 3
    assert loader.epoch == 3
    loader.set_epoch(1)
    assert indices(loader) == epochs[1]
    assert indices(pairs.loader(batch_size=16, seed=2)) != epochs[0]


def test_set_epoch_keeps_the_place_of_a_loaded_state(pairs):
    whole = indices(pairs.loader(batch_size=16, seed=1))
    stopped = pairs.loader(batch_size=16, seed=1)
    batches = iter(stopped)
    for _ in range(3):
        next(batches)
    state = stopped.state_dict()
    resumed = pairs.loader(batch_size=16, seed=1)
    resumed.load_state_dict(state)
    resumed.set_epoch(0)  # as a usual loop over epochs does
    assert resumed.state_dict() == state
    assert indices(resumed) == whole[3:]
    stopped.set_epoch(0)  # an iteration that did not reach its end starts again
    assert indices(stopped) == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_what_pairs_gives(pairs, workers):
    loader = pairs.loader(batch_size=16, workers=workers)
    held = list(loader)  # more batches than buffers
    for batch in held:
        assert_same(batch, pairs[batch["index"].tolist()])
    for _ in range(3):  # buffers are reused
        for batch in loader:
            assert_same(batch, pairs[batch["index"].tolist()])
    for batch in held:
        assert_same(batch, pairs[batch["index"].tolist()])


def test_a_part_of_a_batch_that_is_kept_stays_as_it_is(pairs):
    loader = pairs.loader(batch_size=16, workers=1)
    kept, numbers = [], []
    for batch in itertools.chain(loader, loader, loader):
        kept.append(batch["tile"][3:5, 0])
        numbers.append(batch["index"].tolist()[3:5])
        del batch
    for tile, number in zip(kept, numbers, strict=True):
        assert torch.equal(tile, pairs[number]["tile"][:, 0])


def test_numpy_pairs_have_workers_too(collection_folder):
    pairs = Collection(collection_folder.folder).pairs(panel="some", size=16, arrays="numpy")
    for batch in pairs.loader(batch_size=16, workers=2):
        assert isinstance(batch["tile"], np.ndarray)
        np.testing.assert_array_equal(batch["tile"], pairs[batch["index"]]["tile"])


def test_sparse_expression_comes_through_workers(collection_folder):
    pairs = Collection(collection_folder.folder).pairs(slides="B_1", target="both")
    for batch in pairs.loader(batch_size=16, workers=2):
        rows = [collection_folder.spots["B_1"].index(spot) for spot in batch["spot"]]
        assert batch["expression"].is_sparse
        np.testing.assert_array_equal(
            batch["expression"].to_dense(), collection_folder.x["B_1"].to_numpy()[rows]
        )
        np.testing.assert_array_equal(
            batch["counts"].to_dense(), collection_folder.counts["B_1"].to_numpy()[rows]
        )


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_start_methods(pairs, context):
    pairs[0]  # opens a file before the workers start
    loader = pairs.loader(batch_size=16, workers=2, context=context, seed=4)
    assert indices(loader) == indices(pairs.loader(batch_size=16, seed=4))
    assert len(flat(indices(loader))) == 110


def noisy(tile):
    return tile + torch.randn(tile.shape)


@pytest.mark.parametrize("after", [0, 1, 3, 6, 7])
def test_a_loader_that_was_killed_goes_on_at_the_next_pair(collection_folder, after):
    pairs = Collection(collection_folder.folder).pairs(panel="some", size=16, transform=noisy)
    whole = pairs.loader(batch_size=16, seed=9)
    expected = [*whole, *whole]
    killed = pairs.loader(batch_size=16, seed=9, workers=2)
    reading = iter(killed)
    found = [next(reading) for _ in range(after)]
    state = pickle.loads(pickle.dumps(killed.state_dict()))
    del killed, reading
    again = Collection(collection_folder.folder).pairs(panel="some", size=16, transform=noisy)
    resumed = again.loader(batch_size=16, seed=9, workers=3)
    resumed.load_state_dict(state)
    while len(found) < len(expected):
        found += list(resumed)
    assert len(expected) == len(found) == 14
    for one, other in zip(expected, found, strict=True):
        assert_same(one, other)


# A run that saves after every batch and is killed after a given number; it resumes from a state.
RUN = """
import hashlib, os, pickle, signal, sys
from st1k4m.training.collection import Collection

def digest(batch):
    arrays = (batch[key].numpy().tobytes() for key in ("index", "tile", "expression", "present"))
    return hashlib.sha256(b"".join([*arrays, "".join(batch["spot"]).encode()])).hexdigest()

if __name__ == "__main__":
    folder, saved, workers, killed_after = sys.argv[1:]
    pairs = Collection(folder).pairs(panel="some", size=16)
    loader = pairs.loader(batch_size=16, seed=9, weight="study", workers=int(workers))
    if os.path.exists(saved):
        with open(saved, "rb") as file:
            loader.load_state_dict(pickle.load(file))
    while loader.epoch < 2:
        for batch in loader:
            print(digest(batch), flush=True)
            with open(saved, "wb") as file:
                pickle.dump(loader.state_dict(), file)
            killed_after = int(killed_after) - 1
            if killed_after == 0:
                os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_goes_on_with_other_workers_byte_for_byte(collection_folder, tmp_path):
    script = tmp_path / "run.py"
    paths = [path for path in sys.path if path]
    script.write_text(f"import sys\nsys.path[:0] = {paths!r}\n{RUN}")

    def run(saved, workers, killed_after=0):
        command = [sys.executable, script, collection_folder.folder, tmp_path / saved]
        command = [*map(str, command), str(workers), str(killed_after)]
        with open(tmp_path / "printed", "w") as printed:  # a pipe would wait for orphaned workers
            done = subprocess.run(command, stdout=printed, check=False, timeout=120)
        return done.returncode, (tmp_path / "printed").read_text().split()

    status, whole = run("whole", 0)
    assert (status, len(whole)) == (0, 14)
    status, first = run("killed", 2, killed_after=4)
    assert (status, len(first)) == (-signal.SIGKILL, 4)
    status, rest = run("killed", 3)
    assert status == 0
    assert first + rest == whole


def test_a_broken_off_epoch_begins_from_its_start(pairs):
    loader = pairs.loader(batch_size=16, seed=1, workers=2)
    whole = indices(pairs.loader(batch_size=16, seed=1))
    for number in (1, 3, 2):
        reading = iter(loader)
        for _ in range(number):
            next(reading)
    assert indices(loader) == whole
    first, second = iter(loader), iter(loader)
    next(first), next(second)
    with pytest.raises(RuntimeError, match="another iteration of this loader began"):
        next(first)


def test_a_random_transform_does_not_depend_on_workers_nor_touch_the_users_numbers(
    collection_folder,
):
    pairs = Collection(collection_folder.folder).pairs(panel="some", size=16, transform=noisy)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    loaders = [pairs.loader(batch_size=16, seed=2, workers=workers) for workers in (0, 1, 2)]
    epochs = [list(loader) for loader in loaders]
    assert torch.equal(before, torch.get_rng_state())
    for other in epochs[1:]:
        for one, two in zip(epochs[0], other, strict=True):
            assert_same(one, two)
    assert not torch.equal(epochs[0][0]["tile"], next(iter(loaders[0]))["tile"])  # another epoch


def test_workers_end_with_their_loader(pairs):
    gc.disable()  # with a cycle only the garbage collector would delete them, perhaps in a worker
    try:
        loader = pairs.loader(batch_size=16, workers=2)
        reading = iter(loader)
        next(reading)
        watched = weakref.ref(loader)
        assert len(multiprocessing.active_children()) == 2
        del loader, reading
        assert watched() is None
        assert not multiprocessing.active_children()
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def transforms():
    try:
        from torchvision.transforms import v2
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        pytest.skip(f"torchvision cannot be imported: {error}")
    return v2


@pytest.mark.parametrize("workers", [0, 2])
def test_torchvision_takes_the_tile_as_it_is(collection_folder, transforms, workers):
    transform = transforms.Compose([
        transforms.RandomResizedCrop(8, scale=(1, 1), ratio=(1, 1)),  # the whole tile: not random
        transforms.RandomHorizontalFlip(1.0),
        transforms.ToDtype(torch.float32, scale=True),
        transforms.Normalize([0.7, 0.5, 0.6], [0.2, 0.2, 0.2]),
    ])  # fmt: skip
    collection = Collection(collection_folder.folder)
    plain = collection.pairs(panel="some", size=16)
    pairs = collection.pairs(panel="some", size=16, transform=transform)
    loaders = (
        pairs.loader(batch_size=16, workers=workers),
        torch.utils.data.DataLoader(pairs, batch_size=16, num_workers=workers),
    )
    for batch in itertools.chain(*loaders):
        assert batch["tile"].shape[1:] == (3, 8, 8)
        tiles = plain[batch["index"].tolist()]["tile"]
        expected = transforms.functional.resize(tiles, [8, 8], antialias=True).flip(-1) / 255
        for colour, mean in enumerate((0.7, 0.5, 0.6)):
            expected[:, colour] = (expected[:, colour] - mean) / 0.2
        torch.testing.assert_close(batch["tile"], expected)


def test_random_crops_of_torchvision_do_not_depend_on_workers(collection_folder, transforms):
    transform = transforms.Compose([
        transforms.RandomResizedCrop(8), transforms.ToDtype(torch.float32, scale=True),
    ])  # fmt: skip
    pairs = Collection(collection_folder.folder).pairs(panel="some", size=16, transform=transform)
    one, two = (pairs.loader(batch_size=16, workers=workers) for workers in (0, 2))
    first, again, second = list(one), list(two), list(one)
    for batch, other in zip(first, again, strict=True):
        assert_same(batch, other)
    crops, later = (
        torch.cat([batch["tile"] for batch in epoch])[
            torch.cat([b["index"] for b in epoch]).argsort()
        ]
        for epoch in (first, second)
    )
    assert (crops == later).flatten(1).all(1).sum() < 10  # another epoch, other crops


@pytest.mark.parametrize("weight", ["slide", "study"])
def test_weights(pairs, weight):
    loader = pairs.loader(batch_size=16, weight=weight, seed=1)
    first, second = indices(loader), indices(loader)
    assert len(flat(first)) == len(flat(second)) == 110
    assert first != second
    assert indices(pairs.loader(batch_size=16, weight=weight, seed=1, workers=2)) == first
    names = pairs[flat(first)]["slide"]
    shares = [names.count(slide) for slide in ("A_1", "A_2.x+y", "B_1", "C_1")]
    if weight == "slide":
        assert max(shares) - min(shares) <= 1
    else:
        assert {shares[0] + shares[1], shares[2], shares[3]} <= {36, 37}


BAD = {
    "batch_size": ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
    "workers": ({"workers": -1}, "workers must be a whole number of at least 0"),
    "weight": ({"weight": "tissue"}, "weight must be pair, slide, study, not 'tissue'"),
    "order": ({"weight": "slide", "shuffle": False}, "it needs shuffle=True"),
    "rank": ({"rank": 2, "world": 2}, "rank must be less than world, 2, not 2"),
    "world": ({"rank": 0}, "give rank and world together"),
    "context": ({"context": "thread"}, "context must be fork, spawn, forkserver"),
    "few": ({"batch_size": 200, "drop_last": True}, "110 pairs are too few for 1 rank"),
    "ranks": ({"rank": 0, "world": 200}, "110 pairs are too few for 200 rank"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_use_fails_at_once(pairs, bad):
    options, says = BAD[bad]
    with pytest.raises(ValueError, match=says):
        pairs.loader(**options)


def test_a_state_of_another_loader(pairs, collection_folder):
    state = pairs.loader(batch_size=16).state_dict()
    for options, says in (
        ({"batch_size": 8}, "saved with batch_size 16, this loader has 8"),
        ({"batch_size": 16, "seed": 1}, "saved with seed 0, this loader has 1"),
    ):
        with pytest.raises(ValueError, match=says):
            pairs.loader(**options).load_state_dict(state)
    fewer = Collection(collection_folder.folder).pairs("parts", "train", "some")
    with pytest.raises(ValueError, match="saved with pairs"):
        fewer.loader(batch_size=16).load_state_dict(state)
    with pytest.raises(ValueError, match="not the state of a loader: it lacks epoch"):
        pairs.loader().load_state_dict({"model": 1})


@pytest.mark.parametrize("workers", [0, 2])
def test_a_store_that_vanishes_names_slide_and_file(collection_folder, tmp_path, workers):
    shutil.copytree(collection_folder.folder, tmp_path / "results")
    pairs = Collection(tmp_path / "results").pairs(panel="some", size=16)
    loader = pairs.loader(batch_size=4, workers=workers)
    reading = iter(loader)
    next(reading)
    (tmp_path / "results/tiles/B_1.h5").unlink()
    with pytest.raises(SlideError, match=r"B_1: .*tiles/B_1\.h5 cannot be read: No such file"):
        list(reading)


def test_too_little_shared_memory_is_said_at_once(pairs, monkeypatch):
    from st1k4m.training import workers

    class Full:
        f_bavail, f_frsize = 16, 4096

    monkeypatch.setattr(workers.os, "statvfs", lambda path: Full)
    with pytest.raises(ValueError, match=r"2 workers with batches of .* of shared memory"):
        pairs.loader(batch_size=100, workers=2)


def test_plain_torch_reads_it(pairs):
    assert isinstance(pairs, torch.utils.data.Dataset)
    for workers in (0, 2):
        loader = torch.utils.data.DataLoader(pairs, batch_size=16, num_workers=workers)
        batches = list(loader)
        assert flat(batch["index"].tolist() for batch in batches) == list(range(110))
        assert_same(batches[2], pairs[32:48])
