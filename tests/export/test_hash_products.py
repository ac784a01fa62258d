"""Checksums are those of sha256sum, over every file and every folder's files."""

import hashlib
import subprocess

from st1k4m.export import hash_products


def test_sha256sum_accepts_what_is_written(tmp_path):
    store = tmp_path / "results" / "s+1.zarr" / "c" / "0"
    store.mkdir(parents=True)
    (store / "1").write_bytes(b"chunk")
    (tmp_path / "results" / "s+1.zarr" / ".snakemake_timestamp").write_text("")
    (tmp_path / "results" / "a b.h5").write_bytes(b"tiles" * 100_000)
    sums = tmp_path / "sums"
    products = [tmp_path / "results" / "s+1.zarr", tmp_path / "results" / "a b.h5"]
    hash_products.hash_products(tmp_path / "results", products, sums)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", str(sums)],
        cwd=tmp_path / "results",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a b.h5: OK", "s+1.zarr/c/0/1: OK"]
    (store / "1").write_bytes(b"other")
    assert subprocess.run(
        ["sha256sum", "--check", "--status", str(sums)], cwd=tmp_path / "results"
    ).returncode


def test_what_is_read_is_what_was_written(tmp_path):
    files = [hash_products.File(name, hashlib.sha256(name.encode()).hexdigest()) for name in "ba"]
    hash_products.write_sums(tmp_path / "sums", files)
    assert hash_products.read_sums(tmp_path / "sums") == sorted(files)
