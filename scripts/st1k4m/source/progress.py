"""Progress of the downloads on the terminal."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from st1k4m.run.text import format_duration, format_size
from st1k4m.source import catalogue

FETCHED = ("counts", "coord", "image")


TRANSFERS = f"{catalogue.FILES}/transfers.tsv"

#: Seconds between two lines of progress.
BETWEEN = 10
#: Seconds over which the rate is taken.
WINDOW = 300


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
            if table.is_fetched(slide)
            for kind in FETCHED
        }
        self.tell = tell
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def watch(self, slide: str, kind: str) -> Callable[[int, int], None]:
        """Return what `transfer.download` calls after each piece.

        It takes the bytes of the piece (0 at the end) and the bytes that are here by then.
        """
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
    left = f", {format_duration((total - there) / rate)} left" if rate and there < total else ""
    line = (
        f"fetched {len(slides) - len(lacking):,} of {len(slides):,} slides, "
        f"{format_size(there)} of {format_size(total)}, {format_size(rate)}/s{left}"
    )
    return line, not lacking
