"""Pairs as tensors of PyTorch."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from st1k4m.training.expression import Rows
from st1k4m.training.pairs import Allocate, Pairs


class TensorPairs(Pairs, Dataset):
    """`Pairs` with tensors instead of arrays. Tiles are channels-last in memory, as stored."""

    def _tile(self, tile: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(tile)

    def _stack(self, tiles: list, allocate: Allocate) -> Any:
        if not isinstance(tiles[0], torch.Tensor):
            return super()._stack(tiles, allocate)
        dtype = torch.empty(0, dtype=tiles[0].dtype).numpy().dtype
        out = torch.from_numpy(allocate((len(tiles), *tiles[0].shape), dtype))
        return torch.stack(tiles, out=out)

    def _finish(self, value: Any) -> Any:
        if isinstance(value, Rows):
            shape = (len(value.indptr) - 1, value.width)
            row = np.repeat(np.arange(shape[0]), np.diff(value.indptr))
            places = torch.from_numpy(np.stack([row, value.genes.astype(np.int64)]))
            return torch.sparse_coo_tensor(
                places, torch.from_numpy(value.values), shape, check_invariants=False
            ).coalesce()
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
