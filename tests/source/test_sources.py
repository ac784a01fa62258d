"""From a hub to a slide's files: listing, transfers with faults, cache, progress."""

import hashlib
import os
import shutil
import subprocess
import sys
import time

import pytest
from hub import REPO, Fault, LoopbackHub
from places import SCRIPTS
from st1k4m.errors import CatalogueError, SlideError, TransferError
from st1k4m.source import catalogue, hub, open_dataset, transfer
from st1k4m.source import fetch as fetching
from st1k4m.source.progress import FETCHED, Progress, describe
from st1k4m.source.transfer import Remote

ADDRESS = f"hf://datasets/{REPO}"
COUNTS = "ST/gene_exp/a_count.csv"


@pytest.fixture
def loopback(tmp_path, monkeypatch):
    """A hub; the client of this process uses it, with a cache of its own and no token."""
    from huggingface_hub import constants

    with LoopbackHub() as server:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(
            constants.ENDPOINT, server.endpoint
        )
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.chdir(tmp_path)
        yield server


@pytest.fixture
def dataset(tmp_path):
    """One slide and what goes with it, its count file large."""
    folder = tmp_path / "dataset"
    content = {
        "ST/image/a.png": b"image" * 10,
        COUNTS: os.urandom(400_000),
        "ST/coord/a_coord.csv": b",yaxis,xaxis,r\n",
        "annotation/a_anno.csv": b"\tV2\na_1x1\ttumour\n",
        "meta/bib.txt": b"@article{x, pmid = {7}}\n",
        "meta/meta_all_gene02122025.csv": b"slide,tech,species,tissue\na,ST,human,skin\n",
    }
    for path, body in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    return folder


@pytest.fixture
def counts(loopback, dataset):
    """The large file as the hub has it."""
    commit = loopback.commit(dataset)
    body = (dataset / COUNTS).read_bytes()
    return Remote(REPO, commit, COUNTS, len(body), hashlib.sha256(body).hexdigest())


def fetch(remote, out="out/a_count.csv", **options):
    transfer.download(remote, out, **{"tries": 3, "timeout": 0.5, "pause": 0.01, **options})
    return out


def same(out, dataset, path=COUNTS):
    with open(out, "rb") as file:
        return file.read() == (dataset / path).read_bytes()


def leftovers(folder="out"):
    return [name for name in os.listdir(folder) if name.endswith(".part")]


# --- the catalogue of a hub ------------------------------------------------------------------


def test_a_branch_is_resolved_to_its_commit(loopback, dataset):
    commit = loopback.commit(dataset)
    for asked in (ADDRESS, f"{ADDRESS}@main", f"{ADDRESS}@{commit}"):
        found = open_dataset.from_hub(asked)
        assert (found.dataset, found.revision) == (asked, commit)


def test_who_did_not_pin_is_told_what_to_pin(loopback, dataset):
    commit = loopback.commit(dataset)
    told = []
    open_dataset.load(f"{ADDRESS}@main", "c.tsv", tell=told.append)
    assert (
        f"  main was asked for; to get the same data again, give dataset={ADDRESS}@{commit}" in told
    )
    assert "was asked for" not in "".join(
        open_dataset.summary(open_dataset.from_hub(f"{ADDRESS}@{commit}"))
    )


def test_sizes_and_checksums_come_from_the_listing(loopback, dataset, counts):
    row = open_dataset.from_hub(ADDRESS).slides["a"]
    assert (row.counts, row.counts_bytes, row.counts_sha256) == (COUNTS, 400_000, counts.sha256)
    assert (row.coord_bytes, row.coord_sha256, len(row.coord_oid)) == (15, "", 40)
    assert row.status == "ok"


def test_a_listing_of_many_pages_is_read_whole(loopback, dataset):
    loopback.page = 2
    loopback.commit(dataset)
    assert open_dataset.from_hub(ADDRESS).slides["a"].status == "ok"


