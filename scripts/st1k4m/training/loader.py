"""Batches of pairs: exact epochs over ranks and workers, and resuming after the last batch."""

import hashlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from st1k4m.training import order
from st1k4m.training.tasks import Task

if TYPE_CHECKING:
    from st1k4m.training.pairs import Pairs

START_METHODS = ("fork", "spawn", "forkserver")

_SAME = ("seed", "shuffle", "weight", "batch_size", "drop_last", "world", "block", "pairs")
"""Values that must be equal in a saved state and in the loader that loads it."""


class Loader:
    """Batches of pairs, epoch after epoch; ``Pairs.loader`` makes it.

    Iterating yields the batches of one epoch, each as ``pairs[[...]]`` returns it. The order
    depends only on the seed and the epoch. It is divided among the ranks, which all get the same
    number of batches. Workers and ``batch_size`` do not change it. Each iteration is the next
    epoch. After an iteration that did not reach its end, the next one repeats the same epoch from
    its start.

    Parameters
    ----------
    pairs
        The pairs.
    batch_size
        Number of pairs in a batch.
    shuffle
        Random order, or the order of the pairs.
    seed
        Seed of the order and of a random transform.
    weight
        ``pair``: every pair once. ``slide``, ``study``: as many draws as there are pairs, every
        slide or study equally often.
    drop_last
        Leave out the last batch of a rank if it is smaller.
    rank, world
        Number of this process, from 0, and number of processes. The default is that of
        ``torch.distributed`` if it is initialised, else 0 of 1.
    workers
        Number of worker processes that read, which need PyTorch. With 0 this process reads.
    prefetch
        Number of batches that each worker reads ahead.
    context
        Start method of the workers: ``fork``, ``spawn`` or ``forkserver``; the system's default if
        None.
    block
        Number of neighbours in a store that are read at about the same time, but not in the same
        batch; 1 is a perfect shuffle.

    Attributes
    ----------
    epoch : int
        The epoch that is being read, or is read next.

    Raises
    ------
    ValueError
        An option has a wrong value; the message states what is expected.
    """

    def __init__(
        self,
        pairs: "Pairs",
        batch_size: int = 256,
        *,
        shuffle: bool = True,
        seed: int = 0,
        weight: str = "pair",
        drop_last: bool = False,
        rank: int | None = None,
        world: int | None = None,
        workers: int = 0,
        prefetch: int = 2,
        context: str | None = None,
        block: int = order.BLOCK,
    ) -> None:
        rank, world = _find_rank(rank, world)
        least = {"batch_size": 1, "seed": 0, "workers": 0, "prefetch": 1, "block": 1, "world": 1}
        given = {"batch_size": batch_size, "seed": seed, "workers": workers, "prefetch": prefetch}
        for name, value in (given | {"block": block, "world": world, "rank": rank}).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < least.get(name, 0):
                least_value = least.get(name, 0)
                raise ValueError(f"{name} must be a whole number of at least {least_value}, "
                                 f"not {value!r}")  # fmt: skip
        if rank >= world:
            raise ValueError(f"rank must be less than world, {world}, not {rank}")
        if weight not in order.WEIGHTS:
            raise ValueError(f"weight must be {', '.join(order.WEIGHTS)}, not {weight!r}")
        if weight != "pair" and not shuffle:
            raise ValueError(f"weight={weight!r} draws pairs at random, so it needs shuffle=True")
        if context not in (*START_METHODS, None):
            raise ValueError(f"context must be {', '.join(START_METHODS)}, not {context!r}")
        self.pairs = pairs
        self.batch_size = batch_size
        self.epoch = 0
        self._shuffle, self._seed, self._weight, self._block = shuffle, seed, weight, block
        self._drop_last, self._rank, self._world = drop_last, rank, world
        self._batches = order.count_batches(len(pairs), batch_size, world, drop_last)
        self._edges = self._cut()
        self._batch = 0  # number of batches of this epoch that were yielded
        self._start = 0  # batch at which the next iteration begins
        self._running = 0
        self._workers = self._start_workers(workers, prefetch, context) if workers else None

    def __len__(self) -> int:
        """Return the number of batches of an epoch on this rank."""
        return len(self._edges) - 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._running += 1
        running = self._running
        self._batch, self._start = self._start, 0
        mine = self._order()
        for batch in self._read(mine, self._batch):
            if running != self._running:
                raise RuntimeError("another iteration of this loader began; use one at a time")
            self._batch += 1
            yield batch
        if running == self._running:
            self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration read this epoch, from its start.

        If a loaded state is within this epoch, the iteration continues after the last batch of the
        state. A training loop can call ``set_epoch`` at the start of each epoch, also after
        `load_state_dict`.
        """
        if epoch != self.epoch:
            self.epoch, self._start = epoch, 0
        self._batch = self._start

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last batch that was yielded, in plain values.

        The state of one rank can be loaded on all ranks.
        """
        ended = self._batch == len(self)
        return {
            "epoch": self.epoch + ended,
            "batch": 0 if ended else self._batch,
            **self._identity(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the last batch that the loader of this state yielded.

        Raises
        ------
        ValueError
            The state was saved with other pairs or by a loader with other options.
        """
        own = self._identity()
        missing = [name for name in ("epoch", "batch", *own) if name not in state]
        if missing:
            raise ValueError(f"this is not the state of a loader: it lacks {', '.join(missing)}")
        for name in _SAME:
            if state[name] != own[name]:
                raise ValueError(
                    f"the state was saved with {name} {state[name]!r}, this loader has "
                    f"{own[name]!r}: make the loader with the same pairs and options"
                )
        self.epoch, self._batch = state["epoch"], state["batch"]
        self._start = self._batch

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self._seed,
            "shuffle": self._shuffle,
            "weight": self._weight,
            "batch_size": self.batch_size,
            "drop_last": self._drop_last,
            "world": self._world,
            "block": self._block,
            "pairs": _digest(self.pairs),
        }

    def _cut(self) -> np.ndarray:
        """Return where each batch of this rank begins in its part of the order, and the end."""
        total = len(self.pairs)
        if not self._batches or total < self._world:
            raise ValueError(
                f"{total:,} pairs are too few for {self._world} rank(s) with batches of "
                f"{self.batch_size:,}" + (" and drop_last" if self._drop_last else "")
            )
        part = order.part_of_rank(total, self._rank, self._world)
        edges = order.cut_batches(part.stop - part.start, self.batch_size, self._batches)
        return edges[np.append(True, np.diff(edges) > 0)]

    def _order(self) -> np.ndarray:
        """Return the pairs of this rank in this epoch, in their order."""
        sizes = self.pairs.sizes
        if not self._shuffle:
            whole = np.arange(len(self.pairs))
        elif self._weight == "pair":
            whole = order.shuffle_pairs(sizes, self._seed, self.epoch, self._block)
        else:
            named = self.pairs.slides if self._weight == "slide" else self.pairs.studies
            groups = np.unique(named, return_inverse=True)[1]
            whole = order.draw_pairs(sizes, groups, self._seed, self.epoch)
        return whole[order.part_of_rank(len(whole), self._rank, self._world)]

    def _read(self, mine: np.ndarray, start: int) -> Iterator[dict[str, Any]]:
        ahead = self._block > 1 and self._shuffle and self._weight == "pair"
        seed = self._seed, self.epoch, self._rank
        tasks = _make_tasks(mine, self._edges, start, seed, ahead)
        if self._workers is not None:
            return self._workers.read(tasks)
        return (task.read(self.pairs) for task in tasks)

    def _start_workers(self, workers: int, prefetch: int, context: str | None) -> Any:
        try:
            from st1k4m.training.workers import Workers
        except ImportError:
            raise ValueError(
                f"workers={workers} needs PyTorch: pip install torch, or give workers=0"
            ) from None
        return Workers(self.pairs, self.batch_size, workers, prefetch, context)


def _make_tasks(
    mine: np.ndarray, edges: np.ndarray, start: int, seed: tuple[int, ...], ahead: bool
) -> Iterator[Task]:
    """Yield the tasks of a rank's epoch from batch ``start`` on.

    With ``ahead`` the first task of each window lists all pairs of the window.
    """
    for number in range(start, len(edges) - 1):
        begin, end = int(edges[number]), int(edges[number + 1])
        entered = -(-begin // order.WINDOW) * order.WINDOW  # the window that begins in this batch
        soon = None
        if ahead and number == start:
            soon = mine[begin : entered + order.WINDOW]
        elif ahead and entered < end:
            soon = mine[entered : entered + order.WINDOW]
        yield Task(mine[begin:end], (*seed, begin), soon)


def _find_rank(rank: int | None, world: int | None) -> tuple[int, int]:
    if (rank is None) != (world is None):
        raise ValueError("give rank and world together, or neither")
    if rank is not None:
        return rank, world
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _digest(pairs: "Pairs") -> str:
    """Return a digest that is equal only if two `Pairs` number the same pairs."""
    content = "\n".join(
        f"{slide}\t{size}" for slide, size in zip(pairs.slides, pairs.sizes.tolist(), strict=True)
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]
