"""Pairs and stores in loaders of other libraries."""

import json
import subprocess
import sys

import numpy as np
import pytest
from made_collection import SLIDES
from st1k4m.training.collection import Collection

torch = pytest.importorskip("torch", reason="torch is not installed")

# One of two processes: a plain DataLoader with a DistributedSampler, then our loader, which finds
# rank and world by itself.
PROCESS = """
import json, sys
import torch.distributed as distributed
from torch.utils.data import DataLoader, DistributedSampler
from st1k4m.training.collection import Collection

def indices(loader):
    return [batch["index"].tolist() for batch in loader]

if __name__ == "__main__":
    folder, port, rank = sys.argv[1:]
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=int(rank), world_size=2
    )
    pairs = Collection(folder).pairs(panel="some", size=16)
    sampler = DistributedSampler(pairs, shuffle=True, seed=1)
    plain = indices(DataLoader(pairs, batch_size=8, sampler=sampler, num_workers=1))
    own = indices(pairs.loader(batch_size=8, seed=1, workers=1))
    distributed.barrier()
    print(json.dumps({"plain": plain, "own": own}))
    distributed.destroy_process_group()
"""


def free_port():
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def test_two_processes_share_an_epoch_over_gloo(collection_folder, tmp_path):
    script = tmp_path / "process.py"
    paths = [path for path in sys.path if path]
    script.write_text(f"import sys\nsys.path[:0] = {paths!r}\n{PROCESS}")
    command = [sys.executable, str(script), str(collection_folder.folder), str(free_port())]
    processes = [
        subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    ranks = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    for loader in ("plain", "own"):
        found = [index for rank in ranks for batch in rank[loader] for index in batch]
        assert sorted(found) == list(range(110))
        assert len({len(rank[loader]) for rank in ranks}) == 1
    pairs = Collection(collection_folder.folder).pairs(panel="some", size=16)
    for rank in range(2):
        loader = pairs.loader(batch_size=8, seed=1, rank=rank, world=2)
        assert ranks[rank]["own"] == [batch["index"].tolist() for batch in loader]


def test_hests_loader_reads_a_store_like_pairs(collection_folder):
    try:
        from hestcore.datasets import H5HESTDataset
    except (ImportError, OSError) as error:
        pytest.skip(f"hestcore cannot be imported: {error}")
    folder = collection_folder.folder
    for slide in ("A_1", "B_1"):
        dataset = H5HESTDataset(
            folder / f"tiles/{slide}.h5",
            img_transform=lambda tile: torch.from_numpy(np.array(tile)),
            chunk_size=9,
        )
        chunks = [dataset[index] for index in range(len(dataset))]
        tiles = np.concatenate([np.stack(list(chunk["imgs"])) for chunk in chunks])
        spots = [name.decode() for chunk in chunks for name in np.ravel(chunk["barcodes"]).tolist()]
        pairs = Collection(folder).pairs(slides=slide, panel="some", arrays="numpy")
        found = pairs[:]
        assert spots == found["spot"]
        np.testing.assert_array_equal(
            tiles.reshape(found["tile"].transpose(0, 2, 3, 1).shape),
            found["tile"].transpose(0, 2, 3, 1),
        )
        assert len(spots) == SLIDES[slide][0]