def test_a_listing_is_asked_for_again(loopback, dataset, monkeypatch):
    loopback.faults["tree"] = [Fault(status=429, retry_after=0), Fault(stall=5)]
    loopback.commit(dataset)
    monkeypatch.setattr(hub, "TIMEOUT", 0.2)
    assert open_dataset.from_hub(ADDRESS).slides["a"].status == "ok"


def test_small_files_are_brought_with_the_catalogue(loopback, dataset):
    loopback.commit(dataset)
    found = open_dataset.from_hub(ADDRESS)
    assert same(found.path("a", "annotation"), dataset, "annotation/a_anno.csv")
    assert same(found.bib, dataset, "meta/bib.txt")
    assert COUNTS not in loopback.served


def test_a_catalogue_that_is_there_needs_no_network(loopback, dataset):
    loopback.commit(dataset)
    made = open_dataset.load(f"{ADDRESS}@main", "c.tsv")
    asked = len(loopback.requests)
    assert open_dataset.load(f"{ADDRESS}@main", "c.tsv") == made
    assert open_dataset.load(f"{ADDRESS}@{made.revision}", "c.tsv") == made
    assert len(loopback.requests) == asked


def test_a_revision_that_moved_is_followed_on_refresh_only(loopback, dataset):
    old = loopback.commit(dataset)
    first = open_dataset.load(f"{ADDRESS}@main", "c.tsv")
    (dataset / "ST/coord/a_coord.csv").write_text("corrected")
    new = loopback.commit(dataset)
    assert open_dataset.load(f"{ADDRESS}@main", "c.tsv").revision == old
    second = open_dataset.load(f"{ADDRESS}@main", "c.tsv", refresh=True)
    assert second.revision == new != old
    assert second.identity("a", "counts") == first.identity("a", "counts")
    assert second.identity("a", "image") == first.identity("a", "image")
    assert second.identity("a", "coord") != first.identity("a", "coord")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f"{ADDRESS}@gone", "no such revision"),
        ("hf://datasets/some/other", "no such dataset"),
    ],
)
def test_what_the_hub_does_not_have_is_said(loopback, dataset, address, said):
    loopback.commit(dataset)
    with pytest.raises(CatalogueError, match=said):
        open_dataset.from_hub(address)


