"""The card and Croissant say what is there, and the programs they are made for read them."""

import csv
import fnmatch
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from places import REPOSITORY
from st1k4m.export import describe_collection, hash_products
from st1k4m.export.contents import Table, find_studies
from st1k4m.export.options import CardOptions
from st1k4m.source.catalogue import Slide

SLIDES = ("GSE1_A.1+x", "GSE1_B", "Human_Breast_10X_06092021_V1")
COLUMNS = ["slide", "tech", "species", "tissue", "study", "patient", "patient_source", "block"]
COLUMNS += ["section", "spots", "genes", "um_per_px", "tier", "flags"]


def write_table(path, columns, rows, head=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        file.writelines(f"# {line}\n" for line in head)
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([columns, *rows])


def write_slide(root, slide):
    spots = [f"{slide}_b{i}" for i in range(3)]
    ledger = pa.table(
        {
            "spot": spots,
            "barcode": ["b0", "b1", "b2"],
            "in_counts": [True, True, False],
            "in_coord": [True] * 3,
            "x": [1.5, 2.5, 3.5],
            "y": [4.0, 5.0, 6.0],
            "r": [1.0] * 3,
            "array_row": [0, 1, 2],
            "array_col": [0, 0, 0],
            "tile": [0, 1, -1],
            "status": ["kept", "kept", "dropped"],
            "reason": ["", "", "no_counts"],
        }
    )
    for folder in ("anndata", "tiles", "ledger", "records"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    pq.write_table(ledger, root / f"ledger/{slide}.parquet")
    (root / f"anndata/{slide}.h5ad").write_bytes(f"anndata {slide}".encode())
    (root / f"tiles/{slide}.h5").write_bytes(f"tiles {slide}".encode())
    (root / f"records/{slide}.json").write_text(json.dumps({"slide": slide}))


def make_picture():
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(content, "JPEG")
    return content.getvalue()


def write_parquet_shards(folder):
    folder.mkdir(parents=True)
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = pa.array(np.arange(8, dtype=np.float32))
    table = pa.table(
        {
            "tile": pa.array([{"bytes": make_picture(), "path": None}] * 4, picture),
            "expression": pa.FixedSizeListArray.from_arrays(values, 2),
            "slide": [SLIDES[1]] * 4,
            "spot": [f"{SLIDES[1]}_b{i}" for i in range(4)],
            "index": pa.array(range(4)),
        }
    )
    features = {
        "tile": {"_type": "Image"},
        "expression": {"_type": "List", "length": 2}
        | {"feature": {"_type": "Value", "dtype": "float32"}},
        "slide": {"_type": "Value", "dtype": "string"},
        "spot": {"_type": "Value", "dtype": "string"},
        "index": {"_type": "Value", "dtype": "int64"},
    }
    text = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": text}), folder / "s-00.parquet")


def write_tar_shards(folder):
    folder.mkdir(parents=True)
    array = io.BytesIO()
    np.save(array, np.arange(2.0))
    with tarfile.open(folder / "s-000000.tar", "w") as tar:
        for sample in range(3):
            for ending, content in (
                ("jpg", make_picture()),
                ("npy", array.getvalue()),
                ("json", b"{}"),
            ):
                member = tarfile.TarInfo(f"{sample:06d}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def results(tmp_path):
    """A finished collection of three slides of two studies, made by hand."""
    root = tmp_path / "results"
    for slide in SLIDES:
        write_slide(root, slide)
    (root / "manifest.tsv").write_text("slide\tstatus\n")
    (root / "citations.bib").write_text("% none\n")
    count = {"slides": 3, "pairs": 6}
    found = count | {"tech": {"Visium": count}, "species": {"human": count}, "tissue": {}}
    summary = {"found": found}
    summary["states"] = {"done": 3, "failed": 1, "excluded": 0, "not_selected": 2}
    (root / "summary.json").write_text(json.dumps(summary))
    studies = ("GSE1", "GSE1", "Human_Breast_10X_06092021")
    rows = [
        [slide, "Visium", "human", "breast", study, "", "", "", slide, 2, 9, um, "high", ""]
        for slide, study, um in zip(SLIDES, studies, ("0.5", "", "0.73"), strict=True)
    ]
    write_table(root / "collection/slides.tsv", COLUMNS, rows)
    parts = [[SLIDES[0], "train", "GSE1"], [SLIDES[1], "train", "GSE1"], [SLIDES[2], "test", "B"]]
    head = ["by study: no study is in two parts", "seed *0*"]
    write_table(root / "collection/splits/s.tsv", ["slide", "part", "group"], parts, head)
    write_table(root / "collection/panels/p.tsv", ["rank", "gene"], [[1, "GFAP"]], ["128 | genes"])
    write_parquet_shards(root / "shards" / "p_train" / "00")
    write_tar_shards(root / "shards" / "t" / "00")
    (root / "shards" / "t" / "index.json").write_text("{}")
    catalogue = [
        ["GSE1_A.1+x", "Visium", "32579974, 38037084", "A | title"],
        ["GSE1_B", "Visium", "32579974", "A | title"],
        [SLIDES[2], "Visium", "", ""],
    ]
    text = "# dataset: hf://datasets/O/N@main\n# revision: abc\n# note: \n"
    columns = list(Slide.__dataclass_fields__)
    lines = [
        {"slide": slide, "tech": tech, "pmid": pmid, "title": title, "status": "ok"}
        for slide, tech, pmid, title in catalogue
    ]
    numbers = {name for name, field in Slide.__dataclass_fields__.items() if field.type is int}
    for line in ["\t".join(columns)] + [
        "\t".join(str(line.get(name, 0 if name in numbers else "")) for name in columns)
        for line in lines
    ]:
        text += f"{line}\n"
    (tmp_path / "catalogue.tsv").write_text(text)
    return root


def describe(root, options=None):
    hashed = []
    for slide in SLIDES:
        products = [
            root / f"anndata/{slide}.h5ad",
            root / f"tiles/{slide}.h5",
            root / f"ledger/{slide}.parquet",
            root / f"records/{slide}.json",
        ]
        if (root / f"spatialdata/{slide}.zarr").exists():
            products.append(root / f"spatialdata/{slide}.zarr")
        hashed.append(root.parent / f"{slide}.sums")
        hash_products.hash_products(root, products, hashed[-1])
    collection = root / "collection"
    describe_collection.describe_collection(
        root,
        root.parent / "catalogue.tsv",
        REPOSITORY / "config" / "licences.tsv",
        hashed,
        [
            root / "manifest.tsv",
            root / "summary.json",
            root / "citations.bib",
            collection / "slides.tsv",
            collection / "splits/s.tsv",
            collection / "panels/p.tsv",
        ],
        splits={"s": collection / "splits/s.tsv"},
        panels={"p": collection / "panels/p.tsv"},
        shards={"p_train": root / "shards/p_train", "t": root / "shards/t"},
        options=options or CardOptions(),
    )
    return json.loads((collection / "croissant.json").read_text())


def read_head(root):
    text = (root / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def files_below(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_every_file_is_listed_with_its_checksum(results):
    described = describe(results)
    objects = {item["@id"]: item for item in described["distribution"] if "sha256" in item}
    itself = {"collection/croissant.json", "README.md", "collection/README.md"}
    assert set(objects) - {"results"} == files_below(results) - itself
    for name, item in objects.items():
        if name != "results":
            content = (results / "collection" / item["contentUrl"]).read_bytes()
            assert item["sha256"] == hashlib.sha256(content).hexdigest(), name
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "collection/SHA256SUMS"], cwd=results
    )
    assert done.returncode == 0
    sums = (results / "collection/SHA256SUMS").read_text().splitlines()
    listed = {line.split("  ")[1] for line in sums}
    without = {"collection/SHA256SUMS", "collection/croissant.json"}
    assert listed == files_below(results) - without


def test_files_of_stores_are_in_the_checksums_alone(results):
    store = results / "spatialdata" / f"{SLIDES[0]}.zarr" / "images"
    store.mkdir(parents=True)
    (store / "zarr.json").write_text("{}")
    described = describe(results)
    names = [item["@id"] for item in described["distribution"]]
    assert not any("zarr.json" in name for name in names)
    assert "set:spatialdata" in names
    assert (
        f"spatialdata/{SLIDES[0]}.zarr/images/zarr.json"
        in (results / "collection/SHA256SUMS").read_text()
    )


def test_sets_of_files_match_the_files_that_are_there(results):
    described = describe(results)
    sets = [item for item in described["distribution"] if item["@type"] == "cr:FileSet"]
    found = {
        item["@id"]: {name for name in files_below(results) if fnmatch.fnmatch(name, pattern)}
        for item in sets
        if isinstance(pattern := item["includes"], str)
    }
    assert {name: len(files) for name, files in found.items()} == {
        "set:anndata": 3,
        "set:tiles": 3,
        "set:ledger": 3,
        "set:records": 3,
        "set:shards/p_train": 1,
        "set:shards/t": 1,
    }


def test_references_lead_to_what_is_defined(results):
    described = describe(results)
    fields = [field for group in described["recordSet"] for field in group["field"]]
    defined = [item["@id"] for item in described["distribution"] + described["recordSet"] + fields]
    assert len(defined) == len(set(defined))
    text = json.dumps([described["distribution"], described["recordSet"]])
    assert set(re.findall(r'\{"@id": "([^"]+)"\}', text)) <= set(defined)


def test_the_card_of_the_folder_is_the_card_of_the_collection(results):
    describe(results)
    card = (results / "README.md").read_bytes()
    assert card == (results / "collection/README.md").read_bytes()


def test_the_head_of_the_card_names_tables_that_are_there(results):
    describe(results)
    head, _ = read_head(results)
    assert head["license"] == "other" and head["size_categories"] == ["n<1K"]
    names = {}
    for config in head["configs"]:
        (files,) = config["data_files"]
        names[config["config_name"]] = len(list(results.glob(files["path"])))
    assert names == {"slides": 1, "pairs": 3, "splits": 1, "shards_p_train": 1}
    assert [config["config_name"] for config in head["configs"] if config.get("default")] == [
        "slides"
    ]


def test_the_card_tells_splits_panels_studies_and_licences(results):
    describe(results)
    _, body = read_head(results)
    assert "3 slides" in body and "https://huggingface.co/datasets/O/N at revision abc" in body
    assert "slides by part test: 1, train: 2" in body
    assert r"- seed \*0\*" in body and r"- 128 \| genes" in body
    lines = [line for line in body.splitlines() if line.startswith(("| [GSE1]", "| Human"))]
    assert lines == [
        "| [GSE1](https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE1) | 2 | "
        r"A \| title. PMID 32579974, PMID 38037084 | not known |",
        r"| Human\_Breast\_10X\_06092021 | 1 | not known | "
        "[CC-BY-4.0](https://creativecommons.org/licenses/by/4.0/) |",
    ]


def test_options_reach_card_and_croissant(results):
    options = CardOptions.from_config(
        {"name": "Mine", "url": "https://x.org", "creators": ["A"], "licence": "CC-BY-4.0"}
        | {"published": "2026-01-02"}
    )
    described = describe(results, options)
    assert described["creator"] == [{"@type": "sc:Person", "name": "A"}]
    assert described["license"] == "https://spdx.org/licenses/CC-BY-4.0"
    assert (described["url"], described["datePublished"]) == ("https://x.org", "2026-01-02")
    head, body = read_head(results)
    assert head["license"] == "CC-BY-4.0" and "license_name" not in head
    assert "# Mine" in body


def test_the_typed_tables_hold_what_the_tables_say(results):
    describe(results)
    slides = pq.read_table(results / "collection/slides.parquet")
    assert slides["um_per_px"].to_pylist() == [0.5, None, 0.73]
    assert slides["spots"].to_pylist() == [2, 2, 2]
    assert slides["patient"].to_pylist() == ["", "", ""]
    splits = pq.read_table(results / "collection/splits.parquet").to_pylist()
    assert splits[2] == {"split": "s", "slide": SLIDES[2], "part": "s/test", "group": "B"}


def test_the_same_results_give_the_same_bytes(results, tmp_path):
    describe(results)
    made = {name: (results / name).read_bytes() for name in files_below(results)}
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copytree(results, copy / "results")
    shutil.copy(tmp_path / "catalogue.tsv", copy)
    describe(copy / "results")
    assert {name: (copy / "results" / name).read_bytes() for name in made} == made


def test_a_licence_that_holds_for_some_slides_of_a_study_is_not_that_of_the_study():
    slides = Table("", [], [{"slide": "a1", "study": "S"}, {"slide": "a2", "study": "S"}])
    row = {"slides": "a1", "licence": "MIT", "url": "u", "source": "s"}
    (study,) = find_studies(slides, {}, [row])
    assert study.licence == ""
    (study,) = find_studies(slides, {}, [row | {"slides": "a."}])
    assert (study.licence, study.slides) == ("MIT", 2)


def test_mlcroissant_validates_and_reads_every_record_set(results):
    mlcroissant = pytest.importorskip("mlcroissant")
    describe(results)
    path = results / "collection" / "croissant.json"
    program = Path(sys.executable).with_name("mlcroissant")
    done = subprocess.run([program, "validate", "--jsonld", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    dataset = mlcroissant.Dataset(path)
    assert dataset.metadata.issues.report() == ""
    records = {group.id: list(dataset.records(group.id)) for group in dataset.metadata.record_sets}
    assert {name: len(rows) for name, rows in records.items()} == {
        "slides": 3,
        "studies": 2,
        "split_parts": 2,
        "splits": 3,
        "pairs": 9,
        "shards_p_train": 4,
        "shards_t": 3,
    }
    assert {row["pairs/slide"].decode() for row in records["pairs"]} == set(SLIDES)
    assert records["shards_p_train"][1]["shards_p_train/expression"] == [2.0, 3.0]
    assert records["shards_t"][0]["shards_t/tile"].size == (8, 8)


def test_datasets_opens_every_table_of_the_card(results, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    describe(results)
    rows = {
        name: datasets.load_dataset(str(results), name, cache_dir=str(tmp_path / "cache"))["train"]
        for name in datasets.get_dataset_config_names(str(results))
    }
    assert {name: table.num_rows for name, table in rows.items()} == {
        "slides": 3,
        "pairs": 9,
        "splits": 3,
        "shards_p_train": 4,
    }
    assert rows["slides"][0]["slide"] == SLIDES[0]
    assert rows["shards_p_train"][0]["tile"].size == (8, 8)
    tars = datasets.load_dataset(
        "webdataset",
        data_files=str(results / "shards/t/**/*.tar"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert tars.num_rows == 3
