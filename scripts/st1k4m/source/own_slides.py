"""Slides of one's own: a table of them, and what each folder holds. Standard library only.

Which file is what is decided by what files there are and by their first bytes, never by the version
of a program. Nothing is unpacked or opened further here: a job that reads a file says what is wrong
inside it. What is missing is written into the slide's row, and fails that slide alone.
"""

import csv
import difflib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from st1k4m.dataset import KINDS, TECHS, check_name
from st1k4m.errors import CatalogueError, SlideError
from st1k4m.run import outputs
from st1k4m.source import places

#: Columns of a table of slides; the first two are needed.
COLUMNS = (
    "slide",
    "path",
    "tech",
    "image",
    "scale",
    "species",
    "tissue",
    "study",
    "patient",
    "block",
    "bin",
    "prefix",
)
#: Micrometres of the bins that are taken where a VisiumHD slide has several.
BIN_UM = 8
#: What an image file begins with.
IMAGE_MARKS = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
HDF5_MARK, PARQUET_MARK = b"\x89HDF", b"PAR1"

#: Bytes in which a count table must name its genes and begin its first row.
LONGEST_HEADER = 1 << 23

_BIN = re.compile(r"square_0*(\d+)um")
_POSITIONS = re.compile(r"tissue_positions(_list)?\.(csv|parquet)$")
_HIRES = re.compile(r"tissue_hires_image\.(png|jpe?g|tiff?)$")
_LOWRES = re.compile(r"tissue_lowres_image\.(png|jpe?g|tiff?)$")
_FULL = re.compile(r"(^|[_.-])image\.(tiff?|btf|png|jpe?g)$")
# Files of Space Ranger's and of others that are no counts of spots, though they are HDF5.
_NO_COUNTS = re.compile(r"probe|molecule|feature_slice|cell|analysis|antibody|raw_data", re.I)
_ASIDE = {"analysis", "deconvolution", "segmented_outputs", "web_summary", "SPATIAL_RNA_COUNTER_CS"}
_PICTURES = re.compile(r"(aligned|detected|fiducial|cytassist|registered)", re.I)
# Folders in which one sample's files lie, and how its files and archives end.
_USUAL = {"outs", "spatial", "binned_outputs", "filtered_feature_bc_matrix"}
_FILE_END = re.compile(r"((filtered_)?(feature_bc_)?matrix\.(h5|mtx)|tissue_positions.*)$")
_ARCHIVE_END = re.compile(
    r"_?(spatial|outs|binned_outputs|(filtered_)?(feature_bc_)?(matrix)?)\.(tar|tgz|zip).*$"
)
_BARCODE_ROW = re.compile(r"\"?[ACGTN]{10,}(-\d+)?\"?,[01],\d+,\d+,")
_HEADER_ROW = re.compile(r"\"?barcode\"?,", re.I)
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
#: A spot of an ST array: column x row.
ST_ID = re.compile(r"\"?\d+(\.\d+)?x\d+(\.\d+)?\"?$")


@dataclass
class Recognised:
    """What a slide's folder was recognised as.

    Attributes
    ----------
    layout
        ``visium``, ``visium_hd``, ``st``, ``h5ad``, ``dataset``, or empty where nothing is known.
    tech
        The technology that follows from it; empty where nothing tells it.
    parts
        For ``counts``, ``coord`` and ``image``: ``format`` and the places of its files by role.
    missing
        A sentence for each of the three that was not found.
    notes
        Choices among several files, as sentences.
    """

    layout: str = ""
    tech: str = ""
    parts: dict[str, dict] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def bytes_of(self, kind: str) -> int:
        """Return the bytes of all files of a kind."""
        return sum(self.sizes.get(place, 0) for place in self.files(kind))

    def files(self, kind: str) -> list[str]:
        """Return the places of all files of a kind."""
        return files_of(self.parts.get(kind, {}))


