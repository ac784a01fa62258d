"""Folders are put in place whole or not at all, as files are."""

import os
import signal
import subprocess
import sys
import time

import pytest
from st1k4m.dataset import LONGEST_NAME
from st1k4m.run import outputs


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def write_folder(path, text):
    with outputs.atomic_folder(path) as whole:
        whole.mkdir()
        (whole / "a.txt").write_text(text)


def test_a_folder_is_put_in_place_and_replaces_an_older_one(tmp_path):
    store = tmp_path / "made" / "store.zarr"
    write_folder(store, "first")
    (store / "old.txt").write_text("of the first")
    write_folder(store, "second")
    assert names_in(store) == ["a.txt"]
    assert (store / "a.txt").read_text() == "second"
    assert names_in(store.parent) == ["store.zarr"]


def test_a_failure_leaves_the_older_folder_and_nothing_else(tmp_path):
    store = tmp_path / "store.zarr"
    write_folder(store, "first")
    with pytest.raises(OSError, match="full"), outputs.atomic_folder(store) as whole:
        whole.mkdir()
        (whole / "half").write_text("half")
        raise OSError("the disk is full")
    assert (store / "a.txt").read_text() == "first"
    assert names_in(tmp_path) == ["store.zarr"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    store = tmp_path / "store.zarr"
    program = f"""
import time
from st1k4m.dataset import LONGEST_NAME
from st1k4m.run import outputs
with outputs.atomic_folder({str(store)!r}) as whole:
    whole.mkdir()
    (whole / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == b"writing\n"
    write_folder(store, "by another process meanwhile")
    assert len(names_in(tmp_path)) == 2  # the process that still runs keeps its folder
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.01)
    write_folder(store, "after it")
    assert names_in(tmp_path) == ["store.zarr"]
    assert (store / "a.txt").read_text() == "after it"


def test_remove_takes_files_folders_links_and_nothing(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "file").write_text("")
    for name in ("link", "file", "absent"):
        outputs.remove(tmp_path / name)
    assert names_in(tmp_path) == ["kept"]
    outputs.remove(tmp_path / "kept")
    assert names_in(tmp_path) == []


def test_names_of_temporary_files_are_short_whatever_the_host_is_called(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs.socket, "gethostname", lambda: "h" * 64)
    monkeypatch.setenv(outputs.RUN_VARIABLE, "0" * 32)
    path = tmp_path / ("S" * LONGEST_NAME + ".parquet")
    with outputs.atomic(path) as whole:
        whole.touch()
        assert len(whole.name) < 255
    assert path.exists()
