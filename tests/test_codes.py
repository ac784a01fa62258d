"""Statuses, reasons and flags: each has a sentence, and is written only in one module."""

import ast
import re

import pytest
from places import REPOSITORY, SCRIPTS
from st1k4m import codes

CODES = {code for table in codes.TABLES.values() for code in table} | set(codes.SELECTIONS)

# Words that are codes but have another meaning in some module.
OTHER_MEANINGS = {
    ("collection/build_manifest.py", "declared"): "a part of the summary",
    ("collection/build_manifest.py", "selected"): "a part of the summary",
    ("collection/make_splits.py", "unknown"): "a value that is not known",
    ("collection/stated.py", "unknown"): "what studies write for no patient",
    ("formats/expression.py", "dropped"): "a part of the expression file",
    ("formats/tile_store.py", "dropped"): "a part of the tile store",
    ("geometry/clues.py", "in_corner"): "a field of Clues",
    ("geometry/facts.py", "override"): "who stated a correction",
    ("geometry/facts.py", "unknown"): "what is not known: tier, positions, orientation",
    ("geometry/placement.py", "alike"): "a part of the record",
    ("geometry/placement.py", "override"): "a part of the record",
    ("image/decode.py", "error"): "an option of libvips",
    ("report/build_report.py", "declared"): "a number on the card",
    ("report/build_report.py", "dropped"): "a number on the card",
    ("report/draw_slide.py", "dropped"): "a number in the record and on the card",
    ("report/draw_slide.py", "unknown"): "a number of a histogram",
    ("source/positions.py", "selected"): "a column of spot files",
}


def find_literals(source):
    """Return the codes that a module has as literals."""
    nodes = ast.walk(ast.parse(source))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str)} & CODES


def list_literals():
    """Return (file, code) for every literal code in the library, its scripts and the rules."""
    library = SCRIPTS / "st1k4m"
    files = [file for file in SCRIPTS.rglob("*.py") if file != library / "codes.py"]
    found = {
        (file.relative_to(library if library in file.parents else SCRIPTS).as_posix(), code)
        for file in files
        for code in find_literals(file.read_text(encoding="utf-8"))
    }
    for file in [*(REPOSITORY / "rules").glob("*.smk"), REPOSITORY / "Snakefile"]:
        spelled = set(re.findall(r"[\"'](\w+)[\"']", file.read_text(encoding="utf-8")))
        found |= {(file.name, code) for code in spelled & CODES}
    return found


def test_a_literal_is_found():
    assert find_literals('flags["squeezed"] = 1') == {"squeezed"}
    assert find_literals("flags[codes.SQUEEZED] = 1") == set()


def test_no_other_module_spells_a_code():
    assert list_literals() - set(OTHER_MEANINGS) == set()


def test_other_meanings_are_still_in_use():
    assert set(OTHER_MEANINGS) - list_literals() == set()


@pytest.mark.parametrize("title", codes.TABLES)
def test_every_code_is_a_word_with_one_plain_sentence(title):
    for code, sentence in codes.TABLES[title].items():
        assert re.fullmatch("[a-z_]+", code)
        assert getattr(codes, code.upper()) == code
        assert sentence
        assert sentence == sentence.strip(" .\n")
        assert "\n" not in sentence
        assert "|" not in sentence


def test_the_document_is_made_from_the_tables():
    document = (REPOSITORY / "docs" / "codes.md").read_text(encoding="utf-8")
    assert document == codes.describe(), "run: make codes"


def test_the_page_knows_every_code_that_it_names():
    gallery = (SCRIPTS / "st1k4m" / "report" / "assets" / "gallery.js").read_text(encoding="utf-8")
    for name, known in (
        ("ATTENTION", codes.STATUSES),
        ("STATUS", codes.STATUSES),
        ("PLACED", codes.PLACEMENTS),
    ):
        table = re.search(rf"const {name} = {{(.*?)}};", gallery)[1]
        assert set(re.findall(r"(\w+):", table)) == set(known)
    suspicious = re.search(r"const suspicion = .*?\[(.*?)\]", gallery)[1]
    assert set(re.findall(r'"(\w+)"', suspicious)) <= set(codes.FLAGS)
    assert len(re.findall(r'"(\w+)"', suspicious)) == 4


def test_documents_name_only_flags_and_reasons_that_there_are():
    named = re.compile(r"(?:flag|flagged|dropped(?: as)?|fails as):? `(\w+)`")
    found = {
        code
        for path in [REPOSITORY / "README.md", *REPOSITORY.glob("*/*.md")]
        for code in named.findall(path.read_text(encoding="utf-8"))
    }
    assert "few_counts" in found
    assert "um_per_px_contradicts" in found
    assert found - {"drop"} <= CODES