#: Keys of a part that are facts; all others are roles of files.
FACTS = ("format", "which", "bin_um", "scale")


def files_of(part: dict) -> list[str]:
    """Return the places that a part of a slide is read from, in a fixed order."""
    return [part[role] for role in sorted(part) if role not in FACTS]


def read_table(path: str | os.PathLike) -> list[dict[str, str]]:
    """Read a table of slides: tab separated, a header, ``#`` begins a comment line.

    Returns
    -------
    list of dict
        A row a slide with every key of `COLUMNS`, empty where the table has none; ``path`` and
        ``image`` absolute.

    Raises
    ------
    CatalogueError
        The table cannot be read; a column is missing, unknown or there twice; or rows cannot be
        used: all such rows are named with their line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CatalogueError(f"dataset: {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CatalogueError(
            f"{path}: byte {error.start} is not UTF-8; save it as UTF-8"
        ) from error
    header: list[str] = []
    rows: list[dict[str, str]] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter="\t"))]
        if not header:
            header = cells
            _check_header(path, number, header)
            continue
        if len(cells) != len(header):
            faults.append(
                f"line {number}: {len(cells)} fields where the header has {len(header)}; fields "
                "are separated by one tab"
            )
            continue
        row = dict.fromkeys(COLUMNS, "") | dict(zip(header, cells, strict=True))
        fault = _fault(row)
        if row["slide"] in lines:
            fault = f"slide {row['slide']!r} is on line {lines[row['slide']]} already"
        lines.setdefault(row["slide"], number)
        if fault:
            faults.append(f"line {number}: {fault}")
            continue
        for name in ("path", "image"):
            if row[name]:
                row[name] = _absolute(path.parent, row[name])
        rows.append(row)
    if faults:
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise CatalogueError(
            f"{path} has rows that cannot be used; correct or remove them:\n  "
            + "\n  ".join(faults[:20])
            + more
        )
    if not rows:
        raise CatalogueError(
            f"{path} has no slide; it needs a header with {COLUMNS[0]} and {COLUMNS[1]}, separated "
            "by a tab, and a row a slide"
        )
    return rows


def _check_header(path: Path, number: int, header: list[str]) -> None:
    where = f"{path}, line {number}"
    lacking = [name for name in COLUMNS[:2] if name not in header]
    if lacking:
        raise CatalogueError(
            f"{where}: no column {' and '.join(lacking)}; the columns, separated by tabs, are "
            f"slide, path and optionally {', '.join(COLUMNS[2:])}"
        )
    for name in header:
        if header.count(name) > 1:
            raise CatalogueError(f"{where}: the column {name!r} is there twice")
        if name not in COLUMNS:
            close = difflib.get_close_matches(name, COLUMNS, n=1)
            meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(COLUMNS)}"
            raise CatalogueError(f"{where}: {name!r} is not a column of a table of slides; {meant}")


def _fault(row: dict[str, str]) -> str:
    """Say what is wrong with a row by itself; empty if nothing is."""
    if fault := check_name(row["slide"]):
        return f"slide {fault}"
    if not row["path"]:
        return f"slide {row['slide']} has no path"
    if row["tech"] and row["tech"] not in TECHS:
        return f"tech {row['tech']!r} is none of {', '.join(TECHS)}"
    if row["bin"] and not re.fullmatch(r"[1-9]\d{0,3}", row["bin"]):
        return f"bin {row['bin']!r} is not a whole number of micrometres such as 8"
    if row["scale"]:
        try:
            scale = float(row["scale"])
        except ValueError:
            scale = 0.0
        if not 0 < scale < 1e4:
            return (
                f"scale {row['scale']!r} is not a number above 0: pixels of the image for each "
                "pixel that the positions speak of"
            )
        if not row["image"]:
            return "scale speaks of the image in column image, which is empty"
    return ""


def _absolute(folder: Path, path: str) -> str:
    head, mark, inside = os.path.expanduser(path).partition(places.INSIDE)
    return os.path.realpath(os.path.join(folder, head)) + mark + inside


def recognise(row: dict[str, str]) -> Recognised:
    """Find out what a slide's folder holds.

    Parameters
    ----------
    row
        As `read_table` gives it.
    """
    root = row["path"]
    if not os.path.exists(places.split(root)[0]):
        return _all_missing(f"{root} does not exist")
    try:
        if places.split(root)[1]:
            outer = places.split(root)[0]
            listed = places.list_places(outer)
            inside = {p: size for p, size in listed.items() if p.startswith(root)}
            found = {p: s for p, s in inside.items() if _has_prefix(p, root, row["prefix"])}
        else:
            found = places.list_places(root, row["prefix"])
    except (OSError, ValueError) as error:
        return _all_missing(str(error))
    if not found:
        begin = f" that begins with {row['prefix']!r}" if row["prefix"] else ""
        return _all_missing(f"{root} holds no file{begin}")
    folder = _Folder(root, row["prefix"], found)
    made = _recognise(folder, row)
    made.sizes = found
    if row["image"]:
        made.parts["image"] = {"format": "image", "image": row["image"], "which": "given"}
        if row["scale"]:
            made.parts["image"]["scale"] = float(row["scale"])
        made.missing.pop("image", None)
        if os.path.isfile(places.split(row["image"])[0]):
            made.sizes[row["image"]] = os.path.getsize(places.split(row["image"])[0])
            for which in ("hires", "lowres"):  # their size tells that of the image
                place = folder.first(_HIRES if which == "hires" else _LOWRES, made)
                if place and made.layout in ("visium", "visium_hd"):
                    made.parts["image"][which] = place
        else:
            made.missing["image"] = f"the image {row['image']} does not exist"
    made.tech = row["tech"] or made.tech
    return made


def _has_prefix(place: str, root: str, prefix: str) -> bool:
    parts = place[len(root) :].replace(places.INSIDE, "/").split("/")
    return not prefix or any(part.startswith(prefix) for part in parts if part)


def _all_missing(sentence: str) -> Recognised:
    return Recognised(missing=dict.fromkeys(("counts", "coord", "image"), sentence))


class _Folder:
    """The files of one slide's folder."""

    def __init__(self, root: str, prefix: str, found: dict[str, int]) -> None:
        self.root, self.prefix = root, prefix
        self.places = list(found)
        self._heads: dict[str, bytes] = {}

    def inner(self, place: str) -> str:
        """Return a place below the folder, as one path."""
        return place[len(self.root) :].replace(places.INSIDE, "/").lstrip("/") or places.name_of(
            place
        )

    def head(self, place: str) -> bytes:
        """Return the first bytes of a file's content; none where it cannot be read."""
        if place not in self._heads:
            try:
                self._heads[place] = places.first_bytes(place)
            except (OSError, ValueError):
                self._heads[place] = b""
        return self._heads[place]

    def text(self, place: str) -> list[str]:
        """Return the first whole lines of a text file; none of a binary one."""
        head = self.head(place)
        if b"\0" in head:
            return []
        if len(head) == places.FIRST and head.count(b"\n") < 2:  # a header of thousands of genes
            head = places.first_bytes(place, LONGEST_HEADER)
        return head.decode("utf-8-sig", "replace").splitlines()

    def named(self, pattern: re.Pattern) -> list[str]:
        """Return the files whose names match, those least deep in folders first."""
        found = [place for place in self.places if pattern.search(places.name_of(place))]
        return sorted(found, key=lambda place: (self.inner(place).count("/"), place))

    def first(self, pattern: re.Pattern, made: Recognised) -> str:
        """Return the picture that lies beside the positions, else the first one; or empty."""
        found = self.named(pattern)
        beside = made.parts.get("coord", {}).get("positions", "")
        near = [place for place in found if _directory(place) == _directory(beside)]
        return (near or found or [""])[0]

    def among(self) -> str:
        """Say where was looked."""
        begin = f" that begin with {self.prefix!r}" if self.prefix else ""
        return f"among the {len(self.places):,} files{begin} of {self.root}"


