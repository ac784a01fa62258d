"""Recognise the layout of a user's own slides. Standard library only.

The kind of a file follows from the names of all files and from first bytes, not from the version of
a program. Files are not unpacked or read further here: the job that reads a file reports what is
wrong inside it. The slide's row states what is missing; this fails only that slide.
"""

import os

from st1k4m.dataset import KINDS
from st1k4m.source import places
from st1k4m.source.own_folder import IMAGE_MARKS, Folder
from st1k4m.source.own_layout import Recognised, all_missing
from st1k4m.source.space_ranger import (
    HIRES,
    LOWRES,
    choose_bin,
    find_bins,
    find_matrices,
    find_positions,
    find_samples,
    find_scalefactors,
    read_scalefactors,
    take_counts,
    take_image,
    take_positions,
)
from st1k4m.source.st_folder import as_st, find_st
from st1k4m.technologies import TECHS, VISIUM, VISIUM_HD

_ASIDE = {"analysis", "deconvolution", "segmented_outputs", "web_summary", "SPATIAL_RNA_COUNTER_CS"}


def recognise(row: dict[str, str]) -> Recognised:
    """Recognise the layout of a slide's folder.

    Parameters
    ----------
    row
        A row of `st1k4m.source.own_table.read_table`.
    """
    root = row["path"]
    if not os.path.exists(places.split(root)[0]):
        return all_missing(f"{root} does not exist")
    try:
        if places.split(root)[1]:
            outer = places.split(root)[0]
            listed = places.list_places(outer)
            inside = {p: size for p, size in listed.items() if p.startswith(root)}
            found = {p: s for p, s in inside.items() if _has_prefix(p, root, row["prefix"])}
        else:
            found = places.list_places(root, row["prefix"])
    except (OSError, ValueError) as error:
        return all_missing(str(error))
    if not found:
        begin = f" that begins with {row['prefix']!r}" if row["prefix"] else ""
        return all_missing(f"{root} has no file{begin}")
    folder = Folder(root, row["prefix"], found)
    made = _recognise(folder, row)
    made.sizes = found
    if row["image"]:
        made.parts["image"] = {"format": "image", "image": row["image"], "which": "given"}
        if row["scale"]:
            made.parts["image"]["scale"] = float(row["scale"])
        made.missing.pop("image", None)
        if os.path.isfile(places.split(row["image"])[0]):
            made.sizes[row["image"]] = os.path.getsize(places.split(row["image"])[0])
            for which in ("hires", "lowres"):  # their sizes give the scale of the image
                place = folder.first(HIRES if which == "hires" else LOWRES, made)
                if place and made.layout in ("visium", "visium_hd"):
                    made.parts["image"][which] = place
        else:
            made.missing["image"] = f"the image {row['image']} does not exist"
    made.tech = row["tech"] or made.tech
    return made


def _has_prefix(place: str, root: str, prefix: str) -> bool:
    parts = place[len(root) :].replace(places.INSIDE, "/").split("/")
    return not prefix or any(part.startswith(prefix) for part in parts if part)


def _recognise(folder: Folder, row: dict[str, str]) -> Recognised:
    if dataset := _as_dataset(folder, row):
        return dataset
    aside = [p for p in folder.places if _ASIDE & set(folder.inner(p).split("/")[:-1])]
    folder.places = [place for place in folder.places if place not in set(aside)]
    bins = find_bins(folder, row["path"])
    made = Recognised()
    if bins:
        folder, bin_um, made = choose_bin(folder, bins, row)
        if made.missing:
            return made
        made.layout, made.tech = "visium_hd", VISIUM_HD.name
    positions, scalefactors = find_positions(folder, made), find_scalefactors(folder)
    ranked = find_matrices(folder)
    several = find_samples(folder, positions) or find_samples(
        folder, [m[2]["matrix"] for m in ranked]
    )
    if several:
        return all_missing(
            f"{row['path']} has several samples ({', '.join(several)}); choose the slide's with "
            "the column prefix"
        )
    h5ad = [p for p in folder.places if p.endswith(".h5ad")]
    st = find_st(folder) if not (positions or ranked) else {}
    if not bins and len(h5ad) == 1 and not ranked and not positions:
        return _as_h5ad(h5ad[0], made)
    if not bins and st:
        return as_st(folder, st, made)
    if not (bins or positions or ranked or scalefactors):
        return _unknown(folder)
    if not bins:
        facts = read_scalefactors(scalefactors[0]) if scalefactors else {}
        hd = "bin_size_um" in facts
        made.layout, made.tech = ("visium_hd", VISIUM_HD.name) if hd else ("visium", VISIUM.name)
    take_counts(folder, made, ranked)
    take_positions(folder, made, positions, scalefactors)
    if bins:
        made.parts.get("coord", {})["bin_um"] = bin_um
    take_image(folder, made)
    return made


def _as_dataset(folder: Folder, row: dict[str, str]) -> Recognised | None:
    """Recognise a slide in the dataset's own layout, by its name and the dataset's suffixes."""
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
        return all_missing(
            f"{row['path']} is in the dataset's layout and has {len(slides):,} slides, none of "
            f"them named {row['slide']}; choose the slide's files with the column prefix"
        )
    if wanted != row["slide"]:
        return all_missing(
            f"the files are in the dataset's layout, where spot ids begin with {wanted}_; name the "
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


def _as_h5ad(place: str, made: Recognised) -> Recognised:
    made.layout = "h5ad"
    made.parts = {
        "counts": {"format": "h5ad", "matrix": place},
        "coord": {"format": "h5ad", "positions": place},
        "image": {"format": "h5ad", "image": place, "which": "inside"},
    }
    return made


def _unknown(folder: Folder) -> Recognised:
    names = ", ".join(folder.inner(place) for place in folder.places[:6])
    return all_missing(
        f"{folder.root} has no known layout: no matrix and no positions of Space Ranger, no ST "
        f"count table, no .h5ad, no files of the dataset's layout {folder.among()} ({names})"
    )
