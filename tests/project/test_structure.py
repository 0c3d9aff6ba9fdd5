"""Data flows one way through the rooms of the packages, heavy libraries load late, and all ways to install agree."""

import ast
import configparser
import functools
import json
import re
import subprocess
import sys
from collections import Counter

import pytest
import yaml
from commands import ROOT, clean_environment
from packaging.specifiers import SpecifierSet

PLUGIN, GATE, BUNDLE = "mlflow_sysmetrics", "mlflow_gate", "entrypoints"
OPEN = (f"{PLUGIN}.recording.tags", f"{PLUGIN}.common")  # modules inside of rooms that the bundle may import
# Of each package its layers, the lowest first, with their rooms. Names without a comma between are one room.
LAYERS = {
    "": "mlflow_sysmetrics\nmlflow_gate\nentrypoints",
    PLUGIN: """
        common, metrics
        recording.tags recording.outcome recording.events
        sampling
        monitor, recording.host
        limits, delivery
        measurement
        recording
        ui
        integrations, command, ray_tune
        all other files
    """,
    GATE: """
        metrics, table_files
        served
        check
        forecast
        all other files
    """,
    BUNDLE: """
        all other files
        runs, compute
        options, datasets
        models
        checks, trials
        limits
        search, reporting
        study
        prepare tune report main
    """,
    f"{BUNDLE}.reporting": """
        answer words drawing
        paired verdicts effect_words expectation
        questions
        all other files
    """,
}


FILES = [file for package in (PLUGIN, GATE, BUNDLE) for file in (ROOT / package).rglob("*.py")]
MODULES = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES}


@functools.cache
def imported(file):
    """The modules of the project that a file imports, at its top or later."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= (names & MODULES.keys()) or {node.module}
    return frozenset(found & MODULES.keys())


def place(package, module):
    """The layer of a module of a package, and the room; a room within a room may be lower than the rest of it."""
    rooms = {}
    for layer, line in enumerate(LAYERS[package].split("\n")):
        for room in line.strip().split(", "):
            rooms |= dict.fromkeys(room.split(), (layer, room))
    parts = module.removeprefix(package).lstrip(".").split(".")
    two = ".".join(parts[:2])
    return rooms.get(two) or rooms.get(parts[0]) or rooms["files"]


@pytest.mark.parametrize("package", LAYERS, ids=lambda package: package or "both")
def test_module_imports_only_rooms_below_its_own(package):
    """Or its own one. So a room can be read without those above it."""
    inside = {module: file for module, file in MODULES.items() if module.startswith(package)}
    wrong = []
    for module, file in inside.items():
        layer, room = place(package, module)
        for other in imported(file) & inside.keys():
            below, there = place(package, other)
            if below >= layer and there != room:
                wrong.append(f"{module} imports {other}")
    assert wrong == []


def test_bundle_and_examples_import_what_is_public():
    """The face of the plugin, a module at its top, or a room; inside of rooms the names of tags, and what is common."""
    files = [file for folder in (BUNDLE, "examples") for file in (ROOT / folder).rglob("*.py")]
    used = [(file, other) for file in files for other in imported(file) if not other.startswith(BUNDLE)]
    assert used
    inside = [(file, other) for file, other in used if other.count(".") > 1 and not other.startswith(OPEN)]
    assert [f"{file.relative_to(ROOT)} imports {other}" for file, other in inside] == []


# One after the other in one interpreter: what each brings, those after it may have.
IMPORTS = {
    "mlflow_sysmetrics, mlflow_sysmetrics.recording.run_context": "mlflow ray psutil numpy",
    "mlflow_sysmetrics.command.cli": "mlflow ray psutil numpy",
    # A worker of a search that unpickles its callback does without them.
    "mlflow_sysmetrics.delivery.operations, mlflow_sysmetrics.sklearn": "mlflow ray sklearn",
    "entrypoints.tune": "mlflow ray",
    "mlflow_sysmetrics.delivery.writer, mlflow_sysmetrics.recording.logger": "ray",
    "entrypoints.tune, entrypoints.report": "ray matplotlib openml",
    "mlflow_sysmetrics.ray_tune": "",
}
SETTINGS = ("RAY_", "TUNE_", "OMP_", "OPENBLAS_", "MKL_")  # what the names of a study's settings begin with


def test_import_of_modules_leaves_heavy_ones_alone():
    """Each heavy dependency is imported only where the layout says, seen in a fresh interpreter.

    Nor does an import set anything for the program that it is part of, but for what Ray's own sets.
    """
    code = f"""
import json, os, sys
before, found = dict(os.environ), []
for modules, absent in {IMPORTS}.items():
    exec("import " + modules)
    changed = set(os.environ.items()) - set(before.items())
    set_here = sorted(name for name, value in changed if name.startswith({SETTINGS!r}) and name != "RAY_CLIENT_MODE")
    found.append([modules, sorted(set(absent.split()) & set(sys.modules)), set_here])
print(json.dumps(found))
"""
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=clean_environment(), text=True)
    assert json.loads(printed.splitlines()[-1]) == [[modules, [], []] for modules in IMPORTS]


def test_each_way_to_install_brings_the_same_versions():
    """By pip, by conda.yaml, and on a cluster's nodes, which have Ray at one version and nothing of the tests."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    plugin = config["options"]["install_requires"].replace("mlflow-skinny", "mlflow").split()  # mlflow contains it
    extras = config["options.extras_require"]
    study = {*plugin, *extras["bundle"].split()}
    tests = set(extras["test"].split()) - {"mlflow-sysmetrics-bundle[bundle,catboost]"}
    python, _, conda = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    assert sorted(conda["pip"]) == sorted(study | tests)
    assert python.removeprefix("python=") in SpecifierSet(config["options"]["python_requires"])
    page = (ROOT / "docs" / "scale-out.md").read_text()
    ray_up, image = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("yaml", "dockerfile"))
    for text in (*yaml.safe_load(ray_up)["setup_commands"], image):
        named = {each for each in re.findall(r"'([^']+)'", text) if not each.startswith("ray")}
        assert named == {each for each in study if not each.startswith("ray")}


def test_each_fixture_has_a_name_of_its_own():
    """So that who reads a test finds in one search what it is given."""
    texts = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    names = Counter(re.findall(r"^@pytest\.fixture.*\ndef (\w+)", texts, re.MULTILINE))
    assert [name for name, count in names.items() if count > 1] == []