def _directory(place: str) -> str:
    return place.rpartition("/")[0]


def _recognise(folder: _Folder, row: dict[str, str]) -> Recognised:
    if dataset := _as_dataset(folder, row):
        return dataset
    aside = [p for p in folder.places if _ASIDE & set(folder.inner(p).split("/")[:-1])]
    folder.places = [place for place in folder.places if place not in set(aside)]
    bins = _bins(folder, row["path"])
    made = Recognised()
    if bins:
        folder, bin_um, made = _choose_bin(folder, bins, row)
        if made.missing:
            return made
        made.layout, made.tech = "visium_hd", "VisiumHD"
    positions, scalefactors = _find_positions(folder, made), _find_scalefactors(folder)
    ranked = _find_matrices(folder)
    several = _samples(folder, positions) or _samples(folder, [m[2]["matrix"] for m in ranked])
    if several:
        return _all_missing(
            f"{row['path']} holds several samples ({', '.join(several)}); name the slide's in the "
            "column prefix"
        )
    h5ad = [p for p in folder.places if p.endswith(".h5ad")]
    st = _find_st(folder) if not (positions or ranked) else {}
    if not bins and len(h5ad) == 1 and not ranked and not positions:
        return _as_h5ad(h5ad[0], made)
    if not bins and st:
        return _as_st(folder, st, made)
    if not (bins or positions or ranked or scalefactors):
        return _unknown(folder)
    if not bins:
        facts = read_scalefactors(scalefactors[0]) if scalefactors else {}
        hd = "bin_size_um" in facts
        made.layout, made.tech = ("visium_hd", "VisiumHD") if hd else ("visium", "Visium")
    _take_counts(folder, made, ranked)
    _take_positions(folder, made, positions, scalefactors)
    if bins:
        made.parts.get("coord", {})["bin_um"] = bin_um
    _take_image(folder, made)
    return made


