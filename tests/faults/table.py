"""The fault table: damages of a slide's files, the step that must fail, reason and hint.

The faults in ``WORKFLOW`` are all in one dataset, between undamaged slides, and one run processes
them. The faults in ``STEPS`` do not depend on Snakemake, so the steps are called directly.
"""

import gzip
import os
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

PAGE = b"<!DOCTYPE html>\n<html><body>503 Service Unavailable</body></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123abcd\nsize 123456\n"
DRAWING = (
    b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b'<svg xmlns="http://www.w3.org/2000/svg"><text>&x;</text></svg>'
)


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Attributes
    ----------
    name
        Name of the damage; part of the slide's name.
    file
        The damaged file of the slide: counts, coord, image, annotation.
    damage
        Function that damages the file at a path.
    stage
        The step that must fail.
    says, hint
        Patterns that reason and hint must match.
    """

    name: str
    file: str
    damage: Callable[[Path], None]
    stage: str
    says: str
    hint: str

    @property
    def slide(self) -> str:
        """Name of the slide that has the fault."""
        return f"Bad_{self.file}_{self.name.replace(' ', '_')}"


def place(dataset: Path, slide: str, file: str) -> Path:
    """Return the path of a file of a Visium slide."""
    folder, suffix = {
        "counts": ("Visium/gene_exp", "_count.csv"),
        "coord": ("Visium/coord", "_coord.csv"),
        "image": ("Visium/image", ".png"),
        "annotation": ("annotation", "_anno.csv"),
    }[file]
    return dataset / folder / f"{slide}{suffix}"


# -- damages of any file


def remove(path: Path) -> None:
    path.unlink()


def write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def keep(share: float, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_pipe(path: Path) -> None:
    """Replace the file by a named pipe, on which a reader would wait without end."""
    path.unlink()
    os.mkfifo(path)


def break_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def forbid(path: Path) -> None:
    path.chmod(0)


def as_utf16(mark: bytes, path: Path) -> None:
    """Convert the file to UTF-16, as some spreadsheets export it, with or without its mark."""
    path.write_bytes(mark + path.read_text().encode("utf-16-le"))


def separate_by(separator: str, path: Path) -> None:
    path.write_text(path.read_text().replace(",", separator))


def compress(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


def put_bytes(content: bytes, share: float, path: Path) -> None:
    """Overwrite bytes, as a bad disk or a broken transfer does."""
    data = bytearray(path.read_bytes())
    at = int(len(data) * share)
    data[at : at + len(content)] = content
    path.write_bytes(data)


# -- damages of tables


def set_cell(line: int, column: int, value: str, path: Path) -> None:
    lines = path.read_text().splitlines()
    cells = lines[line - 1].split(",")
    cells[column - 1] = value
    lines[line - 1] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", newline="")


def drop_cell(line: int, path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[line - 1] = lines[line - 1].rpartition(",")[0]
    path.write_text("\n".join(lines) + "\n")


def add_cell(line: int, path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[line - 1] += ",1"
    path.write_text("\n".join(lines) + "\n")


def cut_line(line: int, path: Path) -> None:
    """End the file within the second field of a line."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[: line - 1], ",".join(lines[line - 1].split(",")[:2])]))


def repeat_line(line: int, path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[line - 1]]) + "\n")


def only_header(path: Path) -> None:
    path.write_text(path.read_text().splitlines()[0] + "\n")


def transpose(path: Path) -> None:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("".join(",".join(row) + "\n" for row in zip(*rows, strict=True)))


def rename_spots(path: Path) -> None:
    """Rename the spots to those of another slide."""
    path.write_text(re.sub(r"^Bad_", "Other_", path.read_text(), flags=re.MULTILINE))


def scale_positions(factor: float, path: Path) -> None:
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    moved = [[s, str(float(y) * factor), str(float(x) * factor), r] for s, y, x, r in rows]
    path.write_text("".join(",".join(row) + "\n" for row in [header, *moved]))


