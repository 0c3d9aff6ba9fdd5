"""Data flows one way through the rooms of both packages, and the bundle uses what the plugin offers to everybody."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN, BUNDLE = "mlflow_sysmetrics", "entrypoints"
# Of each package its layers, the lowest first, with their rooms. Names in one text are one room; "" is all other files.
LAYERS: dict[str, list[tuple[str, ...]]] = {
    PLUGIN: [
        ("tags", "redact", "lazy"),
        ("sampling",),
        ("monitor",),
        ("measurement", "delivery"),
        ("limits", "ranks"),
        ("ui", "logger"),
        ("host autologging",),
        ("command", "ray_tune"),
        ("",),
    ],
    BUNDLE: [
        ("",),
        ("compute",),
        ("datasets",),
        ("models",),
        ("limits",),
        ("reporting.questions reporting.answer reporting.statistics reporting.drawing reporting.words",),
        ("search",),
        ("reporting",),
        ("prepare tune early_stop report main options option_types",),
    ],
    f"{BUNDLE}.reporting": [("answer words statistics drawing",), ("questions",), ("",)],
}


def modules() -> dict[str, Path]:
    """The dotted name of each module of both packages, and its file."""
    files = (file for package in (PLUGIN, BUNDLE) for file in (ROOT / package).rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = modules()


@functools.cache
def imported(file: Path) -> frozenset[str]:
    """The modules of the project that a file imports, at its top or later."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= (names & MODULES.keys()) or {node.module}
    return frozenset(found & MODULES.keys())


def place(package: str, module: str) -> tuple[int, str]:
    """The layer of a module of a package, and the room."""
    name = module.removeprefix(package).lstrip(".")
    rooms = {room: layer for layer, each in enumerate(LAYERS[package]) for room in each}
    parts = name.split(".")
    for depth in (2, 1):  # a room within a room may be lower than the rest of it
        for room in rooms:
            if ".".join(parts[:depth]) in room.split():
                return rooms[room], room
    return rooms[""], ""


def against_the_arrows(package: str) -> Iterator[str]:
    """Imports in a package that are neither of a lower layer nor of the module's own room."""
    inside = {module: file for module, file in MODULES.items() if f"{module}.".startswith(f"{package}.")}
    for module, file in inside.items():
        layer, room = place(package, module)
        for other in imported(file) & inside.keys() - {module}:
            below, there = place(package, other)
            if below >= layer and there != room:
                yield f"{module} imports {other}"


@pytest.mark.parametrize("package", LAYERS)
def test_module_imports_only_rooms_below_its_own(package: str) -> None:
    """A room can be read without those above it."""
    assert list(against_the_arrows(package)) == []


def test_plugin_does_without_the_bundle() -> None:
    """It is installed alone."""
    pairs = [(module, other) for module, file in MODULES.items() for other in imported(file)]
    assert [pair for pair in pairs if pair[0].startswith(PLUGIN) and pair[1].startswith(BUNDLE)] == []


def test_bundle_and_examples_import_what_is_public() -> None:
    """The face of the plugin, a module at its top, or a room; nothing that is inside a room."""
    files = [*(ROOT / BUNDLE).rglob("*.py"), *(ROOT / "examples").rglob("*.py")]
    used = [(file, other) for file in files for other in imported(file) if other.startswith(PLUGIN)]
    assert len(used) > len(files) / 3
    assert [f"{file.relative_to(ROOT)} imports {other}" for file, other in used if other.count(".") > 1] == []
