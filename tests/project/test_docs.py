"""What README and the pages of docs/ tell to type is taken, and what they name is there."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from commands import ROOT, store_uri
from entry_points import ENTRY_POINTS, entry_command
from mlflow import MlflowClient
from mlflow.cli import cli as mlflow_cli
from ray.scripts.scripts import cli as ray_cli

from entrypoints.settings import AUTO, DEFAULT_CRITERIA
from mlflow_sysmetrics.command.cli import main as plugin_cli
from mlflow_sysmetrics.command.supervisor import Settings
from mlflow_sysmetrics.limits import Criteria

PAGES = [path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
SCALE_OUT = (ROOT / "docs" / "scale-out.md").read_text()
FILTERS = [line for block in re.findall(r"```text\n(.*?)```", SCALE_OUT, re.DOTALL) for line in block.splitlines()]
PROGRAMS: dict[str, click.Command] = {"mlflow": mlflow_cli, "mlflow-sysmetrics": plugin_cli, "ray": ray_cli}


def test_no_part_uses_ray_data() -> None:
    """As the page on a study says."""
    sources = [path for package in ("entrypoints", "mlflow_sysmetrics") for path in (ROOT / package).rglob("*.py")]
    assert [path for path in sources if re.search(r"\bray\.data\b|from ray import .*\bdata\b", path.read_text())] == []


def commands_in(text: str) -> list[str]:
    """The commands of ``PROGRAMS``, without what stands before and after each on its line; placeholders are filled."""
    filled = re.sub(r"<\w[\w ]*>", "filled", text).replace(" ...", "")
    parts = [part.strip() for line in filled.splitlines() for part in re.split(r" && | >|; |(?<=-- )(?=mlflow)", line)]
    found = [re.match(rf"(?:\w+=\S+ |- |entrypoint: |\S+/)*((?:{'|'.join(PROGRAMS)}) \w.*)", part) for part in parts]
    return [each[1] for each in found if each]


def commands_of_pages() -> dict[str, bool]:
    """Each command, and whether it is in a block; in a sentence its arguments may be left out."""
    text = "\n".join(PAGES).replace("\\\n", "")
    blocks = re.findall(r"^```(?:sh|text|yaml)$(.*?)^```", text, re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    in_sentences = commands_in("\n".join(" ".join(span.split()) for span in spans))
    return dict.fromkeys(in_sentences, False) | dict.fromkeys(commands_in("".join(blocks)), True)


COMMANDS = commands_of_pages()


def taken(command: click.Command, words: list[str]) -> dict[str, Any]:
    """What the subcommand that words name would be called with. Raises what click raises."""
    while isinstance(command, click.Group):
        command, *words = command.commands[words[0]], *words[1:]
    return command.make_context(command.name, words).params


@pytest.mark.parametrize("line", COMMANDS)
def test_command_on_a_page_is_taken(line: str) -> None:
    """By the program itself, which is not run. A project's parameters are also taken by the entry point's command."""
    program, *words = shlex.split(line, comments=True)
    with contextlib.nullcontext() if COMMANDS[line] else contextlib.suppress(click.MissingParameter):
        given = taken(PROGRAMS[program], words)
        if line.startswith("mlflow run "):
            parameters = dict(each.split("=", 1) for each in given["param_list"])
            assert parameters.keys() <= ENTRY_POINTS[given["entry_point"]]["parameters"].keys()
            options = [word for name, value in parameters.items() for word in (f"--{name}", value)]
            criteria = taken(entry_command(given["entry_point"]), options).get("criteria", AUTO)
            Criteria.parse(DEFAULT_CRITERIA if criteria == AUTO else criteria)
            Settings.of(**{"interval_s": 0.1, "groups": "process"} | json.loads(given["backend_config"] or "{}"))
        elif line.startswith("mlflow-sysmetrics run "):
            Settings.of(given["interval_s"], given["groups"], given["criteria"])


def test_commands_of_every_kind_are_found() -> None:
    """In blocks of each language, over several lines, and after what is set for them."""
    assert {"mlflow run", "mlflow-sysmetrics doctor", "ray stop"} <= COMMANDS.keys()
    assert COMMANDS["mlflow run https://git.example/bundle.git -e tune -P dataset=red_wine --env-manager local"]
    assert any("MLPClassifier " in line and "-P space=" in line for line in COMMANDS)


def test_every_parameter_named_on_a_page_exists() -> None:
    """Whether in a command or alone: what is copied is not refused."""
    named = set(re.findall(r"-P (\w+)=", "".join(PAGES))) - {"name"}  # of `-P name=value`
    assert named
    assert named <= {name for entry in ENTRY_POINTS.values() for name in entry["parameters"]}


@pytest.fixture(scope="module")
def client(module_store: Path) -> MlflowClient:
    """Of a store with a trial that no filter but those of its own figures finds."""
    client = MlflowClient(store_uri(module_store))
    run = client.create_run("0", tags={"mlflow.parentRunId": "s", "sysmetrics.feasible": "true"})
    client.log_metric(run.info.run_id, "val_rmse", 0.65)
    client.log_metric(run.info.run_id, "peak_memory_mb", 200.0)
    return client


@pytest.mark.parametrize("condition", FILTERS)
def test_filter_for_many_trials_is_one_that_mlflow_takes(client: MlflowClient, condition: str) -> None:
    """Beside the study's own condition."""
    found = client.search_runs(["0"], f"tags.mlflow.parentRunId = 's' and {condition}")
    assert len(found) == ("val_rmse" in condition or "feasible" in condition)


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_files_that_a_page_links_to_are_there(page: str) -> None:
    """And the scripts that it names."""
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("http") or (ROOT / page).parent.joinpath(link).exists(), link
    for script in re.findall(r"`(benchmarks/\w+\.py)`", text):
        assert (ROOT / script).exists(), script
