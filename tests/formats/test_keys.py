"""Keys of the files that steps hand to each other are spelled in the room `formats` alone."""

import ast
import importlib
import re

import pytest
from places import SCRIPTS

LIBRARY = SCRIPTS / "st1k4m"
MODULES = sorted(path for path in LIBRARY.rglob("*.py"))
ROOM = [path for path in MODULES if path.parent.name == "formats"]

# These read files of other programs, whose keys are the same words.
OF_OTHERS = {
    *(f"source/{path.name}" for path in (LIBRARY / "source").glob("*.py")),
    "expression/dense_csv.py",
    "expression/read_own.py",
    "expression/tenx.py",
    "geometry/barcodes.py",
    "geometry/own_positions.py",
}
# Keys that are words of other things as well: columns of tables, options, parts of the record. As
# keys of an open file they are found all the same.
WORDS = {
    "annotation",
    "counts",
    "dropped",
    "facts",
    "features",
    "images",
    "inside",
    "kept",
    "made",
    "name",
    "options",
    "panel",
    "part",
    "present",
    "rank",
    "reason",
    "slide",
    "slides",
    "spatial",
    "spot",
    "st1k4m",
    "target_sum",
    "tile",
    "tissue",
}
METHODS = ("get", "pop", "create_dataset", "create_group", "require_dataset", "require_group")
PATH = re.compile(r"(X|layers|obs|obsm|obsp|uns|var|varm|varp|pictures|dropped)/\w")


def find_constants():
    """Return the keys that the modules of the room name."""
    keys = set()
    for path in ROOM:
        module = importlib.import_module(f"st1k4m.formats.{path.stem}")
        values = [value for name, value in vars(module).items() if name.isupper()]
        keys |= {value for value in values if isinstance(value, str)}
        keys |= {value.decode() for value in values if isinstance(value, bytes)}
    return keys


KEYS = find_constants()
TELLING = KEYS - WORDS


def find_files(tree):
    """Return the names that hold an open HDF5 file, or a part of one."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation and "h5py" in ast.dump(node.annotation):
            names.add(node.arg)
        if isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
            call = ast.unparse(node.context_expr)
            if "h5py" in call or "open_" in call or call.startswith("_open"):
                names.add(node.optional_vars.id)
        if isinstance(node, ast.Assign) and "h5py.File(" in ast.unparse(node.value):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def is_text(node):
    if isinstance(node, ast.Tuple):
        return any(map(is_text, node.elts))
    is_constant = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    return is_constant or isinstance(node, ast.JoinedStr)


def root_of(node):
    """Return the name at the left of attributes and subscripts: ``file`` of ``file.attrs[...]``."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def find_spelled(source):
    """Return the lines of a module that spell a key."""
    tree = ast.parse(source)
    files = find_files(tree)
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and is_text(node):
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            if text in TELLING or PATH.match(text):
                lines.add(node.lineno)
        if isinstance(node, ast.Subscript) and is_text(node.slice) and root_of(node) in files:
            lines.add(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            gets = node.func.attr in METHODS and is_text(node.args[0])
            lines |= {node.lineno} if gets and root_of(node) in files else set()
        if isinstance(node, ast.Compare) and is_text(node.left):
            lines |= {node.lineno for one in node.comparators if root_of(one) in files}
    return sorted(lines)


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in MODULES
        if path not in ROOM and path.relative_to(LIBRARY).as_posix() not in OF_OTHERS
    ],
    ids=lambda path: path.relative_to(LIBRARY).as_posix(),
)
def test_no_other_room_spells_a_key(path):
    lines = find_spelled(path.read_text(encoding="utf-8"))
    assert not lines, f"{path}: lines {lines} spell a key; a module of formats/ has a name for it"


@pytest.mark.parametrize(
    "line",
    [
        'with h5py.File(path) as file:\n    tiles = file["img"][:]',
        'with h5py.File(path) as file:\n    shares = file["tissue"][:]',
        'with h5py.File(path) as file:\n    side = file.attrs["anything"]',
        'with h5py.File(path) as file:\n    there = "dropped" in file',
        'with h5py.File(path) as file:\n    file.create_dataset("inside", data=shares)',
        'file = h5py.File(path)\npicture = file[f"{where}/hires"]',
        'def read(file: h5py.File):\n    return file["obs"]["tile"]',
        'def read(file: "h5py.File"):\n    return file["counts"]',
        'img = h5py.h5d.open(file, b"img")',
        'centres = read(file, "obsm/spatial")',
        'radius = table["barcode"]',
        'pq.ParquetFile(file).read(["x", "array_row"])',
        'totals = table.obs["total_counts"]',
    ],
)
def test_a_key_that_is_spelled_is_found(line):
    assert find_spelled(line)


@pytest.mark.parametrize(
    "line",
    [
        "with h5py.File(path) as file:\n    spots = slide_anndata.read_spots(file)",
        "with h5py.File(path) as file:\n    text = file.attrs.get(KEY)",
        'row = {"tissue": slide.tissue, "tile": None}\nrow["tissue"]',
        'with open(path, encoding="utf-8") as file:\n    known = json.load(file)["geometry"]',
    ],
)
def test_other_words_are_not_taken_for_keys(line):
    assert not find_spelled(line)


def test_words_are_keys_and_modules_of_others_exist():
    assert WORDS <= KEYS
    assert {path.relative_to(LIBRARY).as_posix() for path in MODULES} >= OF_OTHERS


@pytest.mark.parametrize("path", ROOM, ids=lambda path: path.stem)
def test_the_room_stands_on_those_below_it(path):
    below = {"formats", "run", "dataset", "errors", "technologies", "codes"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("st1k4m."):
            assert node.module.split(".")[1] in below, f"line {node.lineno}: {node.module}"
        if isinstance(node, ast.Import):
            assert not any(name.name.startswith("st1k4m") for name in node.names)
