"""The files that describe the project agree with the code: MLproject, conda.yaml, README, --help, the imports."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import mlflow
import pytest
import yaml
from click.testing import CliRunner
from commands import Command, clean_environment, wait_until
from entry_points import ENTRY_POINTS, entry_command
from mlflow.utils.environment import _PythonEnv
from packaging.specifiers import SpecifierSet
from tracking_server import answers, free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
LIMIT_S = 60.0
SETTINGS = ("RAY_", "TUNE_", "OMP_", "OPENBLAS_", "MKL_")  # what the names of a study's settings begin with


def options(entry: str) -> dict[str, click.Option]:
    """A command's options by name."""
    return {str(option.name): option for option in entry_command(entry).params if isinstance(option, click.Option)}


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_mlproject_parameters_are_the_options_with_the_same_defaults(entry: str) -> None:
    """`mlflow run` and `python -m entrypoints.<entry>` start from the same values."""
    parameters = {name: str(parameter["default"]) for name, parameter in ENTRY_POINTS[entry]["parameters"].items()}
    assert parameters == {name: str(option.default) for name, option in options(entry).items()}


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_mlproject_command_passes_every_parameter(entry: str) -> None:
    """No parameter is accepted and then forgotten, and none is quoted twice."""
    text = ENTRY_POINTS[entry]["command"]
    passed = dict(re.findall(r"--(\w+) \{(\w+)\}", text))
    assert passed == {name: name for name in ENTRY_POINTS[entry]["parameters"]}
    assert text.startswith(f"python -m entrypoints.{entry} ")


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_help_explains_every_option(entry: str) -> None:
    """--help teaches: what the command does, and for each option a sentence and its default."""
    shown = CliRunner().invoke(entry_command(entry), ["--help"])
    assert shown.exit_code == 0
    assert (entry_command(entry).help or "").split(".")[0].split("\n")[0][:40] in " ".join(shown.output.split())
    for name, option in options(entry).items():
        assert option.help, name
        assert option.show_default, name
        assert f"--{name}" in shown.output


def test_docs_describe_every_parameter_with_its_default() -> None:
    """The tables of three pages are the list of parameters, those of ``tune`` first; the others' are among them."""
    pages = PAGES["study"] + PAGES["limits"] + PAGES["report"]
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", pages, re.MULTILINE))
    parameters = ENTRY_POINTS["early_stop"]["parameters"] | ENTRY_POINTS["report"]["parameters"]
    assert rows == {name: str(parameter["default"]) for name, parameter in parameters.items()}
    assert list(rows)[: len(ENTRY_POINTS["tune"]["parameters"])] == list(ENTRY_POINTS["tune"]["parameters"])


def test_ci_runs_the_commands_of_the_readme() -> None:
    """What the README tells a newcomer to type is what CI types."""
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    ci = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    assert len(commands) == 2
    assert [line for line in commands if line not in ci] == []


def test_conda_environment_is_what_the_distribution_requires() -> None:
    """Both ways to install bring the same versions, and the bundle's own package is in neither."""
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    pip = next(item["pip"] for item in conda if isinstance(item, dict))
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    plugin = config["options"]["install_requires"].replace("mlflow-skinny", "mlflow").split()  # mlflow contains it
    extras = config["options.extras_require"]
    tests = set(extras["test"].split()) - {"mlflow-sysmetrics-bundle[bundle]"}
    assert sorted(pip) == sorted({*plugin, *extras["bundle"].split(), *tests})


def test_conda_environment_has_a_python_that_mlflow_reads() -> None:
    """For uv and virtualenv MLflow looks for one comparison; any other line it takes for no version."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    read = _PythonEnv.get_dependencies_from_conda_yaml(ROOT / "conda.yaml")
    assert read["python"] in SpecifierSet(config["options"]["python_requires"])
    assert f"python={read['python']}" in (ROOT / "conda.yaml").read_text()


# One after the other in one interpreter: what each brings, those after it may have.
IMPORTS: list[tuple[str, set[str]]] = [
    ("mlflow_sysmetrics, mlflow_sysmetrics.host, mlflow_sysmetrics.command.cli", {"mlflow", "ray", "psutil", "numpy"}),
    (
        "mlflow_sysmetrics.measurement, mlflow_sysmetrics.delivery.operations, mlflow_sysmetrics.limits",
        {"mlflow", "ray", "entrypoints"},
    ),
    ("entrypoints.tune, entrypoints.early_stop", {"mlflow", "ray"}),
    ("mlflow_sysmetrics.delivery.writer, mlflow_sysmetrics.logger", {"ray"}),
    ("entrypoints.tune, entrypoints.report", {"ray", "matplotlib", "statsmodels", "openml"}),
    ("mlflow_sysmetrics.ray_tune", set()),
]


def test_import_of_modules_leaves_heavy_ones_alone() -> None:
    """Each heavy dependency is imported only where the layout says, seen in a fresh interpreter.

    Nor does an import set anything for the program that it is part of, but for what Ray's own sets.
    """
    code = f"""
