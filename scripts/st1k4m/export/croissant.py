"""Describe the collection in Croissant 1.1, for programs.

The vocabulary is http://mlcommons.org/croissant/1.1. Paths are relative to the description itself,
``results/collection/croissant.json``, so a copy of the whole folder can be read anywhere.
"""

import posixpath
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from st1k4m.export.contents import Contents, Shards, Table
from st1k4m.export.hash_products import File
from st1k4m.export.options import CardOptions
from st1k4m.formats.ledger import COLUMNS
from st1k4m.technologies import TECHS

if TYPE_CHECKING:
    import pyarrow as pa

HERE = "collection"
"""The folder of the description, relative to the folder of the results."""

ROOT = "results"
"""Id of the folder of the results. mlcroissant searches a folder for the files of a set only if it
is declared as a repository (``git+https``), as in the descriptions that the hub makes."""

ENCODINGS = {
    ".h5ad": "application/x-hdf5",
    ".h5": "application/x-hdf5",
    ".parquet": "application/x-parquet",
    ".json": "application/json",
    ".tsv": "text/tab-separated-values",
    ".bib": "application/x-bibtex",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".tar": "application/x-tar",
    ".npy": "application/octet-stream",
}

TEXT, INTEGER, NUMBER, BOOLEAN = "sc:Text", "sc:Integer", "sc:Float", "sc:Boolean"

_TYPES = {str: TEXT, int: INTEGER, float: NUMBER, bool: BOOLEAN}
PAIR_FIELDS = {name: (_TYPES[kind], sentence) for name, (kind, sentence) in COLUMNS.items()}
"""Columns of a ledger."""

SLIDE_FIELDS = {
    "slide": (TEXT, "Name of the slide."),
    "tech": (TEXT, f"{', '.join(TECHS[:-1])} or {TECHS[-1]}."),
    "species": (TEXT, "As in the meta table."),
    "tissue": (TEXT, "As in the meta table."),
    "study": (TEXT, "The study that published the slide."),
    "patient": (TEXT, "The patient or animal of the slide; empty if unknown."),
    "patient_source": (TEXT, "Evidence for the patient."),
    "block": (TEXT, "Piece of tissue the section was cut from; empty if unknown."),
    "section": (TEXT, "The section; slides of one section share it."),
    "spots": (INTEGER, "Spots."),
    "genes": (INTEGER, "Genes."),
    "um_per_px": (NUMBER, "Micrometres per pixel of the image."),
    "tier": (TEXT, "Class of the resolution of the image."),
    "flags": (TEXT, "What is unusual about the slide, separated by commas."),
}
"""Columns of ``slides.tsv``."""

SPLIT_FIELDS = {
    "split": (TEXT, "Name of the split: collection/splits/{split}.tsv."),
    "slide": (TEXT, "The slide, as in the record set slides."),
    "part": (TEXT, "Split and part, as in the record set split_parts."),
    "group": (TEXT, "Slides of one group are never in two parts."),
}
"""Columns of the table of all splits."""

SLIDES, SPLITS = "collection/slides.parquet", "collection/splits.parquet"
"""The typed tables of slides and of all splits; relative to the folder of the results."""

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def typed_tables(contents: Contents) -> "dict[str, pa.Table]":
    """Return the tables of slides and of splits with typed columns, by their paths.

    They are needed because the hub and `datasets` open only one format of a folder, which is
    parquet here, and because neither they nor mlcroissant skip the comments at the head of a
    ``.tsv``.
    """
    import pyarrow as pa

    types = {TEXT: pa.string(), INTEGER: pa.int64(), NUMBER: pa.float64(), BOOLEAN: pa.bool_()}
    read = {TEXT: str, INTEGER: int, NUMBER: float}

    def column(rows: list[dict[str, str]], name: str, kind: str) -> pa.Array:
        # an empty text is kept, because it means unknown; an empty number becomes null
        values = [read[kind](row[name]) if row[name] or kind == TEXT else None for row in rows]
        return pa.array(values, types[kind])

    parts = [
        {"group": "", **row, "split": name, "part": f"{name}/{row['part']}"}
        for name, table in contents.splits.items()
        for row in table.rows
    ]
    kinds = {name: kind for name, (kind, _) in SLIDE_FIELDS.items()}
    slides = {
        name: column(contents.slides.rows, name, kinds.get(name, TEXT))
        for name in contents.slides.columns
    }
    return {
        SLIDES: pa.table(slides),
        SPLITS: pa.table({name: column(parts, name, TEXT) for name in SPLIT_FIELDS}),
    }