def _as_dataset(folder: _Folder, row: dict[str, str]) -> Recognised | None:
    """Recognise a slide in the dataset's own layout: files named by it and the dataset's suffixes."""
    found: dict[str, dict[str, str]] = {}
    for place in folder.places:
        for kind, (_, suffix) in KINDS.items():
            name = place.rpartition("/")[2]
            if kind != "image" and name.endswith(suffix) and name != suffix:
                found.setdefault(name.removesuffix(suffix), {})[kind] = place
    slides = {name: kinds for name, kinds in found.items() if {"counts", "coord"} & set(kinds)}
    if not slides:
        return None
    wanted = next((n for n in (row["slide"], row["prefix"]) if n in slides), "")
    if not wanted and len(slides) == 1:
        wanted = next(iter(slides))
    if not wanted:
        return _all_missing(
            f"{row['path']} is in the dataset's layout and holds {len(slides):,} slides, none of "
            f"them named {row['slide']}; name the slide's files in the column prefix"
        )
    if wanted != row["slide"]:
        return _all_missing(
            f"the files are in the dataset's layout, where spot ids begin with {wanted}_; call the "
            f"slide {wanted} in the table"
        )
    made = Recognised("dataset")
    for kind in ("counts", "coord"):
        if kind in slides[wanted]:
            made.parts[kind] = {"format": "dataset", kind: slides[wanted][kind]}
        else:
            made.missing[kind] = f"no {wanted}{KINDS[kind][1]} {folder.among()}"
    pictures = [
        place
        for place in folder.places
        if place.rpartition("/")[2].rpartition(".")[0] == wanted
        and folder.head(place).startswith(IMAGE_MARKS)
    ]
    if pictures:
        made.parts["image"] = {"format": "image", "image": pictures[0], "which": "full"}
    else:
        made.missing["image"] = f"no image named {wanted}{KINDS['image'][1]} {folder.among()}"
    parts = made.parts.get("counts", made.parts.get("coord", {}))
    place = next(value for key, value in parts.items() if key in ("counts", "coord"))
    made.tech = next((part for part in place.split("/")[::-1] if part in TECHS), "")
    return made


