"""Fetch a slide's files from the hub; the files of a folder are read in place."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from st1k4m.dataset import KINDS
from st1k4m.errors import SlideError, TransferError
from st1k4m.source import catalogue, hub, selection, transfer
from st1k4m.source.progress import Progress


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
        Which file; ``kind`` is one of `st1k4m.source.progress.FETCHED`.
    out
        Path of the fetched file.
    tries, timeout, pause
        See `transfer.download`.
    progress
        Records the bytes that arrive.

    Raises
    ------
    SlideError
        The dataset has no such file, or it cannot be downloaded.
    """
    row = table.slides[slide]
    path = getattr(row, kind)
    if not path:
        folder, suffix = KINDS[kind]
        raise SlideError(
            slide,
            f"the dataset has no {row.tech}/{folder}/{slide}{suffix}",
            "list the slide under exclude, or choose a revision that has it (with refresh=true)",
        )
    size, sha256, oid = (getattr(row, f"{kind}_{what}") for what in ("bytes", "sha256", "oid"))
    address, revision = table.source_of(slide)
    repo, _ = catalogue.parse_address(address)
    remote = transfer.Remote(repo, revision, path, size, sha256, oid)
    watch = progress.watch(slide, kind) if progress else lambda got, have: None
    try:
        hub.fetch(remote, Path(out), tries=tries, timeout=timeout, pause=pause, moved=watch)
    except TransferError as error:
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
    """Fetch one file of a slide with the configured options, and report the progress of the run.

    Parameters
    ----------
    catalogue_path
        The catalogue's file.
    slide, kind, out
        See `fetch`.
    config
        The configuration: ``fetch``, and ``select`` and ``exclude``, which give the slides of the
        run.
    tell
        See `Progress`.

    Raises
    ------
    SlideError
        See `fetch`.
    """
    table = catalogue.read(catalogue_path)
    selected, _ = selection.select(table, config["select"], config["exclude"])
    fetch(
        table,
        slide,
        kind,
        out,
        tries=config["fetch"]["tries"],
        timeout=config["fetch"]["timeout"],
        progress=Progress(table, selected, tell),
    )
