"""The functions of Snakemake that rules/engine.smk replaces."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
import snakemake.jobs
from places import REPOSITORY
from snakemake.scheduling.job_scheduler import JobScheduler


@pytest.fixture(autouse=True)
def replaced(monkeypatch):
    """Replace them for one test; those that were there before must be there to be replaced."""
    monkeypatch.setattr(snakemake.jobs, "wait_for_files", snakemake.jobs.wait_for_files)
    for name in ("_schedule_reevalutation", "update_input_sizes"):
        monkeypatch.setattr(JobScheduler, name, getattr(JobScheduler, name))
    exec((REPOSITORY / "rules/engine.smk").read_text(), {})


def test_looks_that_follow_each_other_make_one_more():
    scheduler = SimpleNamespace(_open_jobs=threading.Semaphore(0))
    for _ in range(2):
        for _ in range(20):
            JobScheduler._schedule_reevalutation(scheduler, 0.2)
        assert scheduler._open_jobs.acquire(timeout=10)
        assert not scheduler._open_jobs.acquire(blocking=False)
        time.sleep(0.1)  # until the thread has ended that let us go on


class Path(str):
    """An input that counts how often it is asked for its size."""

    asked = 0

    async def exists(self):
        return self != "missing"

    async def size(self):
        self.asked += 1
        return len(self)


def test_size_of_an_input_is_asked_for_once():
    counts, image, missing = Path("counts"), Path("image"), Path("missing")
    jobs = [SimpleNamespace(input=[counts]), SimpleNamespace(input=[counts, image, missing])]
    scheduler = SimpleNamespace(_input_sizes={})
    for ready in (jobs[:1], jobs, jobs):
        asyncio.run(JobScheduler.update_input_sizes(scheduler, ready))
    assert scheduler._input_sizes == {"counts": 6, "image": 5, "missing": None}
    assert (counts.asked, image.asked) == (1, 1)