def test_a_hub_that_is_not_there_is_said(loopback, dataset, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(CatalogueError, match=r"127\.0\.0\.1:9 did not list the files"):
        open_dataset.from_hub(ADDRESS)


def test_the_clients_token_opens_a_private_dataset(loopback, dataset, monkeypatch):
    loopback.token = "secret"
    loopback.commit(dataset)
    with pytest.raises(CatalogueError, match="HF_TOKEN"):
        open_dataset.from_hub(ADDRESS)
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert open_dataset.from_hub(ADDRESS).slides["a"].status == "ok"


# --- one transfer, with faults ---------------------------------------------------------------


def test_a_file_arrives_whole(loopback, dataset, counts):
    assert same(fetch(counts), dataset)
    assert loopback.served[COUNTS] == counts.bytes
    assert os.listdir("out") == ["a_count.csv"]


def test_an_empty_file_arrives(loopback, dataset):
    (dataset / COUNTS).write_bytes(b"")
    commit = loopback.commit(dataset)
    assert same(fetch(Remote(REPO, commit, COUNTS, 0)), dataset)


def test_a_body_cut_off_is_continued_where_it_stopped(loopback, dataset, counts):
    loopback.faults[COUNTS] = [Fault(cut=100_000), Fault(cut=50_000)]
    assert same(fetch(counts), dataset)
    assert loopback.served[COUNTS] == counts.bytes


def test_more_cuts_than_tries_are_no_failure_while_bytes_arrive(loopback, dataset, counts):
    loopback.faults[COUNTS] = [Fault(cut=40_000) for _ in range(9)]
    assert same(fetch(counts, tries=2), dataset)
    assert loopback.served[COUNTS] == counts.bytes


def test_cuts_after_a_wrong_body_are_continued_too(loopback, dataset, counts):
    loopback.faults[COUNTS] = [Fault(wrong=True), *[Fault(cut=60_000) for _ in range(4)]]
    assert same(fetch(counts, tries=3), dataset)
    assert loopback.served[COUNTS] == 2 * counts.bytes


def test_a_stall_times_out_and_is_continued(loopback, dataset, counts):
    loopback.faults[COUNTS] = [Fault(cut=100_000, stall=20)]
    begin = time.monotonic()
    assert same(fetch(counts), dataset)
    assert time.monotonic() - begin < 10
    assert loopback.served[COUNTS] == counts.bytes


def test_only_stalls_end_with_that_reason(loopback, counts):
    loopback.faults[COUNTS] = [Fault(cut=0, stall=20), ...]
    with pytest.raises(TransferError, match=r"timeout: no byte in 0\.2 s"):
        fetch(counts, tries=2, timeout=0.2)


def test_a_wrong_body_is_thrown_away_and_fetched_again(loopback, dataset, counts):
    loopback.faults[COUNTS] = [Fault(wrong=True)]
    assert same(fetch(counts), dataset)
    assert loopback.served[COUNTS] == 2 * counts.bytes


def test_a_body_that_stays_wrong_ends_with_both_checksums(loopback, dataset, counts):
    loopback.faults[COUNTS] = [Fault(wrong=True), ...]
    wrong = bytes(255 - byte for byte in (dataset / COUNTS).read_bytes())
    found = hashlib.sha256(wrong).hexdigest()
    with pytest.raises(TransferError) as error:
        fetch(counts)
    assert f"sha256 expected {counts.sha256} found {found}" in error.value.reason
    assert loopback.served[COUNTS] == 3 * counts.bytes
    assert not os.path.exists("out/a_count.csv")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again_when_it_says(loopback, dataset, counts, monkeypatch, status):
    loopback.faults[COUNTS] = [Fault(status=status, retry_after=7), Fault(status=status)]
    slept = []
    monkeypatch.setattr(transfer.time, "sleep", slept.append)
    assert same(fetch(counts, pause=0.5), dataset)
    assert [seconds for seconds in slept if seconds] == [7, 1]  # the hub of this process sleeps 0


def test_a_hub_that_stays_busy_ends_with_its_answer(loopback, counts):
    loopback.faults[COUNTS] = [Fault(status=503), ...]
    with pytest.raises(TransferError, match="the hub answers HTTP 503"):
        fetch(counts)
    assert sum(COUNTS in request for request in loopback.requests) == 6  # each is redirected once


@pytest.mark.parametrize(("status", "said"), [(404, "no such file"), (403, "refuses access")])
def test_an_answer_that_stays_is_not_asked_for_again(loopback, counts, status, said):
    loopback.faults[COUNTS] = [Fault(status=status), ...]
    with pytest.raises(TransferError, match=said):
        fetch(counts)
    assert sum("/cdn/" in request for request in loopback.requests) == 1


def test_a_file_shorter_than_listed_ends_with_both_sizes(loopback, dataset, counts):
    (dataset / COUNTS).write_bytes((dataset / COUNTS).read_bytes()[:-5])
    with pytest.raises(TransferError, match="bytes expected 400000 found 399995"):
        fetch(counts)


def test_a_file_longer_than_listed_does_not_fill_the_disk(loopback, dataset, counts):
    (dataset / COUNTS).write_bytes(os.urandom(4_000_000))
    with pytest.raises(TransferError, match="bytes expected 400000 found"):
        fetch(counts)
    assert not os.path.exists("out/a_count.csv")


def test_a_file_that_does_not_fit_on_the_disk_is_not_begun(loopback, counts):
    huge = Remote(REPO, counts.commit, COUNTS, 10**18)
    with pytest.raises(
        TransferError, match=r"1000000000\.000 GB are left to download, but .* has .* GB free"
    ):
        fetch(huge)
    assert COUNTS not in loopback.served


def test_a_transfer_left_by_another_process_is_continued(loopback, dataset, counts):
    loopback.faults[COUNTS] = [Fault(cut=150_000), Fault(status=500), ...]
    with pytest.raises(TransferError):
        fetch(counts, tries=2)
    assert len(leftovers()) == 1
    loopback.faults.clear()
    assert same(fetch(counts), dataset)
    assert loopback.served[COUNTS] == counts.bytes
    assert leftovers() == []


def test_bytes_of_another_revision_are_not_continued(loopback, dataset, counts):
    loopback.faults[COUNTS] = [Fault(cut=150_000), Fault(status=500), ...]
    with pytest.raises(TransferError):
        fetch(counts, tries=2)
    loopback.faults.clear()
    (dataset / COUNTS).write_bytes(b"new" * 100_000)
    commit = loopback.commit(dataset)
    assert same(fetch(Remote(REPO, commit, COUNTS, 300_000)), dataset)
    assert leftovers() == []


def test_two_processes_fetch_a_file_once(loopback, dataset, counts):
    loopback.faults[COUNTS] = [Fault(slow=0.1)]
    code = (
        "from st1k4m.source import transfer\n"
        f"transfer.download(transfer.Remote(*{(REPO, counts.commit, COUNTS, counts.bytes)!r},"
        f" {counts.sha256!r}), 'out/a_count.csv')"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": loopback.endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(SCRIPTS),
    }
    other = subprocess.Popen([sys.executable, "-c", code], env=environment)
    while not loopback.served[COUNTS]:
        time.sleep(0.01)
    assert same(fetch(counts), dataset)
    assert other.wait() == 0
    assert loopback.served[COUNTS] == counts.bytes


# --- a slide's files -------------------------------------------------------------------------


def test_a_slides_file_is_fetched_as_the_catalogue_says(loopback, dataset):
    loopback.commit(dataset)
    table = open_dataset.from_hub(ADDRESS)
    for kind, path in {"counts": COUNTS, "coord": "ST/coord/a_coord.csv"}.items():
        fetching.fetch(table, "a", kind, table.path("a", kind))
        assert same(table.path("a", kind), dataset, path)


def test_a_file_that_the_dataset_lacks_fails_its_slide(loopback, dataset):
    (dataset / COUNTS).unlink()
    loopback.commit(dataset)
    table = open_dataset.from_hub(ADDRESS)
    with pytest.raises(SlideError, match=r"the dataset has no ST/gene_exp/a_count\.csv"):
        fetching.fetch(table, "a", "counts", "out/x")


def test_a_transfer_that_fails_fails_its_slide(loopback, dataset):
    loopback.commit(dataset)
    table = open_dataset.from_hub(ADDRESS)
    loopback.faults[COUNTS] = [Fault(wrong=True), ...]
    with pytest.raises(SlideError, match="sha256 expected"):
        fetching.fetch(table, "a", "counts", "out/x", tries=2, pause=0.01)


def test_a_small_file_that_is_wrong_is_fetched_again(loopback, dataset, monkeypatch):
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)
    loopback.commit(dataset)
    paths = {"coord": "ST/coord/a_coord.csv", "annotation": "annotation/a_anno.csv"}
    loopback.faults |= {path: [Fault(wrong=True)] for path in paths.values()}
    table = open_dataset.from_hub(ADDRESS)
    fetching.fetch(table, "a", "coord", table.path("a", "coord"))
    for kind, path in paths.items():
        assert same(table.path("a", kind), dataset, path)
        assert loopback.served[path] == 2 * (dataset / path).stat().st_size


