"""A dataset on the Hugging Face hub: its commit, its listing and its small files.

Endpoint, token, cache and offline mode are set by the environment variables of the hub's client.
"""

import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from st1k4m.errors import CatalogueError, TransferError
from st1k4m.source import meta_table, transfer
from st1k4m.source.assemble import Entry, Listing, assemble
from st1k4m.source.catalogue import FILES, Catalogue, parse_address

log = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
BIB = "meta/bib.txt"
#: Timeout in seconds of one request to the hub, as for a page of its listing.
TIMEOUT = 60


def make_catalogue(address: str) -> Catalogue:
    """Make the catalogue of a dataset on the hub, and fetch its small files.

    The revision (``main`` if none is given) is resolved to its commit, and all files come from this
    commit. The meta table, the BibTeX and the annotations are fetched here, below
    `catalogue.FILES`, so no job needs the network for them. Offline, only the client's cache is
    used.

    Parameters
    ----------
    address
        ``hf://datasets/OWNER/NAME[@REVISION]``.

    Raises
    ------
    CatalogueError
        The hub cannot be reached, does not have the dataset or revision, or refuses access.
    """
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import HTTPError

    repo, revision = parse_address(address)
    try:
        if is_offline_mode():
            commit, listing = list_cache(repo, revision or "main")
        else:
            commit, listing = list_hub(repo, revision or "main")
        table = meta_table.choose_table(listing, address)
        content = _bring(repo, commit, listing, table).read_bytes()
        catalogue = assemble(address, commit, listing, table, content)
        small = {
            row.annotation: catalogue.path(row.slide, "annotation")
            for row in catalogue.slides.values()
            if row.annotation
        }
        if BIB in listing:
            small[BIB] = catalogue.bib
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: _bring(repo, commit, listing, *item), small.items()))
    except HTTPError as error:
        raise CatalogueError(_explain(address, error)) from error
    except TransferError as error:
        raise CatalogueError(f"{address}: {error.reason}; {error.hint}") from error
    return catalogue


def list_hub(repo: str, revision: str) -> tuple[str, Listing]:
    """Resolve a revision and list its files.

    Returns
    -------
    commit
        40 hexadecimal digits.
    listing
        All files: bytes, and the sha256 of files in the hub's large file storage or git's object id
        of other files.

    Raises
    ------
    CatalogueError
        There is no meta table, or the hub does not state the commit.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    listing = _list_tree(repo, revision)
    if COMMIT.fullmatch(revision):
        return revision, listing
    table = meta_table.choose_table(listing, f"hf://datasets/{repo}@{revision}")
    url = hf_hub_url(repo, table, repo_type="dataset", revision=revision)
    commit = get_hf_file_metadata(url, timeout=TIMEOUT).commit_hash
    if not commit:
        raise CatalogueError(
            f"hf://datasets/{repo}: the hub does not state the commit of {revision}; give the "
            f"commit: hf://datasets/{repo}@COMMIT"
        )
    # Listed again, because the branch may have moved between the two requests.
    return commit, _list_tree(repo, commit)


def _list_tree(repo: str, revision: str) -> Listing:
    """List the files of a revision, page by page.

    The client's ``list_repo_tree`` has no timeout and can hang, so pages are requested directly.
    """
    from huggingface_hub import constants, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers, http_backoff

    url = f"{constants.ENDPOINT}/api/datasets/{repo}/tree/{quote(revision, safe='')}"
    url += "?recursive=true&expand=false"
    listing: Listing = {}
    while url:
        page = http_backoff("GET", url, headers=build_hf_headers(), timeout=TIMEOUT)
        hf_raise_for_status(page)
        for entry in page.json():
            if entry["type"] == "file":
                large = entry.get("lfs") or {}
                size = int(large.get("size", entry["size"]))
                listing[entry["path"]] = _entry(size, large.get("oid") or entry.get("oid", ""))
        url = page.links.get("next", {}).get("url")
    return listing


def _entry(size: int, digest: str) -> Entry:
    """Recognise a checksum by its form: sha256 of a large file, git's sha1 of a small one."""
    if SHA256.fullmatch(digest):
        return Entry(size, sha256=digest)
    return Entry(size, oid=digest) if COMMIT.fullmatch(digest) else Entry(size)


def list_cache(repo: str, revision: str) -> tuple[str, Listing]:
    """List the files of a revision in the client's cache; see `list_hub`.

    Raises
    ------
    CatalogueError
        The cache does not have the meta table of this revision.
    """
    from huggingface_hub import try_to_load_from_cache

    for table in meta_table.META_TABLES:
        found = try_to_load_from_cache(repo, table, repo_type="dataset", revision=revision)
        if isinstance(found, str):
            snapshot = Path(found).parents[1]
            break
    else:
        raise CatalogueError(
            f"hf://datasets/{repo}@{revision}: HF_HUB_OFFLINE is set and the cache of the hub's "
            "client has no meta table of this revision; unset HF_HUB_OFFLINE, or give a revision "
            "that is in the cache"
        )
    listing = {}
    for folder, _, names in os.walk(snapshot):
        for path in (Path(folder, name) for name in sorted(names)):
            # A snapshot's link points to a file whose name is its sha256, or git's sha1.
            blob = path.readlink().name if path.is_symlink() else ""
            listing[path.relative_to(snapshot).as_posix()] = _entry(path.stat().st_size, blob)
    return snapshot.name, listing


def find_cached(remote: transfer.Remote) -> Path | None:
    """Return the path of a file in the client's cache, not verified; None if it has none."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        remote.repo, remote.path, repo_type="dataset", revision=remote.commit
    )
    return Path(found) if isinstance(found, str) else None


def _bring(repo: str, commit: str, listing: Listing, path: str, out: str = "") -> Path:
    """Fetch a small file, from the cache or from the hub; return its path."""
    remote = transfer.Remote(repo, commit, path, *listing[path])
    place = Path(out or f"{FILES}/{path}")
    fetch(remote, place)
    return place


def fetch(remote: transfer.Remote, out: Path, **options) -> None:
    """Fetch a file to ``out``, verified: a link into the client's cache, or a download.

    Parameters
    ----------
    remote
        The file.
    out
        Its path on this machine; replaced if it exists.
    options
        Keyword arguments of `transfer.download`.

    Raises
    ------
    TransferError
        See `transfer.download`; or the client is offline and its cache does not have the file.
    """
    from huggingface_hub import is_offline_mode

    cached = find_cached(remote)
    if cached:
        try:
            transfer.verify(cached, remote)
        except transfer.BadBody as error:
            log.warning("%s in the cache is damaged, so it is not used: %s", cached, error)
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.unlink(missing_ok=True)
            out.symlink_to(cached.resolve())
            log.info("%s is in the cache of the hub's client", remote.path)
            return
    if is_offline_mode():
        raise TransferError(
            f"{remote.path}: HF_HUB_OFFLINE is set and the cache has no valid copy of the file",
            "unset HF_HUB_OFFLINE",
        )
    transfer.download(remote, out, **options)


def _explain(address: str, error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return f"{address}: accept the dataset's terms on the hub and set HF_TOKEN"
    if isinstance(error, RepositoryNotFoundError):
        return f"{address}: the hub has no such dataset; if it is private, set HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return f"{address}: the dataset has no such revision; give a branch, tag or full commit"
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"{address}: {constants.ENDPOINT} did not list the files ({first}); run again later, or "
        "set HF_HUB_OFFLINE=1 to use the cache of the hub's client"
    )
