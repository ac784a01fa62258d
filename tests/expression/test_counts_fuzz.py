"""Damaged count files end in the right matrix or in a refusal, in nothing else."""

import csv
import io
import re

import numpy as np
import pytest
from st1k4m.errors import SlideError
from st1k4m.expression import dense_csv
from st1k4m.expression.dense_csv import read_counts

DAMAGES = 1500


def sound_file(random):
    """Return a file in one of the ways they are written."""
    spots, genes = random.integers(1, 8), random.integers(1, 80)
    values = random.poisson(0.5, (spots, genes)) * random.integers(1, 30, (spots, genes))
    style = random.choice(["{}", "{}.0"])
    quote = random.choice(["", '"'])
    lines = [["", *(f"{quote}gene{n}{quote}" for n in range(genes))]]
    lines += [
        [f"{quote}S_{n}{quote}", *(style.format(value) for value in row)]
        for n, row in enumerate(values)
    ]
    line_end = random.choice(["\n", "\r\n"])
    return "".join(",".join(line) + line_end for line in lines).encode()


def damaged(data, random):
    """Return ``data`` with one or two pieces lost, doubled, moved, overwritten or put in."""
    for _ in range(random.integers(1, 3)):
        begin, end = sorted(random.integers(0, len(data) + 1, 2).tolist())
        if random.random() < 0.7:
            end = min(begin + int(random.integers(0, 4)), len(data))
        likely = np.frombuffer(b',\n\r".0123456789eE-+ \xef\xbb\xbf\0x', np.uint8)
        put_in = random.choice(likely, random.integers(0, 4)).tobytes()
        data = [
            data[:begin] + data[end:],
            data[:begin],
            data[:end] + data[begin:],
            data[:begin] + put_in + data[end:],
            data[:begin] + put_in + data[begin:],
            data[begin:end] + data[:begin] + data[end:],
        ][random.integers(0, 6)]
    return data


def read_slowly(data):
    """Read a count file one cell at a time; None where it says no counts."""
    try:
        lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        header, *rows = [row for row in lines if row]
    except (UnicodeDecodeError, csv.Error, ValueError):
        return None
    if rows and len(rows[0]) == len(header) + 1:
        header = ["", *header]
    number = re.compile(r"\s*\+?(\d+)(\.0*)?\s*", re.ASCII)
    cells = [[number.fullmatch(cell) for cell in row[1:]] for row in rows]
    if not all(len(row) == len(header) - 1 and all(row) for row in cells):
        return None
    return [row[0] for row in rows], header[1:], [[int(cell[1]) for cell in row] for row in cells]


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_read_right_or_refused(tmp_path, monkeypatch, seed):
    random = np.random.default_rng(seed)
    path = tmp_path / "S_count.csv"
    outcomes = {"read": 0, "refused": 0}
    for _ in range(DAMAGES // 4):
        data = damaged(sound_file(random), random)
        path.write_bytes(data)
        monkeypatch.setattr(dense_csv, "_BLOCK", int(random.integers(1, 600)))
        expected = read_slowly(data)
        try:
            found = read_counts(path, int(random.integers(1, 4)))
        except SlideError as error:
            assert "line " in error.what, data
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        if expected is None:  # numbers such as 1e2 and -0, which the slow reader does not know
            assert re.search(rb"[-eE]|,\.\d", data), data
        else:
            assert (found.spots, found.genes, found.matrix.toarray().tolist()) == expected, data
    assert min(outcomes.values()) > DAMAGES / 100, outcomes


def test_a_sound_file_is_never_refused(tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / "S_count.csv"
    for _ in range(100):
        data = sound_file(random)
        path.write_bytes(data)
        found = read_counts(path)
        assert (found.spots, found.genes, found.matrix.toarray().tolist()) == read_slowly(data)


def test_noise_is_refused(tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / "S_count.csv"
    for _ in range(200):
        path.write_bytes(random.integers(0, 256, random.integers(0, 300), np.uint8).tobytes())
        with pytest.raises(SlideError):
            read_counts(path)
