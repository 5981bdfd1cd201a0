"""The house is as CONTRIBUTING.md draws it: who imports whom, and what stays private."""

import ast
import itertools
import re
import sys
import tomllib
from pathlib import Path

import pytest

import skncvqvae

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skncvqvae"
FILES = sorted(PACKAGE.rglob("*.py"))

# Rooms, storey by storey. A room imports from the storeys below it only.
STOREYS = [
    ["nn"],
    ["_containers", "_device", "_files", "_fingerprints"],
    [
        "_base",
        "_copying",
        "_labels",
        "_memory",
        "_progress",
        "_resampling",
        "_tokens",
        "bands",
        "samplers",
    ],
    ["_checkpoints"],
    [
        "_codec",
        "_copies",
        "_inference",
        "_marginals",
        "_observation_noise",
        "_plateaus",
        "_representations",
        "_shared_moments",
        "_training",
        "augmentations",
        "tables",
    ],
    ["_decoding", "_neural_mapper"],
    ["_prior", "_transformer", "metrics"],
    ["_export", "_generator", "_semi_supervised"],
    ["_augmented_classifier"],
    ["_tree"],
    ["_io", "plots"],
]
ACCESSORS = {"getattr", "setattr", "hasattr", "delattr"}
STOREY = {room: storey for storey, rooms in enumerate(STOREYS) for room in rooms}


def room_of(path):
    """Return the room that a file of the package belongs to; None for the front door."""
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return None if name == "__init__" else name


def imported_modules(path):
    """Yield the dotted names that a file imports from, at any depth, relative ones resolved."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def imported_rooms(path):
    names = (name.split(".") for name in imported_modules(path))
    return {name[1] for name in names if name[0] == "skncvqvae" and name[1] in STOREY}


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def is_own(node, bases):
    """Whether an expression is the object itself, its class, or a class it inherits from."""
    if isinstance(node, ast.Name):
        return node.id in {"self", "cls", *bases}
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and (node.func.id == "super" or (node.func.id == "type" and is_own(node.args[0], bases)))
    )


def private_reads(node, bases=()):
    """Yield line and text of each underscore attribute that is not the object's own."""
    if isinstance(node, ast.ClassDef):
        bases = {ast.unparse(base) for base in node.bases}
    if isinstance(node, ast.Attribute):
        if is_private(node.attr) and not is_own(node.value, bases):
            yield node.lineno, ast.unparse(node)
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in ACCESSORS:
        owner, name = node.args[:2]
        constant = isinstance(name, ast.Constant)
        if constant and is_private(name.value) and not is_own(owner, bases):
            yield node.lineno, ast.unparse(node)
    for child in ast.iter_child_nodes(node):
        yield from private_reads(child, bases)


def test_every_room_has_a_storey():
    assert {room_of(path) for path in FILES} - {None} == STOREY.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    room = room_of(path)
    if room is None:
        return
    above = {other for other in imported_rooms(path) - {room} if STOREY[other] >= STOREY[room]}
    assert not above, f"{room} imports {above} from its own storey or above"


def test_samplers_know_networks_only():
    assert imported_rooms(PACKAGE / "samplers.py") == {"nn"}


def test_networks_know_nothing_of_scikit_learn():
    allowed = {"numpy", "torch", "skncvqvae", *sys.stdlib_module_names}
    imported = {
        (str(path.relative_to(ROOT)), name.split(".")[0])
        for path in PACKAGE.joinpath("nn").glob("*.py")
        for name in imported_modules(path)
    }
    assert not {(path, name) for path, name in imported if name not in allowed}


def test_private_attributes_of_others_are_seen():
    tree = ast.parse(
        "self._a; cls._a; super()._a; type(self)._a; self.__dict__; x.a_; getattr(self, '_a')\n"
        "class Child(Parent): a = Parent._a\n"
        "x._a\n"
        "self.x._a\n"
        "getattr(x, '_a', None)\n"
        "setattr(x, '_a', 1)\n"
        "Parent._a\n"
    )
    assert [line for line, _ in private_reads(tree)] == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_object_reads_anothers_private_attribute(path):
    reads = private_reads(ast.parse(path.read_text()))
    assert not list(reads)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_room_imports_anothers_private_names(path):
    own = [name.split(".") for name in imported_modules(path) if name.startswith("skncvqvae.")]
    private = [parts for parts in own if is_private(parts[-1])]
    assert not [
        parts for parts in private if not ROOT.joinpath(*parts).with_suffix(".py").exists()
    ]


def test_the_map_shows_every_room():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert not [room for room in STOREY if not re.search(rf"(?<!\w){room}(\.py|/)", text)]


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {skncvqvae.__version__}\n" in citation
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert set(re.findall(r"ruff==([\d.]+)", hooks)) == {pins["ruff"]}


def test_constraints_pin_what_pyproject_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    requirements = itertools.chain(project["dependencies"], *extras)
    named = {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert named - pinned - {"skncvqvae"} == set()
