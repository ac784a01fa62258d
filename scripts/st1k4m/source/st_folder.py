"""Recognise the files in a folder of Spatial Transcriptomics by their content."""

import re

from st1k4m.source import places
from st1k4m.source.own_folder import IMAGE_MARKS, Folder
from st1k4m.source.own_layout import Recognised, all_missing
from st1k4m.technologies import ST

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
#: A spot of an ST array: column x row.
ST_ID = re.compile(r"\"?\d+(\.\d+)?x\d+(\.\d+)?\"?$")


def find_st(folder: Folder) -> dict[str, list[str]]:
    """Find count tables and spot files of Spatial Transcriptomics by their first lines."""
    found: dict[str, list[str]] = {"counts": [], "spots": []}
    for place in folder.places:
        if not re.search(r"\.(tsv|txt|csv)$", places.name_of(place)):
            continue
        kind = tell_st(folder.text(place))
        if kind:
            found[kind].append(place)
    return found if found["counts"] or found["spots"] else {}


def tell_st(lines: list[str]) -> str:
    """Find out from its first lines whether a text is an ST count table or a spot file.

    Returns
    -------
    str
        ``counts``, ``spots``, or empty if it is neither.
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
        return "counts"  # a table with one row per gene
    if len(header) in (6, 7) and all(_NUMBER.fullmatch(cell) for cell in header):
        return "spots"
    if len(lines) > 1 and ST_ID.match(lines[1].split(mark)[0].strip()):
        return "counts"
    return ""


def as_st(folder: Folder, found: dict[str, list[str]], made: Recognised) -> Recognised:
    """Set the counts, spot file and image of ``made``, or what is missing."""
    made.layout, made.tech = "st", ST.name
    for kind, label in (("counts", "count tables"), ("spots", "spot files")):
        if len(found[kind]) > 1:
            names = ", ".join(folder.inner(place) for place in found[kind][:5])
            return all_missing(
                f"{folder.root} has {len(found[kind])} {label} ({names}); choose the slide's with "
                "the column prefix"
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
            f"{folder.among()}; the array positions in the ids do not give positions in an image"
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
            f"{len(pictures)} images {folder.among()} ({names}); give the slide's in column image"
        )
    else:
        made.missing["image"] = f"no image {folder.among()}; give it in column image"
    return made