def test_a_small_file_that_stays_wrong_ends_with_both_names_of_git(loopback, dataset):
    path = "ST/coord/a_coord.csv"
    loopback.commit(dataset)
    table = open_dataset.from_hub(ADDRESS)
    loopback.faults[path] = [Fault(wrong=True), ...]
    wrong = bytes(255 - byte for byte in (dataset / path).read_bytes())
    found = hashlib.sha1(b"blob 15\0" + wrong).hexdigest()
    said = f"git blob expected {table.slides['a'].coord_oid} found {found}"
    with pytest.raises(SlideError, match=said):
        fetching.fetch(table, "a", "coord", "out/x", tries=2, pause=0.01)
    assert not os.path.exists("out/x")


# --- the client's cache, offline -------------------------------------------------------------


@pytest.fixture
def cached(loopback, dataset):
    """The commit, in the cache of the client as the client itself puts it there."""
    from huggingface_hub import snapshot_download

    commit = loopback.commit(dataset)
    snapshot_download(REPO, repo_type="dataset", cache_dir="cache", max_workers=1)
    loopback.served.clear()
    return commit


def test_what_the_cache_has_is_not_transferred(loopback, dataset, cached):
    table = open_dataset.from_hub(ADDRESS)
    fetching.fetch(table, "a", "counts", "out/a_count.csv")
    assert same("out/a_count.csv", dataset)
    assert os.path.islink("out/a_count.csv")
    assert not loopback.served