def set_columns(values: dict[int, str], path: Path) -> None:
    """Write values into all lines except the first, by column number."""
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    for row in rows:
        for column, value in values.items():
            row[column - 1] = value
    path.write_text("".join(",".join(row) + "\n" for row in [header, *rows]))


# -- damages of images


def encode(extension: str, path: Path) -> None:
    """Store the image in another format under the same name."""
    _, data = cv2.imencode(extension, cv2.imread(str(path)))
    path.write_bytes(data.tobytes())


def encode_and_keep(extension: str, share: float, path: Path) -> None:
    encode(extension, path)
    keep(share, path)


def as_floats(path: Path) -> None:
    _, data = cv2.imencode(".tiff", cv2.imread(str(path)).astype(np.float32))
    path.write_bytes(data.tobytes())


def with_codec(scheme: int, path: Path) -> None:
    """Replace the image by a TIFF that declares another compression of its pixels."""
    height, width, _ = cv2.imread(str(path)).shape
    path.write_bytes(
        tiff([entry if entry[0] != 259 else (259, 3, 1, scheme) for entry in _strip(width, height)])
    )


def shrink_to(width: int, height: int, path: Path) -> None:
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (width, height)))


def declare(width: int, height: int, path: Path) -> None:
    """Make a PNG declare a larger size than it has: a decompression bomb or a broken header."""
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