def _bins(folder: _Folder, root: str) -> dict[int, list[str]]:
    """Return the files of each VisiumHD bin, by micrometres."""
    whole = _BIN.search(root.rpartition("/")[2])
    bins: dict[int, list[str]] = {}
    for place in folder.places:
        inner = folder.inner(place)
        if match := _BIN.search(inner):
            bins.setdefault(int(match[1]), []).append(place)
        elif whole:
            bins.setdefault(int(whole[1]), []).append(place)
    return bins


def _choose_bin(
    folder: _Folder, bins: dict[int, list[str]], row: dict[str, str]
) -> tuple[_Folder, int, Recognised]:
    sizes = ", ".join(f"{size}" for size in sorted(bins))
    wanted = int(row["bin"]) if row["bin"] else (BIN_UM if BIN_UM in bins else 0)
    if not wanted and len(bins) == 1:
        wanted = next(iter(bins))
    if wanted not in bins:
        asked = f"no bin of {wanted} um" if wanted else "several bins and none of 8 um"
        return (
            folder,
            0,
            _all_missing(
                f"{asked} in {row['path']}, which has bins of {sizes} um; choose one in column bin"
            ),
        )
    # Pictures may lie beside the bins' folders.
    shared = [
        p for p in folder.places if not _BIN.search(folder.inner(p)) and p not in bins[wanted]
    ]
    chosen = _Folder(folder.root, folder.prefix, dict.fromkeys(bins[wanted] + shared))
    pictures = (_HIRES, _LOWRES, _FULL)
    chosen.places = bins[wanted] + [
        place
        for place in shared
        if any(pattern.search(places.name_of(place)) for pattern in pictures)
    ]
    made = Recognised()
    if len(bins) > 1:
        made.notes.append(f"bins of {wanted} um, of {sizes}")
    return chosen, wanted, made


def _find_positions(folder: _Folder, made: Recognised) -> list[str]:
    """Return files of positions, the best first: by name, else by what stands in them."""
    named = folder.named(_POSITIONS)
    if named:
        return sorted(named, key=lambda p: ("_list." in places.name_of(p), p.count("/"), p))
    texts = [p for p in folder.places if re.search(r"\.(csv|txt)$", places.name_of(p))]
    found = []
    for place in texts:
        lines = folder.text(place)
        header = bool(lines) and bool(_HEADER_ROW.match(lines[0])) and "in_tissue" in lines[0]
        if lines and (header or _BARCODE_ROW.match(lines[0])):
            found.append(place)
    return found


def _find_scalefactors(folder: _Folder) -> list[str]:
    jsons = folder.named(re.compile(r"\.json$"))
    named = [p for p in jsons if places.name_of(p).endswith("scalefactors_json.json")]
    return named or [p for p in jsons if b"spot_diameter_fullres" in folder.head(p)]


def read_scalefactors(place: str) -> dict[str, float]:
    """Read the numbers of a ``scalefactors_json.json``; an empty dict where it is no JSON object."""
    try:
        with places.open_place(place) as file:
            read = json.loads(file.read(1 << 20))
    except (OSError, ValueError):
        return {}
    if not isinstance(read, dict):
        return {}
    return {k: float(v) for k, v in read.items() if isinstance(v, int | float)}


