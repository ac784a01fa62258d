"""Report the progress of downloads on the terminal."""

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
#: Length in seconds of the recent past over which the rate is computed.
WINDOW = 300


class Progress:
    """Progress of the downloads of all jobs, from a table to which each job appends.

    Parameters
    ----------
    table, slides
        The catalogue and the selected slides.
    tell
        Called with a line of progress: at most once in `BETWEEN` seconds over all jobs, and at the
        end.
    path
        The table of transfers. Its columns: time, slide, kind, bytes received, seconds in which
        they were received, bytes present, whether a line was printed.
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
        """Return the callback that `transfer.download` calls after each piece of a file.

        Its arguments are the bytes of the piece (0 at the end) and the bytes downloaded so far.
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
            # Two hosts that write at the same time can damage a line; it is left out.
            with contextlib.suppress(ValueError):
                now, slide, kind, moved, seconds, have, told = line.split("\t")
                rows.append(
                    (float(now), slide, kind, int(moved), float(seconds), int(have), told == "1")
                )
        return rows


def describe(rows: list[tuple], sizes: dict[tuple[str, str], int], now: float) -> tuple[str, bool]:
    """Summarise the rows of the table of transfers in a line.

    Parameters
    ----------
    rows
        See `Progress`.
    sizes
        Bytes of each file by slide and kind.
    now
        Current time in seconds.

    Returns
    -------
    line
        ``fetched 12 of 1,149 slides, 5.2 GB of 440.1 GB, 48.0 MB/s, 2 h 31 min left``.
    complete
        Whether all files are complete.
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
