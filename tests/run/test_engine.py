"""The functions of Snakemake that rules/engine.py replaces."""

import asyncio
import dataclasses
import importlib.util
import threading
import time
from types import SimpleNamespace

import pytest
import snakemake.jobs
from places import REPOSITORY
from snakemake.scheduling.job_scheduler import JobScheduler


@pytest.fixture
def engine(monkeypatch):
    """Load the module; restore the functions that it replaces after the test."""
    monkeypatch.setattr(snakemake.jobs, "wait_for_files", snakemake.jobs.wait_for_files)
    for name in ("_schedule_reevalutation", "update_input_sizes"):
        monkeypatch.setattr(JobScheduler, name, getattr(JobScheduler, name))
    spec = importlib.util.spec_from_file_location("engine", REPOSITORY / "rules/engine.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def replaced(engine, name):
    """Return the replacement of one function of Snakemake."""
    (seam,) = [seam for seam in engine.SEAMS if seam.name == name]
    return seam.replace(getattr(seam.owner, name))


def test_snakemake_has_every_function_as_it_is_known(engine):
    said = []
    before = {seam.name: getattr(seam.owner, seam.name) for seam in engine.SEAMS}
    engine.adapt(say=said.append)
    assert said == []
    for seam in engine.SEAMS:
        assert getattr(seam.owner, seam.name) is not before[seam.name]


def test_second_call_replaces_nothing(engine):
    engine.adapt()
    first = {seam.name: getattr(seam.owner, seam.name) for seam in engine.SEAMS}
    engine.adapt()
    assert first == {seam.name: getattr(seam.owner, seam.name) for seam in engine.SEAMS}


@pytest.mark.parametrize(
    "other",
    [
        {"name": "no_such_function"},
        {"parameters": ("self", "seconds")},
        {"uses": ("_no_such_attribute",)},
    ],
)
def test_function_that_differs_is_left_alone_and_named_once(engine, other):
    known = engine.SEAMS[1]
    before = vars(JobScheduler).copy()
    said = []
    engine.adapt((dataclasses.replace(known, **other),), said.append)
    assert vars(JobScheduler) == before
    assert len(said) == 1
    assert other.get("name", known.name) in said[0]
    assert said[0].endswith(f"{known.without}.")


def test_many_requests_make_one_pass(engine):
    later = replaced(engine, "_schedule_reevalutation")
    scheduler = SimpleNamespace(_open_jobs=threading.Semaphore(0))
    for _ in range(3):
        for _ in range(20):
            later(scheduler, 0.1)
        assert scheduler._open_jobs.acquire(timeout=10)
        assert not scheduler._open_jobs.acquire(timeout=0.3)


def test_request_right_after_a_pass_is_not_lost(engine):
    later = replaced(engine, "_schedule_reevalutation")
    scheduler = SimpleNamespace(_open_jobs=threading.Semaphore(0))
    for _ in range(200):
        later(scheduler, 0.001)
        assert scheduler._open_jobs.acquire(timeout=10)


def test_long_timer_does_not_hold_up_a_short_one(engine):
    later = replaced(engine, "_schedule_reevalutation")
    scheduler = SimpleNamespace(_open_jobs=threading.Semaphore(0))
    begin = time.monotonic()
    later(scheduler, 1.5)
    later(scheduler, 0.05)
    assert scheduler._open_jobs.acquire(timeout=10)
    assert time.monotonic() - begin < 1


def test_schedulers_do_not_share_a_timer(engine):
    later = replaced(engine, "_schedule_reevalutation")
    schedulers = [SimpleNamespace(_open_jobs=threading.Semaphore(0)) for _ in range(2)]
    for scheduler in schedulers:
        later(scheduler, 0.05)
    assert all(scheduler._open_jobs.acquire(timeout=10) for scheduler in schedulers)


class Path(str):
    """An input that counts how often its size is read."""

    asked = 0
    there = True

    async def exists(self):
        return self.there

    async def size(self):
        self.asked += 1
        return len(self)


def test_size_of_an_input_is_asked_for_once(engine):
    update = replaced(engine, "update_input_sizes")
    counts, image = Path("counts"), Path("image")
    jobs = [SimpleNamespace(input=[counts]), SimpleNamespace(input=[counts, image])]
    scheduler = SimpleNamespace(_input_sizes={})
    for ready in (jobs[:1], jobs, jobs):
        asyncio.run(update(scheduler, ready))
    assert scheduler._input_sizes == {"counts": 6, "image": 5}
    assert (counts.asked, image.asked) == (1, 1)


def test_input_that_is_not_there_yet_is_asked_for_again(engine):
    update = replaced(engine, "update_input_sizes")
    image = Path("image")
    image.there = False
    scheduler = SimpleNamespace(_input_sizes={})
    asyncio.run(update(scheduler, [SimpleNamespace(input=[image])]))
    assert scheduler._input_sizes == {"image": None}
    image.there = True
    asyncio.run(update(scheduler, [SimpleNamespace(input=[image])]))
    assert scheduler._input_sizes == {"image": 5}


def test_lost_input_is_left_to_its_job_and_a_lost_output_is_not(engine):
    async def lost(files, *, consider_local=(), ignore_pipe_or_service=False):
        raise OSError("missing")

    wait = engine.leave_missing_inputs_to_their_jobs(lost)
    asyncio.run(wait(["image"], consider_local=set()))
    with pytest.raises(OSError, match="missing"):
        asyncio.run(wait(["tiles"], ignore_pipe_or_service=True))


def test_long_lists_of_files_are_cut_and_short_ones_are_not(engine):
    paths = [f"results/{number}.h5ad" for number in range(1, 1150)]
    reason = "Missing output files: a; Input files updated by another job: " + ", ".join(paths)
    record = SimpleNamespace(input=paths, output=paths[:10], reason=reason)
    assert engine.shorten_lists(record) is True
    assert record.input == [*paths[:3], "and 1,146 more"]
    assert record.output == paths[:10]
    assert record.reason == (
        "Missing output files: a; Input files updated by another job: "
        f"{', '.join(paths[:3])}, and 1,146 more"
    )


def test_interpreter_is_quoted_once_where_its_path_needs_it(engine, monkeypatch):
    for path, quoted in (("/a b/python", "'/a b/python'"), ("/a/python", "/a/python")):
        monkeypatch.setattr(engine.sys, "executable", path)
        engine.quote_interpreter()
        engine.quote_interpreter()
        assert engine.sys.executable == quoted
