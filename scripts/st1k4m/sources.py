"""How a slide's files come to be here: from a folder they are read in place, from a hub fetched."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from st1k4m import catalogue, hub, transfer, words
from st1k4m.errors import SlideError

log = logging.getLogger(__name__)

FETCHED = ("counts", "coord", "image")
TRANSFERS = f"{catalogue.FILES}/transfers.tsv"
#: Seconds between two lines of progress.
BETWEEN = 10
#: Seconds over which the rate is taken.
WINDOW = 300


def fetch(
    table: catalogue.Catalogue,
    slide: str,
    kind: str,
    out: str | os.PathLike,
    *,
    tries: int = 5,
    timeout: float = 60,
    pause: float = 2,
    progress: "Progress | None" = None,
) -> None:
    """Fetch one file of a slide, verified by size and checksum.

    Parameters
    ----------
    table
        The catalogue of a dataset on the hub.
    slide, kind
        Which file; ``kind`` is one of `FETCHED`.
    out
        Where it goes.
    tries, timeout, pause
        See `transfer.download`.
    progress
        Is told of what arrives.

    Raises
    ------
    SlideError
        The dataset has no such file, or it cannot be had.
    """
    row = table.slides[slide]
    path = getattr(row, kind)
    if not path:
        folder, suffix = catalogue.KINDS[kind]
        raise SlideError(
            slide,
            f"the dataset has no {row.tech}/{folder}/{slide}{suffix}",
            "list the slide under exclude, or take a revision that has it (with refresh=true)",
        )
    size, sha256, oid = (getattr(row, f"{kind}_{what}") for what in ("bytes", "sha256", "oid"))
    repo, _ = catalogue.parse_address(table.dataset)
    remote = transfer.Remote(repo, table.revision, path, size, sha256, oid)
    watch = progress.watch(slide, kind) if progress else lambda got, have: None
    try:
        hub.fetch(remote, Path(out), tries=tries, timeout=timeout, pause=pause, moved=watch)
    except transfer.TransferError as error:
        raise SlideError(slide, error.reason, error.hint) from error
    watch(0, size)


def fetch_for_run(
    catalogue_path: str | os.PathLike,
    slide: str,
    kind: str,
    out: str | os.PathLike,
    config: Mapping,
    tell: Callable[[str], None],
) -> None:
    """Fetch one file of a slide as the configuration says, and tell how far the whole run is.

    Parameters
    ----------
    catalogue_path
        The catalogue's file.
    slide, kind, out
        See `fetch`.
    config
        The configuration: ``fetch``, and ``select`` and ``exclude``, which say what is to come.
    tell
        See `Progress`.
    """
    table = catalogue.read(catalogue_path)
    selected, _ = catalogue.select(table, config["select"], config["exclude"])
    fetch(
        table,
        slide,
        kind,
        out,
        tries=config["fetch"]["tries"],
        timeout=config["fetch"]["timeout"],
        progress=Progress(table, selected, tell),
    )


class Progress:
    """One line on what all jobs together have fetched, over a table they all append to.

    Parameters
    ----------
    table, slides
        What is to come: the selected slides.
    tell
        Gets a line at most every `BETWEEN` seconds from all jobs together, and at the end.
    path
        The table: time, slide, kind, bytes moved, in so many seconds, bytes there, whether told.
    """

    def __init__(
        self,
        table: catalogue.Catalogue,
        slides: Iterable[str],
        tell: Callable[[str], None],
        path: str | os.PathLike = TRANSFERS,
    ) -> None:
        self.sizes = {
            (slide, kind): getattr(table.slides[slide], f"{kind}_bytes")
            for slide in slides
            for kind in FETCHED
        }
        self.tell = tell
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def watch(self, slide: str, kind: str) -> Callable[[int, int], None]:
        """Make what `transfer.download` tells of its pieces."""
        self._append(slide, kind, 0, 0, 0)
        begin, moved = time.time(), 0

        def note(got: int, have: int) -> None:
            nonlocal begin, moved
            moved += got
            now = time.time()
            ended = have >= self.sizes.get((slide, kind), 0) and not got
            if ended or now - begin >= BETWEEN:
                self._append(slide, kind, moved, now - begin, have)
                begin, moved = now, 0

        return note

    def _append(self, slide: str, kind: str, moved: int, seconds: float, have: int) -> None:
        now = time.time()
        rows = [*self._read(), (now, slide, kind, moved, seconds, have, False)]
        line, complete = describe(rows, self.sizes, now)
        last_told = max((row[0] for row in rows if row[6]), default=0)
        told = complete or now - last_told >= BETWEEN
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{now:.1f}\t{slide}\t{kind}\t{moved}\t{seconds:.1f}\t{have}\t{int(told)}\n")
        if told:
            self.tell(line)

    def _read(self) -> list[tuple]:
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            # A line torn by two hosts that write at once is left out.
            with contextlib.suppress(ValueError):
                now, slide, kind, moved, seconds, have, told = line.split("\t")
                rows.append(
                    (float(now), slide, kind, int(moved), float(seconds), int(have), told == "1")
                )
        return rows


def describe(rows: list[tuple], sizes: dict[tuple[str, str], int], now: float) -> tuple[str, bool]:
    """Sum up the rows of the table of transfers.

    Returns
    -------
    line
        ``fetched 12 of 1,149 slides, 5.2 of 440.1 GB, 48.0 MB/s, 2 h 31 min left``.
    complete
        Whether everything is here.
    """
    have = {(row[1], row[2]): row[5] for row in rows}
    slides = {slide for slide, _ in sizes}
    lacking = {slide for (slide, kind), size in sizes.items() if have.get((slide, kind), -1) < size}
    total = sum(sizes.values())
    there = sum(min(have.get(key, 0), size) for key, size in sizes.items())
    recent = [row for row in rows if now - row[0] < WINDOW]
    seconds = now - min((row[0] - row[4] for row in recent), default=now)
    rate = sum(row[3] for row in recent) / max(seconds, 1)
    left = f", {words.duration((total - there) / rate)} left" if rate and there < total else ""
    line = (
        f"fetched {len(slides) - len(lacking):,} of {len(slides):,} slides, "
        f"{words.size(there)} of {words.size(total)}, {words.size(rate)}/s{left}"
    )
    return line, not lacking
