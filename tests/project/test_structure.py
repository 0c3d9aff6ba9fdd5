"""Which room may import which, that no module imports itself in a circle, and what stands at the top."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN, BUNDLE = "mlflow_sysmetrics", "entrypoints"
COMMANDS = {"prepare", "tune", "early_stop", "report", "main"}
OPTIONS = {"options", "option_types"}
ROOMS = ("shared", "compute", "datasets", "models", "limits", "search", "reporting", "commands")
# What each room of the plugin may import, beside itself and what all rooms share.
SHARED = {"tags", "redact", "environment"}
ARROWS = {
    "tags": set(),
    "redact": set(),
    "environment": set(),
    "monitor": {"sampling"},
    "sampling": set(),
    "phases": {"monitor"},
    "ranks": {"delivery"},
    "delivery": {"monitor", "phases"},
    "measurement": {"monitor", "sampling", "phases"},
    "host": {"sampling"},
    "limits": {"sampling"},
    "logger": {"delivery", "sampling", "measurement", "phases", "ranks", "limits"},
    "views": {"measurement", "delivery", "ranks", "sampling"},
    "command": {"logger", "measurement", "delivery", "sampling", "views", "phases", "limits", "host"},
    "ray_tune": {"measurement", "monitor", "delivery", "sampling", "limits", "views", "ranks", "host"},
}
# The same for the rooms of reporting; what they share is at its top.
REPORTING = f"{BUNDLE}.reporting"
ARROWS_OF_REPORTING: dict[str, set[str]] = {
    "shared": set(),
    "training": set(),
    "hyperparameters": set(),
    "savings": set(),
    "figures": {"savings"},
    "one_study": {"figures", "training", "hyperparameters", "savings"},
    "comparison": {"figures", "training", "savings"},
    "stability": {"figures"},
}

# Private names of Python, and of libraries that offer no other way, that tests may use.
PRIVATE_OF_OTHERS = {
    "_exit",  # of os
    "_replace",  # of named tuples
    "_fields_",  # of ctypes
    "_split_scope",  # of pytest-xdist's schedulers
    "_PythonEnv",  # of MLflow, as are the next two
    "mlflow.server.handlers._tracking_store",
    "mlflow.server._exec_cmd",
    "_actor_start_failed",  # of Ray, as is the next
    "_actor_task_failed",
}
PATCHES = {"setattr", "getattr", "patch", "object"}  # functions that take a name as text


def modules() -> dict[str, Path]:
    """The dotted name of each module of both packages, and its file."""
    files = (file for package in (PLUGIN, BUNDLE) for file in (ROOT / package).rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = modules()
TESTS = sorted((ROOT / "tests").rglob("*.py"))
assert TESTS


@functools.cache
def nodes(file: Path) -> list[ast.AST]:
    """All parts of a file's syntax tree."""
    return list(ast.walk(ast.parse(file.read_text())))


@functools.cache
def imported(module: str) -> frozenset[str]:
    """The modules of the project that a module imports, at its top or later."""
    found = set()
    for node in nodes(MODULES[module]):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= (names & set(MODULES)) or {node.module}
    return frozenset(found - {module})


def room(module: str) -> str:
    """Where a module stands."""
    package, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    if package == PLUGIN or (ROOT / BUNDLE / first).is_dir():
        return first or "shared"
    return "commands" if first in COMMANDS | OPTIONS else "shared"


def room_of_reporting(module: str) -> str:
    """Where a module of reporting stands; of another one the bundle's room."""
    if not module.startswith(f"{REPORTING}."):
        return room(module)
    first = module.removeprefix(f"{REPORTING}.").partition(".")[0]
    return first if (ROOT / BUNDLE / "reporting" / first).is_dir() else "shared"


def may_import(module: str, other: str) -> bool:
    """Whether data flows from one module of the project to the other: see ROOMS and ARROWS."""
    here, there = room(module), room(other)
    if module.startswith(PLUGIN):
        return other.startswith(PLUGIN) and (module == PLUGIN or there == here or there in ARROWS[here])
    return other.startswith(PLUGIN) or ROOMS.index(there) <= ROOMS.index(here)


def test_module_imports_only_rooms_below_its_own() -> None:
    """Data flows one way."""
    shared = {f"{PLUGIN}.{name}" for name in SHARED}
    pairs = [(module, other) for module in MODULES for other in imported(module) - shared]
    assert len(pairs) > len(MODULES)
    assert [f"{module} imports {other}" for module, other in pairs if not may_import(module, other)] == []


def test_module_of_reporting_imports_only_rooms_below_its_own() -> None:
    """See ARROWS_OF_REPORTING."""
    inside = {module: room_of_reporting(module) for module in MODULES if module.startswith(f"{REPORTING}.")}
    assert set(inside.values()) == ARROWS_OF_REPORTING.keys()
    assert [
        f"{module} imports {other}"
        for module, here in inside.items()
        for other in imported(module) & inside.keys()
        if inside[other] not in {"shared", here} | ARROWS_OF_REPORTING[here]
    ] == []


def test_no_module_imports_itself_in_a_circle() -> None:
    """CycleError names the modules of a circle."""
    list(TopologicalSorter({module: imported(module) for module in MODULES}).static_order())


@pytest.mark.parametrize(
    ("package", "place", "sharing"),
    [
        pytest.param(BUNDLE, room, {"shared"}, id="bundle"),
        pytest.param(REPORTING, room_of_reporting, {"shared", "commands"}, id="reporting"),
    ],
)
def test_package_has_only_commands_and_what_rooms_share_at_its_top(
    package: str, place: Callable[[str], str], sharing: set[str]
) -> None:
    """A file that one room alone uses belongs into that room. One that shared files use, or start, is shared."""
    users: dict[str, set[str]] = {}
    for module in MODULES:
        started = MODULES.keys() & set(re.findall(r'"-m", "([\w.]+)"', MODULES[module].read_text()))
        for other in imported(module) | started:
            users.setdefault(other, set()).add(place(module))
    top = {module for module in MODULES if module.startswith(f"{package}.") and place(module) == "shared"}
    assert not {
        module: users.get(module)
        for module in top
        if len(users.get(module, ())) < 2 and not sharing & users.get(module, set())
    }


def test_no_test_imports_another() -> None:
    """What tests share is in tests/support."""
    imports = {file: {name for node in nodes(file) for name in names_imported(node)} for file in TESTS}
    assert all(imports[file] for file in TESTS if file.name.startswith("test_"))
    assert [
        f"{file.name} imports {name}"
        for file, names in imports.items()
        for name in names
        if name.startswith("test_") or name == "conftest"
    ] == []


def names_imported(node: ast.AST) -> list[str]:
    """The modules that a statement names, if it imports."""
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [name.name for name in node.names] if isinstance(node, ast.Import) else []


def test_no_test_uses_a_private_name_of_the_packages() -> None:
    """Neither read, nor imported, nor patched, nor overridden: a test sees what a user or another room sees."""
    assert [f"{file.name}: {name}" for file in TESTS for name in sorted(private_names(file) - PRIVATE_OF_OTHERS)] == []


def private_names(file: Path) -> set[str]:
    """The private names that a file uses and does not define."""
    own = {node.name for node in nodes(file) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    used, overridden = set[str](), set[str]()
    for node in nodes(file):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in {"self", "cls"}:
            (overridden if ast.unparse(node.value) == "super()" else used).add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            used |= {name.name for name in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in PATCHES:
            used |= {str(value.value) for value in node.args if isinstance(value, ast.Constant)}
    return {name for name in (used - own) | overridden if re.match(r"_[^_]", name.rpartition(".")[2])}