def _find_matrices(folder: _Folder) -> list[tuple[int, str, dict[str, str]]]:
    """Return matrices of counts, the best first: rank, format, files by role."""
    found = []
    for place in folder.places:
        name = places.name_of(place)
        if name.endswith(".h5") and not _NO_COUNTS.search(name):
            found.append((_rank(folder.inner(place)), "10x_h5", {"matrix": place}))
    for place in folder.named(re.compile(r"matrix\.mtx$")):
        if _NO_COUNTS.search(folder.inner(place)):
            continue
        stem = re.sub(r"matrix\.mtx(\.gz)?$", "", place)
        files = {"matrix": place}
        for role, names in (("barcodes", ["barcodes"]), ("features", ["features", "genes"])):
            tries = [f"{stem}{n}.tsv{gz}" for n in names for gz in (".gz", "")]
            if there := [t for t in tries if t in folder.places]:
                files[role] = there[0]
        found.append((_rank(folder.inner(place)), "10x_mtx", files))
    # Filtered before unnamed before raw; one file before three.
    return sorted(found, key=lambda m: (m[0], m[1], len(m[2]["matrix"]), m[2]["matrix"]))


def _rank(inner: str) -> int:
    inner = inner.lower()
    return 0 if "filtered" in inner else 2 if re.search(r"(^|[_/.-])raw([_/.-]|$)", inner) else 1


def _samples(folder: _Folder, found: list[str]) -> list[str]:
    """Return what several samples' files lie in or begin with; empty if there is one sample."""
    samples = set()
    for place in found:
        inner = (
            folder.inner(place).replace(folder.prefix, "", 1)
            if folder.prefix
            else (folder.inner(place))
        )
        if _rank(inner) == 2:
            continue
        *folders, name = inner.split("/")
        folders = [
            _ARCHIVE_END.sub("", part) if places.is_archive(part) else part for part in folders
        ]
        folders.append(_FILE_END.sub("", name.removesuffix(".gz")))
        kept = [part.strip("_.-") for part in folders if part not in _USUAL]
        samples.add("/".join(part for part in kept if part and not _BIN.fullmatch(part)))
    return sorted(sample or "the folder itself" for sample in samples) if len(samples) > 1 else []


def _take_counts(folder: _Folder, made: Recognised, ranked: list) -> None:
    if not ranked:
        made.missing["counts"] = (
            "no counts: none of filtered_feature_bc_matrix.h5, raw_feature_bc_matrix.h5 and "
            f"matrix.mtx with barcodes.tsv and features.tsv {folder.among()}"
        )
        return
    whole = [m for m in ranked if m[1] == "10x_h5" or len(m[2]) == 3]
    if not whole:
        files = ranked[0][2]
        lacking = [
            name
            for role, name in (
                ("barcodes", "barcodes.tsv"),
                ("features", "features.tsv or genes.tsv"),
            )
            if role not in files
        ]
        made.missing["counts"] = (
            f"no {' and no '.join(lacking)} (plain or gzipped) beside {files['matrix']}"
        )
        return
    rank, form, files = whole[0]
    made.parts["counts"] = {"format": form, **files}
    if rank == 2:
        made.notes.append("counts of the raw matrix, as there is no filtered one")


def _take_positions(
    folder: _Folder, made: Recognised, positions: list[str], scalefactors: list[str]
) -> None:
    lacking = []
    if not positions:
        lacking.append(
            "no positions: none of tissue_positions.csv, tissue_positions_list.csv and "
            "tissue_positions.parquet"
        )
    if not scalefactors:
        lacking.append("no scalefactors_json.json")
    if lacking:
        made.missing["coord"] = f"{' and '.join(lacking)} {folder.among()}"
    if positions:
        near = [p for p in scalefactors if _directory(p) == _directory(positions[0])]
        made.parts["coord"] = {"format": "space_ranger", "positions": positions[0]}
        if scalefactors:
            made.parts["coord"]["scalefactors"] = (near or scalefactors)[0]
        if len(positions) > 1:
            made.notes.append(
                f"positions of {folder.inner(positions[0])}, of {len(positions)} files"
            )


