"""The rooms of the library: which may import which, as docs/architecture.md states."""

import ast
import re
from graphlib import CycleError, TopologicalSorter

import pytest
from places import REPOSITORY, SCRIPTS

LIBRARY = SCRIPTS / "st1k4m"
# Old modules of public names, which import the new ones: they are above all rooms.
ALIASES = {"", "counts", "tiles"}


def read_order():
    """Return the height of every room, the lowest 0, from the list in the document."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = re.search(r"in this list, which a test checks:\n\n(.*?)\n\n", text, re.DOTALL)[1]
    floors = [re.findall(r"`(\w+)`", floor) for floor in listed.split("·")]
    return {room: height for height, floor in enumerate(reversed(floors)) for room in floor}


def name_module(path):
    """Return the name of a file's module below ``st1k4m``; for ``__init__`` that of its folder."""
    parts = path.relative_to(LIBRARY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_module(path): path for path in sorted(LIBRARY.rglob("*.py"))}


class _WithoutTypes(ast.NodeTransformer):
    def visit_If(self, node):
        only_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if only_types else self.generic_visit(node)


def find_imports(source, types=True):
    """Return the modules below ``st1k4m`` that a file imports, also within functions.

    Without ``types``, imports that only a type checker reads are left out.
    """
    found = set()
    tree = ast.parse(source)
    for node in ast.walk(tree if types else _WithoutTypes().visit(tree)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written in full"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    inner = {name.removeprefix("st1k4m.") for name in found if name.startswith("st1k4m.")}
    # `from st1k4m.run import job` names a module, `from st1k4m.run.job import run` a name in it.
    return {name if name in MODULES else name.rpartition(".")[0] for name in inner}


def room_of(module):
    return module.partition(".")[0]


def find_wrong_directions(imports, order):
    """Return the imports that do not go down, as texts; imports within a room are allowed."""
    return [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if room_of(module) != room_of(other)
        and other  # the library's own name and version
        and order[room_of(module)] <= order[room_of(other)]
    ]


IMPORTS = {
    module: find_imports(path.read_text(encoding="utf-8"))
    for module, path in MODULES.items()
    if module not in ALIASES
}


def test_the_document_lists_every_room():
    rooms = {room_of(module) for module in MODULES} - (ALIASES - {"tiles"})
    assert set(read_order()) == rooms


def test_imports_go_down():
    assert find_wrong_directions(IMPORTS, read_order()) == []


@pytest.mark.parametrize(
    "line",
    ["from st1k4m.join import ledger", "def f():\n    from st1k4m.export.names import x"],
)
def test_an_import_that_goes_up_or_sideways_is_found(line):
    planted = {"baseline.ridge": find_imports(line), "geometry.clues": find_imports(line)}
    assert find_wrong_directions(planted, read_order())


def test_modules_do_not_import_in_circles():
    at_work = {
        module: find_imports(MODULES[module].read_text(encoding="utf-8"), types=False)
        for module in IMPORTS
    }
    try:
        TopologicalSorter(at_work).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_importing_a_room_costs_nothing():
    filled = {
        path.parent.name
        for path in LIBRARY.glob("*/__init__.py")
        if path.read_text(encoding="utf-8").strip()
    }
    assert filled == {"tiles"}  # it has the old name of TileStore, and imports it on first use
    assert not [
        node
        for node in ast.parse((LIBRARY / "tiles" / "__init__.py").read_text()).body
        if not isinstance(node, ast.FunctionDef)
    ]


# -- scripts

# Rules whose entrance has another name: several rules share it, or the rule is a user's command.
ENTRANCES = {
    "fetch_counts": "source.fetch",
    "fetch_coord": "source.fetch",
    "fetch_image": "source.fetch",
    "remove_leftovers": "collection.build_manifest",
    "describe": "source.describe_slides",
    "plan": "plan.forecast",
}
INPUTS = {"source.inputs", "expression.spot_names"}


def is_open_to_scripts(module, script):
    """Return whether a script may import a module.

    It may import the entrance with the name of its rule, the room `run`, the options of its step,
    and the modules that find its inputs: `formats`, `INPUTS`.
    """
    name = module.rpartition(".")[2]
    return (
        module == ENTRANCES.get(script)
        or name == script
        or room_of(module) in ("run", "formats")
        or name.endswith("options")
        or module in INPUTS
    )


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_scripts_import_entrances_alone(path):
    imported = find_imports(path.read_text(encoding="utf-8"))
    assert {module for module in imported if not is_open_to_scripts(module, path.stem)} == set()
    entrance = ENTRANCES.get(path.stem)
    assert entrance in imported or any(m.endswith(f".{path.stem}") for m in imported)