def test_a_wrong_file_in_the_cache_is_not_taken(loopback, dataset, cached):
    table = open_dataset.from_hub(ADDRESS)
    blob = next(path for path in (dataset.parent / "cache").rglob("a_count.csv")).resolve()
    blob.write_bytes(bytes(400_000))
    fetching.fetch(table, "a", "counts", "out/a_count.csv")
    assert same("out/a_count.csv", dataset)


def test_offline_all_comes_from_the_cache(loopback, dataset, cached, monkeypatch):
    from huggingface_hub import constants

    online = open_dataset.from_hub(ADDRESS)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(loopback.requests)
    shutil.rmtree("resources")
    table = open_dataset.from_hub(ADDRESS)
    assert table.revision == cached
    assert table == online
    fetching.fetch(table, "a", "image", "out/a.png")
    assert same("out/a.png", dataset, "ST/image/a.png")
    assert len(loopback.requests) == asked


def test_offline_without_a_cache_is_said(loopback, dataset, monkeypatch):
    from huggingface_hub import constants

    loopback.commit(dataset)
    table = open_dataset.from_hub(ADDRESS)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CatalogueError, match="HF_HUB_OFFLINE is set"):
        open_dataset.from_hub(ADDRESS)
    with pytest.raises(SlideError, match="HF_HUB_OFFLINE is set"):
        fetching.fetch(table, "a", "counts", "out/x")


# --- progress --------------------------------------------------------------------------------


def test_progress_is_one_readable_line():
    sizes = {("a", "counts"): 4_000_000_000, ("a", "image"): 10**9, ("b", "counts"): 5 * 10**9}
    rows = [
        (1000.0, "a", "counts", 3_000_000_000, 60.0, 3_000_000_000, True),
        (1060.0, "a", "counts", 1_000_000_000, 60.0, 4_000_000_000, False),
        (1060.0, "a", "image", 1_000_000_000, 60.0, 1_000_000_000, False),
    ]
    line, complete = describe(rows, sizes, now=1060.0)
    assert line == "fetched 1 of 2 slides, 5.0 GB of 10.0 GB, 41.7 MB/s, 2 min 0 s left"
    assert not complete


def test_jobs_share_the_progress_and_the_last_one_ends_it(loopback, dataset):
    loopback.commit(dataset)
    table = open_dataset.from_hub(ADDRESS)
    told = []
    for kind in FETCHED:
        progress = Progress(table, ["a"], told.append, "transfers.tsv")
        fetching.fetch(table, "a", kind, f"out/{kind}", progress=progress)
    assert told[0].startswith("fetched 0 of 1 slides, 0.0 kB of 400.1 kB")
    assert told[-1].startswith("fetched 1 of 1 slides, 400.1 kB of 400.1 kB")
    assert len(told) == 2


def test_a_line_torn_by_two_hosts_is_left_out(tmp_path):
    table = tmp_path / "transfers.tsv"
    table.write_text("1.0\ta\tcou1.0\ta\tcounts\t5\t1.0\t5\t1\n1.0\ta\tb\tc\td\te\tf\n")
    assert Progress(catalogue.Catalogue("", "", {}), [], print, table)._read() == []


def test_hub_knows_a_cached_file_only_if_there_is_one(loopback, counts):
    assert hub.find_cached(counts) is None