def _take_image(folder: _Folder, made: Recognised) -> None:
    """Take the full-resolution image, or else hires, or lowres."""
    hires, lowres = folder.first(_HIRES, made), folder.first(_LOWRES, made)
    full = [
        place
        for place in folder.named(_FULL)
        if not any(p.search(places.name_of(place)) for p in (_HIRES, _LOWRES, _PICTURES))
        and folder.head(place).startswith(IMAGE_MARKS)
    ]
    chosen = [("full", place) for place in full[:1]]
    chosen += [(which, p) for which, p in (("hires", hires), ("lowres", lowres)) if p]
    if not chosen:
        made.missing["image"] = (
            "no image: none of tissue_hires_image.png and tissue_lowres_image.png "
            f"{folder.among()}; name the image that was given to Space Ranger in column image"
        )
        return
    which, place = chosen[0]
    made.parts["image"] = {"format": "image", "image": place, "which": which}
    for other, there in (("hires", hires), ("lowres", lowres)):
        if there and there != place:
            made.parts["image"][other] = there
    if which != "full":
        made.notes.append(f"the {which} image, as there is none of full resolution")


def _find_st(folder: _Folder) -> dict[str, list[str]]:
    """Find count tables and spot files of Spatial Transcriptomics, by what stands in them."""
    found: dict[str, list[str]] = {"counts": [], "spots": []}
    for place in folder.places:
        if not re.search(r"\.(tsv|txt|csv)$", places.name_of(place)):
            continue
        kind = tell_st(folder.text(place))
        if kind:
            found[kind].append(place)
    return found if found["counts"] or found["spots"] else {}


def tell_st(lines: list[str]) -> str:
    """Tell from its first lines whether a text is an ST count table or a spot file.

    Returns
    -------
    str
        ``counts``, ``spots``, or empty for neither.
    """
    if not lines:
        return ""
    mark = "\t" if lines[0].count("\t") >= lines[0].count(",") else ","
    header = [cell.strip().strip('"') for cell in lines[0].split(mark)]
    folded = [cell.lower() for cell in header]
    if "pixel_x" in folded and "pixel_y" in folded:
        return "spots"
    if len(header) <= 4 and {"x", "y"} <= set(folded):
        return "spots" if len(lines) > 1 and ST_ID.match(lines[1].split(mark)[0]) else ""
    if all(ST_ID.match(cell) for cell in header[1:20]) and len(header) > 1:
        return "counts"  # genes are its rows
    if len(header) in (6, 7) and all(_NUMBER.fullmatch(cell) for cell in header):
        return "spots"
    if len(lines) > 1 and ST_ID.match(lines[1].split(mark)[0].strip()):
        return "counts"
    return ""


def _as_st(folder: _Folder, found: dict[str, list[str]], made: Recognised) -> Recognised:
    made.layout, made.tech = "st", "ST"
    for kind, label in (("counts", "count tables"), ("spots", "spot files")):
        if len(found[kind]) > 1:
            names = ", ".join(folder.inner(place) for place in found[kind][:5])
            return _all_missing(
                f"{folder.root} holds {len(found[kind])} {label} ({names}); name the slide's in the "
                "column prefix"
            )
    if found["counts"]:
        made.parts["counts"] = {"format": "text", "matrix": found["counts"][0]}
    else:
        made.missing["counts"] = (
            f"no counts: no table of tab separated text with spots such as 10x13 {folder.among()}"
        )
    if found["spots"]:
        made.parts["coord"] = {"format": "spot_file", "positions": found["spots"][0]}
    else:
        made.missing["coord"] = (
            "no positions: no spot file with the columns x, y, pixel_x and pixel_y "
            f"{folder.among()}; the array positions in the ids do not tell where spots lie in an image"
        )
    pictures = [
        place
        for place in folder.places
        if re.search(r"\.(jpe?g|png|tiff?|btf)$", places.name_of(place).lower())
        and folder.head(place).startswith(IMAGE_MARKS)
    ]
    if len(pictures) == 1:
        made.parts["image"] = {"format": "image", "image": pictures[0], "which": "full"}
    elif pictures:
        names = ", ".join(folder.inner(place) for place in pictures[:5])
        made.missing["image"] = (
            f"{len(pictures)} images {folder.among()} ({names}); name the slide's in column image"
        )
    else:
        made.missing["image"] = f"no image {folder.among()}; name it in column image"
    return made