def tiff(entries: list[tuple[int, int, int, int]], next_page: int = 0) -> bytes:
    """Make a little-endian TIFF of one directory, at byte 8."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", next_page)


def _strip(width: int, height: int) -> list[tuple[int, int, int, int]]:
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, 64),
    ]


def fault(file: str, name: str, damage, stage: str, says: str, hint: str = "", **more) -> Fault:
    return Fault(name, file, damage, stage, says, hint or "fetch|export|correct", **more)


COUNTS = partial(fault, "counts")
COORD = partial(fault, "coord")
IMAGE = partial(fault, "image")
ANNOTATION = partial(fault, "annotation")
COUNT, ALIGN, CUT, BUILD = "count_expression", "align_spots", "cut_tiles", "build_anndata"
READ = f"{ALIGN}|{CUT}"  # the step that reads the pixels first

WORKFLOW = [
    COUNTS("missing", remove, COUNT, "the count file is missing", "put the file there|exclude"),
    COUNTS("forbidden", forbid, COUNT, "the count file .*permission|permission was", "readable"),
    COUNTS("empty", partial(write, b""), COUNT, "line 1: the file is empty"),
    COUNTS("cut in a line", partial(keep, 0.5), COUNT, "line 31: .* the file is cut off here"),
    COUNTS("compressed", compress, COUNT, "line 1: cannot be read as text"),
    COUNTS("text", partial(set_cell, 4, 6, "NA"), COUNT, r"line 4: column 6 \(gene .*'NA'"),
    COUNTS("oversized", partial(set_cell, 4, 6, "3000000000"), COUNT, "line 4: .*2,147,483,647"),
    COUNTS("repeated spot", partial(repeat_line, 2), COUNT, "line 62: .*on line 2 already"),
    COUNTS("swapped", rename_spots, COUNT, "no spot in common", "belong to this slide"),
    COORD("missing", remove, COUNT, "the coordinate file is missing", "put the file there|exclude"),
    COORD("forbidden", forbid, COUNT, "permission was denied.*_coord", "readable"),
    COORD("cut in a line", partial(cut_line, 30), ALIGN, "line 30: 2 fields"),
    COORD(
        "no radius",
        partial(set_cell, 1, 4, "radius"),
        ALIGN,
        "line 1: no column r",
        "yaxis, xaxis and r",
    ),
    COORD("radius 0", partial(set_cell, 4, 4, "0"), ALIGN, "line 4: r .*more than 0"),
    COORD("swapped", rename_spots, COUNT, "no spot in common", "belong to this slide"),
    COORD("far outside", partial(scale_positions, 1e6), ALIGN, "outside", "override|coordinate"),
    COORD("oversized radius", partial(set_columns, {4: "1e6"}), CUT, "a tile of 2.* px", "radius"),
    IMAGE("missing", remove, ALIGN, "the image is missing", "put the file there|exclude"),
    IMAGE("dangling link", break_link, ALIGN, "the image is missing", "put the file there|exclude"),
    IMAGE("forbidden", forbid, ALIGN, "permission was denied.*png", "readable"),
    IMAGE("error page", partial(write, PAGE), ALIGN, "not a PNG, JPEG or TIFF"),
    IMAGE("bomb", partial(declare, 10**6, 10**6), ALIGN, "max_pixels", "raise tiles.max_pixels"),
    IMAGE("cut", partial(keep, 0.5), READ, "truncated PNG: .* rows could be read"),
    IMAGE("broken", partial(put_bytes, bytes(range(256)), 0.5), READ, "broken .*PNG: .* rows"),
    IMAGE("swapped", partial(shrink_to, 40, 30), ALIGN, "outside", "override|coordinate"),
    ANNOTATION("error page", partial(write, PAGE), BUILD, "_anno.csv", "fix .* or delete it"),
]

STEPS = [
    COUNTS("a folder", become_folder, COUNT, "the count file is missing", "put the file there"),
    COUNTS("a pipe", become_pipe, COUNT, "the count file is missing", "put the file there"),
    COUNTS("only header", only_header, COUNT, "no spot follows the header of 40 genes"),
    COUNTS("cut in the header", partial(keep, 0.001), COUNT, "line 1: "),
    COUNTS("zeroed block", partial(put_bytes, bytes(64), 0.5), COUNT, "line 3.: "),
    COUNTS("zeroed", partial(write, bytes(10_000)), COUNT, "line 1: "),
    COUNTS("error page", partial(write, PAGE), COUNT, "line 1: the header has no gene"),
    COUNTS("pointer", partial(write, POINTER), COUNT, "line 1: the header has no gene"),
    COUNTS("no genes", partial(write, b"spot\nBad_1\n"), COUNT, "line 1: the header has no gene"),
    COUNTS("not utf8", partial(put_bytes, b"\xff\xfe", 0), COUNT, "line 1: cannot be read as text"),
    COUNTS("open quote", partial(set_cell, 9, 1, '"open'), COUNT, "line 9: .*quote"),
    COUNTS("short row", partial(drop_cell, 5), COUNT, "line 5: .*39 values for 40 genes"),
    COUNTS("long row", partial(add_cell, 7), COUNT, "line 7: .*41 values for 40 genes"),
    COUNTS("empty cell", partial(set_cell, 4, 6, ""), COUNT, "line 4: .*is empty"),
    COUNTS("negative", partial(set_cell, 4, 6, "-1"), COUNT, "line 4: .*'-1' is negative"),
    COUNTS(
        "fraction", partial(set_cell, 4, 6, "0.5"), COUNT, "line 4: .*'0.5' is not a whole number"
    ),
    COUNTS("nan", partial(set_cell, 61, 41, "nan"), COUNT, "line 61: column 41 .*'nan'"),
    COUNTS("power bomb", partial(set_cell, 4, 6, "1e999999999"), COUNT, "line 4: column 6"),
    COUNTS("no id", partial(set_cell, 4, 1, ""), COUNT, "line 4: '' is not a spot id"),
    COUNTS("hostile id", partial(set_cell, 4, 1, "\0"), COUNT, "line 4: .*is not a spot id"),
    COUNTS("transposed", transpose, COUNT, "line 33: spot 'DEMO0' is on line 32 already"),
    COORD("a folder", become_folder, COUNT, "the coordinate file is missing", "put the file there"),
    COORD("empty", partial(write, b""), COUNT, r"_coord.csv \(0\) have no spot", "this slide"),
    COORD("only header", only_header, COUNT, r"_coord.csv \(0\) have no spot", "this slide"),
    COORD("compressed", compress, COUNT, "no spot in common", "this slide"),
    COORD("error page", partial(write, PAGE), COUNT, "no spot in common", "this slide"),
    COORD("text", partial(set_cell, 3, 2, "left"), ALIGN, "line 3: yaxis .*'left'"),
    COORD("nan", partial(set_cell, 3, 3, "nan"), ALIGN, "line 3: xaxis .*'nan'"),
    COORD("infinite", partial(set_cell, 3, 3, "-inf"), ALIGN, "line 3: xaxis .*'-inf'"),
    COORD("overflow", partial(set_cell, 3, 3, "1e999"), ALIGN, "line 3: xaxis .*'1e999'"),
    COORD("empty cell", partial(set_cell, 3, 3, ""), ALIGN, "line 3: xaxis .*''"),
    COORD("radius below 0", partial(set_cell, 4, 4, "-3"), ALIGN, "line 4: r .*more than 0"),
    COORD("long line", partial(add_cell, 6), ALIGN, "line 6: 5 fields"),
    COORD("no id", partial(set_cell, 6, 1, ""), ALIGN, "line 6: '' is not a spot id"),
    COORD("repeated spot", partial(repeat_line, 2), ALIGN, "line 62: .*on line 2 already"),
    COORD("semicolons", partial(separate_by, ";"), COUNT, "line 1: .*by semicolons, .* commas"),
    COORD("tabs", partial(separate_by, "\t"), COUNT, "line 1: .*by tabs, expected commas"),
    COORD("utf16", partial(as_utf16, b"\xff\xfe"), COUNT, "line 1: this is UTF-16, .* UTF-8"),
    COORD("utf16 unmarked", partial(as_utf16, b""), COUNT, "line 1: every other byte.*UTF-16"),
    COORD("one point", partial(set_columns, {2: "50", 3: "50"}), ALIGN, "60 spots .* one point"),
    IMAGE("a folder", become_folder, ALIGN, "the image is missing", "put the file there"),
    IMAGE("a pipe", become_pipe, ALIGN, "the image is missing", "put the file there"),
    IMAGE("empty", partial(write, b""), ALIGN, "not a PNG, JPEG or TIFF"),
    IMAGE("pointer", partial(write, POINTER), ALIGN, "not a PNG, JPEG or TIFF"),
    IMAGE("other format", partial(encode, ".webp"), ALIGN, "not a PNG, JPEG or TIFF", "convert"),
    IMAGE("drawing that reads files", partial(write, DRAWING), ALIGN, "not a PNG, JPEG or TIFF"),
    IMAGE("program", partial(write, b"%!PS\n(x) run\n"), ALIGN, "not a PNG, JPEG or TIFF"),
    IMAGE("cut in the header", partial(keep, 0.0006), ALIGN, "the header of this PNG is broken"),
    IMAGE("no width", partial(declare, 0, 100), ALIGN, "the header of this PNG is broken"),
    IMAGE("TIFF bomb", partial(write, tiff(_strip(10**6, 10**6))), ALIGN, "TIFF|max_pixels", "."),
    IMAGE("TIFF loop", partial(write, tiff(_strip(8, 8), 8)), ALIGN, "TIFF|outside", "."),
    IMAGE("TIFF of floats", as_floats, ALIGN, "float .* unsigned", "convert"),
    IMAGE("cut JPEG", partial(encode_and_keep, ".jpeg", 0.5), READ, "truncated JPEG: .* rows"),
    IMAGE("cut TIFF", partial(encode_and_keep, ".tiff", 0.5), READ, "TIFF"),
    IMAGE("TIFF of zstd", partial(with_codec, 50000), READ, "compressed with ZSTD", "save .*LZW"),
    IMAGE("TIFF of JBIG", partial(with_codec, 34661), READ, "compressed with JBIG", "save .*LZW"),
    IMAGE("too tall", partial(declare, 138, 5000), READ, "truncated PNG: .* rows"),
]
