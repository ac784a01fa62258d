"""One batch as a task, which the loader or one of its workers reads."""

import random
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from st1k4m.training.pairs import Pairs


class Task:
    """One batch to read: its pairs, the seed of a random transform, and the pairs to read soon."""

    def __init__(
        self, indices: np.ndarray, seed: tuple[int, ...], ahead: np.ndarray | None
    ) -> None:
        self.indices, self.seed, self.ahead = indices, seed, ahead

    def read(self, pairs: "Pairs", allocate=np.empty) -> dict[str, Any]:
        """Read the batch."""
        if self.ahead is not None:
            pairs.expect(self.ahead)
        if pairs.transform is None:
            return pairs.read(self.indices, allocate)
        with _seeded(self.seed):
            return pairs.read(self.indices, allocate)


class _seeded:
    """Seed the random numbers of Python, numpy and PyTorch; restore their states at the end."""

    def __init__(self, seed: tuple[int, ...]) -> None:
        self._seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._torch = sys.modules.get("torch")

    def __enter__(self) -> None:
        self._before = random.getstate(), np.random.get_state()  # noqa: NPY002
        random.seed(self._seed)
        np.random.seed(self._seed)  # noqa: NPY002
        if self._torch:
            self._torch_before = self._torch.get_rng_state()
            self._torch.manual_seed(self._seed)

    def __exit__(self, *error: object) -> None:
        random.setstate(self._before[0])
        np.random.set_state(self._before[1])  # noqa: NPY002
        if self._torch:
            self._torch.set_rng_state(self._torch_before)
