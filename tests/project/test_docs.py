"""What README, docs/ and MLproject tell to type is taken, what they name is there, and their Python blocks run."""

import contextlib
import importlib
import json
import re
import shlex

import click
import mlflow
import pytest
import yaml
from commands import ROOT, wait_until
from mlflow.cli import cli as mlflow_cli
from mlflow.utils.search_utils import SearchUtils
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_cli

from entrypoints.limits import costs
from entrypoints.models import scores
from entrypoints.options.kinds import AUTO
from mlflow_sysmetrics.command.cli import main as plugin_cli
from mlflow_sysmetrics.command.program import MeasuredProgram
from mlflow_sysmetrics.delivery import writer_for

LIMIT_S = 60.0
SCORE = scores.find(None, "regression")
FILES = {path.stem: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
PAGES = {page: path.read_text() for page, path in FILES.items()}
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
PROGRAMS = {"mlflow": mlflow_cli, "mlflow-sysmetrics": plugin_cli, "ray": ray_cli}


def blocks(language, page):
    """The blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


def entry_command(entry):
    """The click command of an entry point."""
    name = "tune" if entry == "early_stop" else entry
    return getattr(importlib.import_module(f"entrypoints.{name}"), name)


def test_ci_types_both_commands_of_the_readme():
    """With nothing left out: the main job, and the tests."""
    commands = re.findall(r"^python3 -m venv .*$", PAGES["README"], re.MULTILINE)
    typed = (ROOT / ".ci/run").read_text()
    assert len(commands) == 2
    assert all(f"({command})" in typed for command in commands)


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_mlproject_declares_options_with_their_defaults(entry):
    """`mlflow run` and the command that it starts begin from the same values; `early_stop` is `tune` with limits."""
    parameters = {name: str(parameter["default"]) for name, parameter in ENTRY_POINTS[entry]["parameters"].items()}
    command = entry_command(entry)
    usual = {str(option.name): str(option.default) for option in command.params}
    if entry == "early_stop":
        usual["limits"] = AUTO
    assert parameters.items() <= usual.items()
    words = [word for name in parameters for word in (f"--{name}", f"{{{name}}}")]
    assert ENTRY_POINTS[entry]["command"].split() == ["python", "-m", f"entrypoints.{command.name}", *words]


def test_docs_describe_every_parameter_with_its_default():
    """The tables of two pages are the list of parameters, those of ``tune`` first; the others' are among them."""
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", PAGES["study"] + PAGES["report"], re.MULTILINE))
    tune, report = entry_command("tune").params, entry_command("report").params
    assert rows == {str(option.name): str(option.default) for option in (*tune, *report)}
    assert list(rows)[: len(tune)] == [option.name for option in tune]


def commands_in(text):
    """The commands of ``PROGRAMS``, without what stands before and after each on its line; placeholders are filled."""
    filled = re.sub(r"<\w[\w ]*>", "filled", text).replace(" ...", "")
    parts = re.split(r"\n| && | >|; | \| |(?<=-- )(?=mlflow)", filled)
    found = [re.match(rf"\s*(?:\w+=\S+ |- |entrypoint: |\S+/)*((?:{'|'.join(PROGRAMS)}) \w.*)", part) for part in parts]
    return [command[1].strip() for command in found if command]


def commands_of_pages():
    """Each command, and whether it is in a block; in a sentence its arguments may be left out."""
    text = "\n".join(PAGES.values()).replace("\\\n", "")
    in_blocks = re.findall(r"^```(?:sh|text|yaml)$(.*?)^```", text, re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    in_sentences = commands_in("\n".join(" ".join(span.split()) for span in spans))
    return dict.fromkeys(in_sentences, False) | dict.fromkeys(commands_in("".join(in_blocks)), True)


COMMANDS = commands_of_pages()


def taken(command, words):
    """What the subcommand that words name would be called with. Raises what click raises."""
    while isinstance(command, click.Group):
        command, *words = command.get_command(click.Context(command), words[0]), *words[1:]
    return command.make_context(command.name, words).params


@pytest.mark.parametrize("line", COMMANDS)
def test_command_on_a_page_is_taken(line):
    """By the program itself, which is not run. A project's parameters are also taken by the entry point's command."""
    program, *words = shlex.split(line, comments=True)
    with contextlib.nullcontext() if COMMANDS[line] else contextlib.suppress(click.MissingParameter):
        given = taken(PROGRAMS[program], words)
        if line.startswith("mlflow run "):
            parameters = dict(each.split("=", 1) for each in given["param_list"])
            options = [word for name, value in parameters.items() for word in (f"--{name}", value)]
            costs.parse_limits(taken(entry_command(given["entry_point"]), options).get("limits"), SCORE)
            MeasuredProgram(**json.loads(given["backend_config"] or "{}"))
        elif line.startswith("mlflow-sysmetrics run "):
            MeasuredProgram(given["limits"])


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page):
    """To files, and to sections by the names that GitHub and GitLab make of their headings. Its scripts are there."""
    for link, section in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", PAGES[page]):
        target = FILES[page].parent / link if link else FILES[page]
        assert target.exists(), link
        if section:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert section in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert all((ROOT / script).exists() for script in re.findall(r"`(benchmarks/\w+\.py)`", PAGES[page]))


@pytest.mark.parametrize("condition", "".join(blocks("text", "scale-out")).splitlines())
def test_filter_for_many_trials_is_one_that_mlflow_takes(condition):
    """Beside the study's own condition."""
    assert len(SearchUtils.parse_search_filter(f"tags.mlflow.parentRunId = 's' and {condition}")) > 1


def test_ray_up_takes_the_example():
    """Ray's own schema of such files has nothing against it."""
    validate_config(prepare_config(yaml.safe_load(blocks("yaml", "scale-out")[0])))


@pytest.mark.slow
def test_blocks_about_tune_scripts_run(local_ray, store_in_use, tmp_path, monkeypatch, capsys):
    """As they stand, one after the other; they leave what they say in MLflow."""
    monkeypatch.setenv("HOME", str(tmp_path))  # Tune's files are below it
    exec("".join(blocks("python", "tune-scripts")), {"__name__": "__main__"})
    mlflow.set_tracking_uri(store_in_use.tracking_uri)  # Ray's callback has set it
    mine = store_in_use.get_experiment_by_name("mine").experiment_id
    runs = store_in_use.search_runs([mine], "tags.`sysmetrics.kind` = 'trial'")
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 5 + ["KILLED"]
    assert sum(bool(store_in_use.list_artifacts(run.info.run_id)) for run in runs) == 2
    assert re.search(r"^steps: \[20, 1?\d\]$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.slow
def test_block_about_a_study_from_python_runs(store_in_use, monkeypatch):
    """It ends with the model, its score, and the costs of all trials."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_in_use.tracking_uri)
    (block,) = blocks("python", "study")
    found = {"__name__": "__main__"}
    exec(block, found)
    trials, study, model = found["trials"], found["study"], found["model"]
    assert len(trials) == 8
    assert study.data.metrics["best_val_rmse"] == pytest.approx(trials["val_rmse"].min())
    assert len(model.predict(model.input_example)) == len(model.input_example)


OTHERS = [page for page in PAGES if page not in ("integrations", "study", "tune-scripts")]


@pytest.mark.parametrize("block", [block for page in OTHERS for block in blocks("python", page)])
def test_block_of_another_page_runs(store_in_use, capsys, block):
    """As it stands, by itself; it logs what it names, or prints it without MLflow."""
    exec(block, {"__name__": "__main__"})
    runs = store_in_use.search_runs(["0"])
    assert [run.info.status for run in runs] == ["FINISHED"] * block.count("start_run")
    names = {"elapsed_s", *(f"phase/{phase}/elapsed_s" for phase in re.findall(r"\.phase\(\"(\w+)\"\)", block))}
    assert all(run.data.metrics.keys() >= names for run in runs)
    if not runs:
        assert re.search(r"peak memory \d+ MB, loading took \d", capsys.readouterr().out)


@pytest.mark.parametrize("block", blocks("python", "integrations"))
def test_example_of_an_integration_runs(store_in_use, block, monkeypatch):
    """Here with less to do. What it costs is in its runs, which have ended."""
    monkeypatch.setattr(writer_for(store_in_use.tracking_uri), "ask_every_s", 0.1)
    for package in set(re.findall(r"^import (optuna|lightgbm|xgboost)$", block, re.MULTILINE)):
        pytest.importorskip(package)
    if "mlflow_sysmetrics.sklearn" in block:
        pytest.importorskip("sklearn.callback", reason="scikit-learn has no callbacks")
    for much, little in (("(2000, 20", "(200, 20"), ("n_trials=20", "n_trials=4"), (", 80, 320]", "]")):
        block = block.replace(much, little)
    exec(block, {"__name__": "__main__"})
    wanted = "metrics.elapsed_s > 0 and metrics.peak_memory_mb > 0 and attributes.status != 'RUNNING'"
    wait_until(lambda: store_in_use.search_runs(["0"], wanted), LIMIT_S, "a run with what it costs")
    wait_until(lambda: not store_in_use.search_runs(["0"], "attributes.status = 'RUNNING'"), LIMIT_S, "the end of all")