def _as_h5ad(place: str, made: Recognised) -> Recognised:
    made.layout = "h5ad"
    made.parts = {
        "counts": {"format": "h5ad", "matrix": place},
        "coord": {"format": "h5ad", "positions": place},
        "image": {"format": "h5ad", "image": place, "which": "inside"},
    }
    return made


def _unknown(folder: _Folder) -> Recognised:
    names = ", ".join(folder.inner(place) for place in folder.places[:6])
    return _all_missing(
        f"{folder.root} is none of the known layouts: no matrix and no positions of Space Ranger, "
        f"no ST count table, no .h5ad, no files of the dataset's layout {folder.among()} ({names})"
    )


def describe(slide: str, tech: str, layout: dict, reason: str = "") -> list[str]:
    """Say what a slide was recognised as, from which files each fact comes, and what is missing.

    Parameters
    ----------
    slide, tech
        Name and technology.
    layout
        What the catalogue keeps of it: ``name``, and ``counts``, ``coord``, ``image``, ``missing``
        and ``notes`` as `Recognised` has them.
    reason
        What the catalogue says is odd about the slide.
    """
    lines = [f"{slide}: {layout.get('name') or 'not recognised'} ({tech or 'unknown technology'})"]
    labels = {"counts": "counts", "coord": "positions", "image": "image"}
    for kind, label in labels.items():
        part = layout.get(kind, {})
        form = part.get("which") if kind == "image" else part.get("format")
        for role in sorted(set(part) - set(FACTS)):
            what = label if role in ("matrix", "positions", "image", kind) else f"{label}, {role}"
            lines.append(f"  {what} ({form}): {part[role]}")
        if "bin_um" in part:
            lines.append(f"  bins of {part['bin_um']} um")
        if "scale" in part:
            lines.append(f"  scale of the image, as the table states it: {part['scale']:g}")
    lines += [f"  {note}" for note in layout.get("notes", [])]
    missing = layout.get("missing", {})
    for sentence in dict.fromkeys(missing.values()):
        kinds = ", ".join(labels[kind] for kind in missing if missing[kind] == sentence)
        lines.append(f"  MISSING {kinds}: {sentence}")
    return lines


def require(slide: str, kind: str, path: str, layout: dict) -> str:
    """Return a slide's file of a kind if it and all that belongs to it is there.

    Parameters
    ----------
    slide
        Name of the slide.
    kind
        ``counts``, ``coord`` or ``image``.
    path
        The path or place of the file.
    layout
        As `st1k4m.source.catalogue.Catalogue.layout` gives it; empty for the dataset's own.

    Raises
    ------
    SlideError
        The file is missing, or the catalogue says that the slide's folder had none.
    """
    if not layout:
        labels = {"counts": "count file", "coord": "coordinate file", "image": "image"}
        return outputs.require(slide, labels[kind], path)
    if kind in layout["missing"]:
        raise SlideError(
            slide,
            layout["missing"][kind],
            "put the file there, or correct the table of slides, and run with refresh=true; or list "
            "the slide under exclude",
        )
    for place in files_of(layout[kind]):
        if not os.path.isfile(places.split(place)[0]):
            raise places.missing(slide, place)
    return path


def real_files(found: Iterable[str]) -> list[str]:
    """Return the real files that places are read from: of a member its outermost archive."""
    return list(dict.fromkeys(places.split(place)[0] for place in found))
