"""Recognise the files in a folder of Space Ranger: any version, Visium and VisiumHD."""

import json
import re

from st1k4m.source import places
from st1k4m.source.own_folder import BIN, IMAGE_MARKS, Folder, directory
from st1k4m.source.own_layout import Recognised, all_missing

_POSITIONS = re.compile(r"tissue_positions(_list)?\.(csv|parquet)$")
HIRES = re.compile(r"hires(_image)?\.(png|jpe?g|tiff?)$")
LOWRES = re.compile(r"lowres(_image)?\.(png|jpe?g|tiff?)$")
_FULL = re.compile(r"(^|[_.-])image\.(tiff?|btf|png|jpe?g)$")
# HDF5 files that do not have counts of spots.
_NO_COUNTS = re.compile(r"probe|molecule|feature_slice|cell|analysis|antibody|raw_data", re.I)
_PICTURES = re.compile(r"(aligned|detected|fiducial|cytassist|registered)", re.I)
# Usual folders of a sample, and the ends of the names of its files and archives.
_USUAL = {"outs", "spatial", "binned_outputs", "filtered_feature_bc_matrix"}
_FILE_END = re.compile(r"((filtered_)?(feature_bc_)?matrix\.(h5|mtx)|tissue_positions.*)$")
_ARCHIVE_END = re.compile(
    r"_?(spatial|outs|binned_outputs|(filtered_)?(feature_bc_)?(matrix)?)\.(tar|tgz|zip).*$"
)
_BARCODE_ROW = re.compile(r"\"?[ACGTN]{10,}(-\d+)?\"?,[01],\d+,\d+,")
_HEADER_ROW = re.compile(r"\"?barcode\"?,", re.I)
#: Default size in micrometres of the bins, if a VisiumHD slide has bins of several sizes.
BIN_UM = 8


def find_bins(folder: Folder, root: str) -> dict[int, list[str]]:
    """Return the files of VisiumHD's bins by the size of the bins in micrometres."""
    whole = BIN.search(root.rpartition("/")[2])
    bins: dict[int, list[str]] = {}
    for place in folder.places:
        inner = folder.inner(place)
        if match := BIN.search(inner):
            bins.setdefault(int(match[1]), []).append(place)
        elif whole:
            bins.setdefault(int(whole[1]), []).append(place)
    return bins


def choose_bin(
    folder: Folder, bins: dict[int, list[str]], row: dict[str, str]
) -> tuple[Folder, int, Recognised]:
    """Choose the size of the bins; return the folder with their files only, and shared images."""
    sizes = ", ".join(f"{size}" for size in sorted(bins))
    wanted = int(row["bin"]) if row["bin"] else (BIN_UM if BIN_UM in bins else 0)
    if not wanted and len(bins) == 1:
        wanted = next(iter(bins))
    if wanted not in bins:
        asked = f"no bin of {wanted} um" if wanted else "several bins and none of 8 um"
        return (
            folder,
            0,
            all_missing(
                f"{asked} in {row['path']}, which has bins of {sizes} um; choose a size in column "
                "bin"
            ),
        )
    # Images may be outside the folders of the bins.
    shared = [p for p in folder.places if not BIN.search(folder.inner(p)) and p not in bins[wanted]]
    chosen = Folder(folder.root, folder.prefix, dict.fromkeys(bins[wanted] + shared))
    pictures = (HIRES, LOWRES, _FULL)
    chosen.places = bins[wanted] + [
        place
        for place in shared
        if any(pattern.search(places.name_of(place)) for pattern in pictures)
    ]
    made = Recognised()
    if len(bins) > 1:
        made.notes.append(f"bins of {wanted} um, chosen from {sizes}")
    return chosen, wanted, made


def find_positions(folder: Folder, made: Recognised) -> list[str]:
    """Return the files of positions, the best first: by name, else by their first line."""
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


def find_scalefactors(folder: Folder) -> list[str]:
    """Return the files of scale factors: by name, else by their first bytes."""
    jsons = folder.named(re.compile(r"\.json$"))
    named = [p for p in jsons if places.name_of(p).endswith("scalefactors_json.json")]
    return named or [p for p in jsons if b"spot_diameter_fullres" in folder.head(p)]


def read_scalefactors(place: str) -> dict[str, float]:
    """Read the numbers of a ``scalefactors_json.json``; empty if it is not a JSON object."""
    try:
        with places.open_place(place) as file:
            read = json.loads(file.read(1 << 20))
    except (OSError, ValueError):
        return {}
    if not isinstance(read, dict):
        return {}
    return {k: float(v) for k, v in read.items() if isinstance(v, int | float)}


def find_matrices(folder: Folder) -> list[tuple[int, str, dict[str, str]]]:
    """Return the matrices of counts, the best first: rank, format, files by role."""
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
    # Filtered, then unnamed, then raw; one file before three files.
    return sorted(found, key=lambda m: (m[0], m[1], len(m[2]["matrix"]), m[2]["matrix"]))


def _rank(inner: str) -> int:
    inner = inner.lower()
    return 0 if "filtered" in inner else 2 if re.search(r"(^|[_/.-])raw([_/.-]|$)", inner) else 1


def find_samples(folder: Folder, found: list[str]) -> list[str]:
    """Return the folders or prefixes of samples if there are several; empty for one sample."""
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
        samples.add("/".join(part for part in kept if part and not BIN.fullmatch(part)))
    return sorted(sample or "the folder itself" for sample in samples) if len(samples) > 1 else []


def take_counts(folder: Folder, made: Recognised, ranked: list) -> None:
    """Set the counts of ``made``: the best complete matrix, or what is missing."""
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
            f"no {' and no '.join(lacking)} (plain or gzipped) in the folder of {files['matrix']}"
        )
        return
    rank, form, files = whole[0]
    made.parts["counts"] = {"format": form, **files}
    if rank == 2:
        made.notes.append("counts of the raw matrix, because there is no filtered matrix")


def take_positions(
    folder: Folder, made: Recognised, positions: list[str], scalefactors: list[str]
) -> None:
    """Set the positions and scale factors of ``made``, or what is missing."""
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
        near = [p for p in scalefactors if directory(p) == directory(positions[0])]
        made.parts["coord"] = {"format": "space_ranger", "positions": positions[0]}
        if scalefactors:
            made.parts["coord"]["scalefactors"] = (near or scalefactors)[0]
        if len(positions) > 1:
            made.notes.append(
                f"positions of {folder.inner(positions[0])}, chosen from {len(positions)} files"
            )


def take_image(folder: Folder, made: Recognised) -> None:
    """Set the image of ``made``: full resolution, else hires, else lowres; or what is missing."""
    hires, lowres = folder.first(HIRES, made), folder.first(LOWRES, made)
    full = [
        place
        for place in folder.named(_FULL)
        if not any(p.search(places.name_of(place)) for p in (HIRES, LOWRES, _PICTURES))
        and folder.head(place).startswith(IMAGE_MARKS)
    ]
    chosen = [("full", place) for place in full[:1]]
    chosen += [(which, p) for which, p in (("hires", hires), ("lowres", lowres)) if p]
    if not chosen:
        made.missing["image"] = (
            "no image: none of tissue_hires_image.png and tissue_lowres_image.png "
            f"{folder.among()}; give the image that Space Ranger used in column image"
        )
        return
    which, place = chosen[0]
    made.parts["image"] = {"format": "image", "image": place, "which": which}
    for other, there in (("hires", hires), ("lowres", lowres)):
        if there and there != place:
            made.parts["image"][other] = there
    if which != "full":
        made.notes.append(f"the {which} image, because there is no full-resolution image")
