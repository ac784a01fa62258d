"""Worker processes that read batches into memory that they share with the loader.

PyTorch's DataLoader runs the workers. By default it allocates new shared memory for every batch.
The system must clear its pages first, which took three to seven times as long as reading the tiles
(bench_training). Here a fixed number of buffers is reused. A buffer is free again when no array of
its batch is in use. If no buffer is free, DataLoader sends the batch in its own way.
"""

import os
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from st1k4m.errors import SlideError
from st1k4m.training.tasks import Task

if TYPE_CHECKING:
    from st1k4m.training.pairs import Pairs

_ALIGNMENT = 64
_HELD = 2  # number of batches that the user is expected to keep at a time
_SHARED = "/dev/shm"  # noqa: S108  (where Linux keeps shared memory)


class Workers:
    """Processes that read batches.

    Parameters
    ----------
    pairs
        The pairs.
    batch_size
        Largest number of pairs in a batch.
    workers, prefetch
        Number of processes, and number of batches that each reads ahead.
    context
        Start method of the processes.

    Raises
    ------
    ValueError
        There is not enough shared memory.
    """

    def __init__(
        self, pairs: "Pairs", batch_size: int, workers: int, prefetch: int, context: str | None
    ) -> None:
        size = _bytes_of_batch(pairs, min(batch_size, len(pairs)))
        number = workers * prefetch + _HELD
        _check_shared_memory(size * number, workers, size)
        # No object in the DataLoader may refer to the DataLoader. Such a cycle would be deleted by
        # the garbage collector of a worker, and that worker would then hang.
        self._round = _Round([_share(size) for _ in range(number)])
        self._loader = DataLoader(
            _Reader(pairs, self._round.buffers),
            batch_sampler=self._round,
            num_workers=workers,
            prefetch_factor=prefetch,
            collate_fn=_as_it_is,
            persistent_workers=True,
            multiprocessing_context=context,
            generator=torch.Generator(),  # does not use up the user's random numbers
        )

    def read(self, tasks: Iterable[Task]) -> Iterator[dict[str, Any]]:
        """Yield the batches of the tasks, in their order."""
        self._round.tasks = tasks
        for number, (parts, fault) in enumerate(self._loader):
            batch = self._round.open(number, parts or {})
            if fault is not None:
                raise fault
            yield batch


class _Round:
    """The reused buffers; iterating yields tasks, each with the number of its buffer or None."""

    def __init__(self, buffers: list[torch.Tensor]) -> None:
        self.buffers = buffers
        self.tasks: Iterable[Task] = ()
        self._free = deque(range(len(buffers)))
        self._taken: dict[int, int | None] = {}  # by number of the task

    def __iter__(self) -> Iterator[tuple[Task, int | None]]:
        for buffer in self._taken.values():  # of an iteration that did not reach its end
            self._release(buffer)
        self._taken.clear()
        for number, task in enumerate(self.tasks):
            self._taken[number] = self._free.popleft() if self._free else None
            yield task, self._taken[number]

    def open(self, number: int, parts: dict[str, Any]) -> dict[str, Any]:
        """Return the batch of a task from the parts that a worker sent."""
        buffer = self._taken.pop(number)
        if buffer is None:
            return parts
        whole = self.buffers[buffer].numpy()
        weakref.finalize(whole, self._release, buffer).atexit = False
        return {key: _view(part, whole) for key, part in parts.items()}

    def _release(self, buffer: int | None) -> None:
        if buffer is not None:
            self._free.append(buffer)


class _Reader:
    """Dataset for DataLoader; one call reads the batch of a whole task in a worker."""

    def __init__(self, pairs: "Pairs", buffers: list[torch.Tensor]) -> None:
        self._pairs, self._buffers = pairs, buffers

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitems__(self, job: tuple[Task, int | None]) -> tuple[dict | None, Exception | None]:
        task, buffer = job
        try:
            if buffer is None:
                return task.read(self._pairs), None
            memory = _Memory(self._buffers[buffer].numpy())
            batch = task.read(self._pairs, memory.allocate)
            return {key: memory.place(value) for key, value in batch.items()}, None
        except SlideError as error:  # DataLoader would wrap it in a traceback
            return None, error


class _Memory:
    """Place arrays one after another in a buffer; an array that does not fit gets own memory."""

    def __init__(self, whole: np.ndarray) -> None:
        self._whole, self._used = whole, 0
        self._begin = whole.__array_interface__["data"][0]

    def allocate(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Make an array."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        end = self._used + size
        if end > len(self._whole):
            return np.empty(shape, dtype)
        array = self._whole[self._used : end].view(dtype).reshape(shape)
        self._used = -(-end // _ALIGNMENT) * _ALIGNMENT
        return array

    def place(self, value: Any) -> Any:
        """Return the place of an array in this memory; return any other value unchanged."""
        array = value.numpy() if _is_dense(value) else value
        if not isinstance(array, np.ndarray):
            return value
        place = array.__array_interface__["data"][0] - self._begin
        if not 0 <= place < len(self._whole):
            return value
        return _Place(place, array.shape, array.strides, array.dtype.str, array is not value)


class _Place:
    """The place of an array in a buffer."""

    def __init__(
        self, begin: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: str, tensor: bool
    ) -> None:
        self.begin, self.shape, self.strides = begin, shape, strides
        self.dtype, self.tensor = dtype, tensor


def _view(part: Any, whole: np.ndarray) -> Any:
    if not isinstance(part, _Place):
        return part
    array = np.ndarray(part.shape, part.dtype, whole, part.begin, part.strides)
    return torch.from_numpy(array) if part.tensor else array


def _is_dense(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided


def _as_it_is(batch: Any) -> Any:
    return batch


def _bytes_of_batch(pairs: "Pairs", batch_size: int) -> int:
    """Return the size of a batch, from its first pair."""
    first = Task(np.arange(1), (0,), None).read(pairs)
    arrays = [
        value for value in first.values() if isinstance(value, np.ndarray) or _is_dense(value)
    ]
    return sum(value.nbytes * batch_size + _ALIGNMENT for value in arrays)


def _share(size: int) -> torch.Tensor:
    # torch.utils.data.default_collate calls the same function for this
    storage = torch.UntypedStorage._new_shared(size)
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def _check_shared_memory(size: int, workers: int, batch: int) -> None:
    """Raise if shared memory is too small, as in containers: a worker would get a bus error."""
    if not os.path.isdir(_SHARED):
        return
    found = os.statvfs(_SHARED)
    free = found.f_bavail * found.f_frsize
    if free < size:
        raise ValueError(
            f"{workers} workers with batches of {batch / 2**20:,.0f} MB need "
            f"{size / 2**20:,.0f} MB of shared memory, {_SHARED} has {free / 2**20:,.0f} MB free: "
            "use smaller batches or fewer workers, or give the container more shared memory "
            "(--shm-size)"
        )