import json, os, sys
before, found = dict(os.environ), []
for modules, absent in {IMPORTS}:
    exec("import " + modules)
    changed = set(os.environ.items()) - set(before.items())
    set_here = sorted(name for name, value in changed if name.startswith({SETTINGS!r}) and name != "RAY_CLIENT_MODE")
    found.append([modules, sorted(absent & set(sys.modules)), set_here])
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[modules, [], []] for modules, _ in IMPORTS]


@pytest.mark.slow
def test_commands_for_any_project_run(empty_store: Path) -> None:
    """Those that are typed in the user's project, in one that knows nothing of us: its runs, and a server for them."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGES["plugin"], re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    typed = [line for line in lines if not line.startswith("pip ")]
    project = shutil.copytree(ROOT / "tests" / "support" / "plain_project", empty_store, dirs_exist_ok=True)
    environment = clean_environment(MLFLOW_SYSMETRICS_SPOOL=str(empty_store / "spool"))
    (server,) = [line for line in typed if line == "mlflow-sysmetrics ui"]
    port = str(free_port())
    for line in typed:
        if line != server:
            done = subprocess.run(line, shell=True, cwd=project, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
    line = [*server.split(), "--port", port, "--no-browser"]
    command = Command(line, cwd=project, output=empty_store / "output", env=environment)
    try:
        wait_until(lambda: answers(int(port)), LIMIT_S, "the server's answer")
        found = mlflow.MlflowClient(f"http://127.0.0.1:{port}").search_runs(["0"])
    finally:
        command.kill()
    assert [run.info.status for run in found] == ["FINISHED"] * sum(" run " in line for line in typed)
    assert all({"r2", "system/process_memory_mb"} <= set(run.data.metrics) for run in found)


EXAMPLES = re.findall(r"```python\n(.*?)```", PAGES["tune-scripts"], re.DOTALL)


def check_examples(store: mlflow.MlflowClient, output: str) -> None:
    """What they leave in MLflow, and have printed."""
    runs = store.search_runs([store.get_experiment_by_name("mine").experiment_id], "tags.`sysmetrics.kind` = 'trial'")
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    assert sorted(run.data.params["rate"] for run in runs) == ["0.1", "0.1", "1.0", "1.0"]
    cards = [run for run in runs if store.list_artifacts(run.info.run_id)]
    assert len(cards) == 2
    assert all("loss" in run.data.metrics for run in runs)
    assert re.search(r"^steps: \[3, 5\]$", output, re.MULTILINE)


def test_examples_of_the_pages_run(
    local_ray: None,
    store_in_use: mlflow.MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every Python block about Tune scripts runs as it stands, and leaves what it says in MLflow."""
    assert len(EXAMPLES) == 3
    monkeypatch.setenv("HOME", str(tmp_path))  # Tune's files are below it
    exec("".join(EXAMPLES), {"__name__": "__main__"})
    mlflow.set_tracking_uri(store_in_use.tracking_uri)  # Ray's callback has set it
    check_examples(store_in_use, capsys.readouterr().out)


ALONE = [
    pytest.param(block, id=f"{page} {place}")
    for page, text in {"README": README, **PAGES}.items()
    for place, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    if block not in EXAMPLES and page != "doors"
]


@pytest.mark.parametrize("block", ALONE)
def test_example_of_another_page_runs(
    store_in_use: mlflow.MlflowClient, capsys: pytest.CaptureFixture[str], block: str
) -> None:
    """Each Python block of the others as it stands, by itself; it logs what it names, or prints it without MLflow."""
    exec(block, {"__name__": "__main__"})
    runs = store_in_use.search_runs(["0"])
    assert [run.info.status for run in runs] == ["FINISHED"] * block.count("start_run")
    names = {"elapsed_s", *(f"phase/{phase}/elapsed_s" for phase in re.findall(r"\.phase\(\"(\w+)\"\)", block))}
    names |= {"system/process_memory_mb", "system/step_time_ms", "steps"} if ".timed(" in block else set()
    assert all(run.data.metrics.keys() >= names for run in runs)
    if not runs:
        assert re.search(r"peak memory \d+ MB, loading took \d", capsys.readouterr().out)


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGES["doors"], re.DOTALL))
def test_example_of_a_door_runs(store_in_use: mlflow.MlflowClient, block: str) -> None:
    """In at most 15 lines. What it costs is in its runs, which have ended."""
    for package in set(re.findall(r"^import (optuna|lightgbm|xgboost)$", block, re.MULTILINE)):
        pytest.importorskip(package)
    assert len(list(filter(None, block.splitlines()))) <= 15
    exec(block, {"__name__": "__main__"})
    wanted = "metrics.elapsed_s > 0 and metrics.peak_memory_mb > 0 and attributes.status != 'RUNNING'"
    wait_until(lambda: store_in_use.search_runs(["0"], wanted), LIMIT_S, "a run with what it costs")
    wait_until(lambda: not store_in_use.search_runs(["0"], "attributes.status = 'RUNNING'"), LIMIT_S, "the end of all")


@pytest.mark.slow
def test_benchmarks_can_be_started() -> None:
    """Nothing that they import is missing or has another name by now."""
    scripts = sorted(str(path) for path in (ROOT / "benchmarks").glob("*.py"))
    code = f"import runpy\nfor script in {scripts}: runpy.run_path(script, run_name='benchmark')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
