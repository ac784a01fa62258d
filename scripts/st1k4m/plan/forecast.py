"""Estimate the cost of a selection of slides before the run: bytes, disk, core-hours, hours."""

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from st1k4m.plan import costs
from st1k4m.run.text import format_duration, format_size
from st1k4m.source import catalogue, selection
from st1k4m.source.catalogue import Catalogue

CORES = (16, 64, 256, 1024)
#: Assumed bytes per second of the network in total; a plan states it, so the user can correct it.
NETWORK = 50e6


@dataclass(frozen=True)
class Plan:
    """The cost of a selection.

    Attributes
    ----------
    slides, spots
        Their numbers.
    told
        Number of slides whose file sizes the source states; other sizes are estimated.
    download
        Bytes to transfer.
    kept
        Bytes in the working directory at the end.
    seconds
        Seconds on one core, by step.
    longest
        The slide whose chain of jobs takes longest, and its seconds.
    makespans, peaks
        By number of cores: seconds until all jobs are done, if all files are downloaded; and the
        largest number of bytes in the working directory during the run.
    """

    slides: int
    spots: int
    told: int
    download: float
    kept: float
    seconds: dict[str, float]
    longest: tuple[str, float]
    makespans: dict[int, float]
    peaks: dict[int, float]


def forecast(
    catalogue_path: str | Path,
    *,
    select: Mapping[str, Collection[str]],
    exclude: Mapping[str, str],
    keep_downloads: bool,
) -> str:
    """Say what the slides that a configuration selects will cost.

    Parameters
    ----------
    catalogue_path
        The catalogue.
    select, exclude, keep_downloads
        As in the configuration, see `selection.select`.
    """
    table = catalogue.read(catalogue_path)
    selected, _ = selection.select(table, select, exclude)
    return "\n".join(describe(make_plan(table, selected, keep_downloads)))


def make_plan(
    catalogue: Catalogue,
    slides: Iterable[str],
    keep_downloads: bool = True,
    cores: Iterable[int] = CORES,
) -> Plan:
    """Estimate the cost of slides from the catalogue and the files that are already downloaded.

    Parameters
    ----------
    catalogue
        All slides.
    slides
        The selected slides, in the order in which they run.
    keep_downloads
        Whether downloaded files are kept when the slide's products are complete.
    cores
        Numbers of cores for which the makespan is computed.
    """
    slides = list(slides)
    rows = [catalogue.slides[name] for name in slides]
    amounts = [costs.quantities(row) for row in rows]
    fetched = [catalogue.is_fetched(name) for name in slides]
    raw = [costs.input_bytes(r) if f else {} for r, f in zip(rows, fetched, strict=True)]
    missing = [
        sum(size for kind, size in sizes.items() if not Path(catalogue.path(name, kind)).exists())
        for name, sizes in zip(slides, raw, strict=True)
    ]
    chains = [
        {step: costs.estimate(step, amount).seconds for step in costs.STEPS} for amount in amounts
    ]
    totals = [sum(chain.values()) for chain in chains]
    cores = list(cores)
    products = sum(costs.kept_bytes(row, amount) for row, amount in zip(rows, amounts, strict=True))
    downloads = [sum(sizes.values()) for sizes in raw]
    # While a core works on a slide, the slide's files are on the disk.
    largest = downloads if keep_downloads else sorted(downloads, reverse=True)
    return Plan(
        slides=len(rows),
        spots=sum(row.spots for row in rows),
        told=sum(bool(row.counts_bytes and row.image_bytes) for row in rows),
        download=sum(missing),
        kept=products + keep_downloads * sum(downloads),
        seconds={step: sum(chain[step] for chain in chains) for step in costs.STEPS},
        longest=max(zip(slides, totals, strict=True), key=lambda item: item[1], default=("", 0.0)),
        makespans={number: schedule(totals, number) for number in cores},
        peaks={
            number: products + sum(largest if keep_downloads else largest[:number])
            for number in cores
        },
    )


def schedule(seconds: Iterable[float], cores: int) -> float:
    """Return the seconds until all chains are done, if each free core takes the next chain."""
    free = [0.0] * cores
    for chain in seconds:
        heapq.heapreplace(free, free[0] + chain)
    return max(free)


def bound(plan: Plan, cores: int, network: float = NETWORK) -> str:
    """Return what limits a run on ``cores``: transfers, the longest chain, or cores."""
    if plan.download / network > plan.makespans[cores]:
        return "transfers"
    return "the longest chain" if plan.makespans[cores] < 1.2 * plan.longest[1] else "cores"


def describe(plan: Plan, network: float = NETWORK) -> list[str]:
    """Return lines for the user: the plan and its assumptions."""
    total = sum(plan.seconds.values())
    name, chain = plan.longest
    lines = [
        f"{plan.slides:,} slides, {plan.spots:,} spots declared",
        f"to download   {format_size(plan.download)}, "
        f"{format_duration(plan.download / network)} at {format_size(network)}/s",
        f"disk kept     {format_size(plan.kept)}",
        f"work          {format_duration(total)} on one core:",
    ]
    lines += [
        f"  {step:17} {format_duration(seconds)}, {seconds / (total or 1):.0%}"
        for step, seconds in plan.seconds.items()
    ]
    lines.append(f"longest chain {format_duration(chain)}: {name}")
    lines += [
        f"on {number:5,} cores {format_duration(seconds)}, "
        f"bound by {bound(plan, number, network)}; peak disk {format_size(plan.peaks[number])}"
        for number, seconds in plan.makespans.items()
    ]
    starts = format_duration(plan.slides * costs.ENGINE_SECONDS)
    lines += [
        f"on a cluster  {starts} more on one core: each slide's job starts Snakemake",
        "assumed: one core per slide, its steps one after another, no waiting for downloads; "
        f"{costs.FILE_RATE} MB/s from the file system for each job",
    ]
    if plan.told < plan.slides:
        lines.append(
            f"assumed: the file sizes of {plan.slides - plan.told:,} slides, because the source "
            "does not state them (see scripts/st1k4m/plan/costs.py)"
        )
    return lines