def make_croissant(contents: Contents, options: CardOptions, sums: File, description: str) -> dict:
    """Return the Croissant description of the collection.

    Parameters
    ----------
    contents
        The contents of the results.
    options
        The configuration's ``card``.
    sums
        The file with the checksums of all other files.
    description
        Text of the description.

    Returns
    -------
    dict
        Plain values for JSON: metadata; a file object with sha256 for every file except files in
        SpatialData stores (their checksums are in ``sums``); sets of files; and record sets
        ``slides``, ``studies``, ``split_parts``, ``splits``, ``pairs`` and one for each set of
        shards.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": options.name,
        "description": description,
        "license": _licence(options),
        "url": options.url,
        "creator": [{"@type": "sc:Person", "name": name} for name in options.creators],
        "datePublished": options.published,
        "version": contents.version,
        "keywords": ["spatial transcriptomics", "histopathology", "gene expression"],
        "citeAs": CITATION,
        "rai:dataCollection": (
            "Published slides of many studies, gathered by the authors of STimage-1K4M and built "
            "by a workflow; the table of slides names each study."
        ),
        "rai:dataLimitations": (
            "Gene panels, resolution and spot size differ between studies. The patient of many "
            "slides is unknown. Some slides are also in other collections, such as HEST-1k: see "
            "collection/relations.tsv before comparing models."
        ),
        "distribution": [*_files(contents, sums), *_file_sets(contents)],
        "recordSet": _record_sets(contents),
    }


CITATION = """@inproceedings{chen2024stimage1k4m,
  title = {STimage-1K4M: A histopathology image-gene expression dataset for spatial
           transcriptomics},
  author = {Chen, Jiawen and Zhou, Muqing and Wu, Wenrong and Zhang, Jinwei and Li, Yun and
            Li, Didong},
  booktitle = {Advances in Neural Information Processing Systems, Datasets and Benchmarks Track},
  year = {2024},
  eprint = {2406.06393}
}"""


def _licence(options: CardOptions) -> str:
    if options.licence == "other":
        return "Each study's own: see the record set 'studies', and citations.bib."
    return f"https://spdx.org/licenses/{options.licence}"


def _files(contents: Contents, sums: File) -> list[dict]:
    root = {
        "@type": "cr:FileObject",
        "@id": ROOT,
        "name": ROOT,
        "description": "The folder of the results. Its checksum is that of the list of checksums.",
        "contentUrl": "..",
        "encodingFormat": "git+https",
        "sha256": sums.sha256,
    }
    singly = [file for file in contents.files if not file.path.startswith("spatialdata/")]
    return [root, *map(_file, [*singly, sums])]


def _file(file: File) -> dict:
    ending = posixpath.splitext(file.path)[1]
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": posixpath.basename(file.path),
        "contentUrl": posixpath.relpath(file.path, HERE),
        "encodingFormat": ENCODINGS.get(ending, "text/plain"),
        "sha256": file.sha256,
    }


def _file_sets(contents: Contents) -> list[dict]:
    sets = {
        "anndata": ("*.h5ad", "application/x-hdf5", "AnnData of each slide: counts, positions."),
        "tiles": ("*.h5", "application/x-hdf5", "Tiles of each slide, in the order of its spots."),
        "ledger": ("*.parquet", "application/x-parquet", "Every spot of each slide, once."),
        "records": ("*.json", "application/json", "What is known of each slide."),
        "spatialdata": ("*.zarr/*", "application/vnd.zarr", "Each slide as SpatialData."),
    }
    for shards in contents.shards:
        about = f"Pairs of the set {shards.name}."
        pattern = shards.pattern.removeprefix(f"shards/{shards.name}/")
        sets[f"shards/{shards.name}"] = (pattern, ENCODINGS[shards.ending], about)
    return [
        {
            "@type": "cr:FileSet",
            "@id": f"set:{folder}",
            "name": folder,
            "description": description,
            "containedIn": {"@id": ROOT},
            "encodingFormat": encoding,
            "includes": f"{folder}/{pattern}",
        }
        for folder, (pattern, encoding, description) in sets.items()
        if contents.below(folder)
    ] + [_members(shards) for shards in contents.shards if shards.ending == ".tar"]


def _members(shards: Shards) -> dict:
    """Describe the images within the tars of a set."""
    endings = [ending for ending, column in shards.columns.items() if column.kind == "image"]
    return {
        "@type": "cr:FileSet",
        "@id": f"set:shards/{shards.name}/tiles",
        "name": f"tiles of {shards.name}",
        "description": f"Tiles within the tars of the set {shards.name}.",
        "containedIn": [{"@id": path} for path in shards.paths],
        "encodingFormat": ENCODINGS.get(f".{endings[0]}", "image/*") if endings else "image/*",
        "includes": [f"*.{ending}" for ending in endings] or ["*"],
    }


def _record_sets(contents: Contents) -> list[dict]:
    sets = [_slides(contents.slides), _studies(contents), _pairs()]
    if contents.splits:
        sets += [_parts(contents.splits), _splits()]
    return sets + [_shards(shards) for shards in contents.shards]


def _slides(table: Table) -> dict:
    source = {"fileObject": {"@id": SLIDES}}
    fields = [
        _field("slides", name, *SLIDE_FIELDS.get(name, (TEXT, name)), source | {"column": name})
        for name in table.columns
    ]
    return _record_set("slides", "One row per slide.", fields, key="slide")


def _studies(contents: Contents) -> dict:
    fields = {
        "study": (TEXT, "Name of the study, as in the record set slides."),
        "slides": (INTEGER, "How many of its slides are here."),
        "title": (TEXT, "Title of its publication; empty if unknown."),
        "pmid": (TEXT, "PubMed's numbers of its publications, separated by commas."),
        "url": (TEXT, "Where it is published; empty if unknown."),
        "license": (TEXT, "SPDX identifier of its licence; empty if unknown."),
        "license_url": (TEXT, "Text of the licence."),
        "license_source": (TEXT, "Where the licence is stated."),
    }
    rows = [
        {
            "study": study.name,
            "slides": study.slides,
            "title": study.title,
            "pmid": ",".join(study.pmids),
            "url": study.url,
            "license": study.licence,
            "license_url": study.licence_url,
            "license_source": study.licence_source,
        }
        for study in contents.studies
    ]
    return _inline(
        "studies", "One row per study; cite the studies that you use.", fields, rows, key="study"
    )


def _pairs() -> dict:
    def source(column: str) -> dict:
        return {"fileSet": {"@id": "set:ledger"}, "column": column}

    fields = [
        _field("pairs", name, kind, about, source(name))
        for name, (kind, about) in PAIR_FIELDS.items()
    ]
    slide = _field("pairs", "slide", TEXT, "The slide, as in the record set slides.", {})
    slide["source"] = {
        "fileSet": {"@id": "set:ledger"},
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": "^(.*)\\.parquet$"},
    }
    about = (
        "Every spot of every slide. A spot that is kept is a pair: its tile is row `tile` of img "
        "in tiles/{slide}.h5, its expression row `spot` of anndata/{slide}.h5ad."
    )
    return _record_set("pairs", about, [slide, *fields], key="spot")


def _parts(splits: Mapping[str, Table]) -> dict:
    """Describe the parts of all splits, as Croissant defines a split."""
    fields = {"name": (TEXT, "Split and part."), "url": ("sc:URL", "What Croissant calls it.")}
    rows = [
        {"name": f"{split}/{part}", "url": _PARTS.get(part, "")}
        for split, table in splits.items()
        for part in sorted({row["part"] for row in table.rows})
    ]
    made = _inline("split_parts", "The parts of every split.", fields, rows, key="name")
    made["dataType"] = "cr:Split"
    return made


_PARTS = {
    "train": "cr:TrainingSplit",
    "val": "cr:ValidationSplit",
    "test": "cr:TestSplit",
}


def _splits() -> dict:
    source = {"fileObject": {"@id": SPLITS}}
    fields = [
        _field("splits", name, *facts, source | {"column": name})
        for name, facts in SPLIT_FIELDS.items()
    ]
    next(field for field in fields if field["name"] == "part")["references"] = {
        "field": {"@id": "split_parts/name"}
    }
    made = _record_set("splits", "The part of every slide in every split.", fields)
    made["key"] = [{"@id": "splits/split"}, {"@id": "splits/slide"}]
    return made


def _shards(shards: Shards) -> dict:
    name = f"shards_{shards.name}"
    about = f"Pairs of the set {shards.name}."
    if shards.ending == ".tar":
        return _shards_in_tars(name, about, shards)
    fields = []
    for column, facts in shards.columns.items():
        source = {"fileSet": {"@id": f"set:shards/{shards.name}"}, "column": column}
        field = _field(name, column, _KINDS[facts.kind], _ABOUT.get(column, column), source)
        if facts.kind == "image":  # a struct of the image's bytes and its name
            field["source"]["transform"] = {"jsonPath": "bytes"}
        if facts.length is not None:
            field |= {"isArray": True, "arrayShape": str(facts.length or -1)}
        fields.append(field)
    return _record_set(name, about, fields)


def _shards_in_tars(name: str, about: str, shards: Shards) -> dict:
    source = {"fileSet": {"@id": f"set:shards/{shards.name}/tiles"}}
    key = _field(name, "key", TEXT, "Key of the sample within its set.")
    key["source"] = {
        **source,
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": "^([^.]*)"},
    }
    tile = _field(name, "tile", "sc:ImageObject", _ABOUT["tile"])
    tile["source"] = {**source, "extract": {"fileProperty": "content"}}
    others = ", ".join(f".{end}" for end, facts in shards.columns.items() if facts.kind == "bytes")
    return _record_set(name, f"{about} Members of the same key: {others}.", [key, tile], key="key")


_KINDS = {
    "image": "sc:ImageObject",
    "integer": INTEGER,
    "number": NUMBER,
    "boolean": BOOLEAN,
    "text": TEXT,
}

_ABOUT = {
    "tile": "The picture around the spot, RGB.",
    "expression": "Expression of the panel's genes, in the panel's order.",
    "present": "Whether the slide has each gene of the panel.",
    "slide": "The slide, as in the record set slides.",
    "spot": "Id of the spot, as in the record set pairs.",
    "index": "Number of the pair in its set.",
}


def _inline(
    name: str,
    description: str,
    fields: Mapping[str, tuple[str, str]],
    rows: Iterable[Mapping],
    key: str = "",
) -> dict:
    """Return a record set that contains its rows."""
    made = _record_set(
        name,
        description,
        [_field(name, field, kind, about) for field, (kind, about) in fields.items()],
        key=key,
    )
    made["data"] = [{f"{name}/{field}": row[field] for field in fields} for row in rows]
    return made


def _record_set(name: str, description: str, fields: list[dict], key: str = "") -> dict:
    keys = {"key": {"@id": f"{name}/{key}"}} if key else {}
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        **keys,
        "field": fields,
    }


def _field(
    record_set: str, name: str, kind: str, about: str, source: Mapping | None = None
) -> dict:
    field = {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": name,
        "description": about,
        "dataType": kind,
    }
    if source:
        where = {key: value for key, value in source.items() if key != "column"}
        field["source"] = {**where, "extract": {"column": source["column"]}}
    return field
