"""`mlflow-sysmetrics check`: real programs in pairs, its exit code, what it prints, and what it leaves in MLflow."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import mlflow
import numpy as np
import pytest
from cases import cases, rows, tables
from click.testing import CliRunner
from commands import Command, clean_environment, store_uri, wait_until
from machines import lay
from mlflow import MlflowClient
from mlflow.artifacts import load_dict

from mlflow_gate.check.programs import Program, Programs, why_in_turn
from mlflow_gate.check.verdict import CPU, ComparedMetric, cpu_of_phase
from mlflow_sysmetrics.command.ask_store import StoreError
from mlflow_sysmetrics.command.cli import main
from mlflow_sysmetrics.delivery import RunRef

ANY_CPU = ("--tolerate", "cpu_seconds=1000%")  # programs this short differ by more than any check could judge
OF_CHECKS = "tags.`sysmetrics.kind` = 'check'"
GIT = ("git", "-c", "user.name=x", "-c", "user.email=x@x")


def program(megabytes):
    """One that is told the number of its pair, twice."""
    told = "import os, sys; assert sys.argv[1] == os.environ['SYSMETRICS_PAIR']"
    work = f"kept = b'x' * {megabytes}_000_000; sum(range(3_000_000))"
    return [sys.executable, "-c", f"{told}; {work}", "{pair}"]


@pytest.fixture
def check(store_in_use):
    """Run a check to its end."""

    def check(*arguments, code):
        result = CliRunner().invoke(main, ["check", *ANY_CPU, *arguments])
        assert result.exit_code == code, result.output
        assert not isinstance(result.exception, Exception)
        return result

    return check


def test_program_that_takes_more_memory_is_worse_and_mlflow_has_all_of_it(check, store_in_use):
    options = ("--baseline-command", shlex.join(program(40)), "--higher", "peak_rss_mb", "--format", "json")
    said = json.loads(check(*options, "--", *program(50), code=1).stdout)
    verdicts = {metric["name"]: metric["verdict"] for metric in said["metrics"]}
    assert verdicts["peak_memory_mb"] == "worse"
    assert verdicts["peak_rss_mb"] == "better"  # where higher is better, as we have said here
    rss_mb = said["runs"]["candidate"]["peak_rss_mb"]
    grown_mb = np.subtract(rss_mb, said["runs"]["baseline"]["peak_rss_mb"])
    assert grown_mb == pytest.approx([10] * said["pairs"], abs=1)
    (run,) = store_in_use.search_runs(["0"], OF_CHECKS)
    assert run.info.status == "FAILED"  # no green tick where something is worse
    assert run.data.tags["sysmetrics.verdict.peak_memory_mb"] == "worse"
    assert load_dict(f"{run.info.artifact_uri}/check.json") == said
    of_pairs = "tags.`sysmetrics.side` = 'candidate' and tags.`sysmetrics.pair` != '0'"  # 0 is the warm-up
    below = store_in_use.search_runs(["0"], f"tags.mlflow.parentRunId = '{run.info.run_id}' and {of_pairs}")
    assert sorted(each.data.metrics["peak_rss_mb"] for each in below) == sorted(rss_mb)


# Starts workers that hold memory at once. Nobody waits for them, as for those of Ray: the kernel tells no parent of it.
WORKERS = """
import os, sys, time
number, megabytes = map(int, sys.argv[1:])
ready, tell = os.pipe()
held, release = os.pipe()
for _ in range(number):
    if os.fork() == 0:
        os.close(release)
        kept = bytearray(megabytes * 1_000_000)
        while time.process_time() < 0.2: pass
        os.write(tell, b".")
        os.read(held, 1)
        os._exit(0)
for _ in range(number):
    os.read(ready, 1)
time.sleep(0.5)
"""


def test_costs_are_those_of_all_processes(store_in_use, tmp_path):
    workers = [sys.executable, "-c", WORKERS]
    one = Program("baseline", [*workers, "1", "80"], tmp_path, os.environ)
    four = Program("candidate", [*workers, "4", "40"], tmp_path, os.environ)
    parent = RunRef(mlflow.get_tracking_uri(), "0", store_in_use.create_run("0").info.run_id)
    of_one, of_four = Programs([one, four]).run(parent, 1)
    assert 80 < of_one["peak_rss_mb"] < 120
    assert 40 < of_four["peak_rss_mb"] < 80
    assert 160 < of_four["peak_memory_mb"] < 240
    assert of_four["cpu_seconds"] > 0.5


LOGS = """
import sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
mlflow.log_metric("rmse", 0.5)
"""


@pytest.fixture
def logging(store_in_use, tmp_path):
    """One run of a program that logs a metric in a store of its own; what is known of both sides."""
    store = f"sqlite:///{tmp_path / 'own.db'}"
    mlflow.MlflowClient(store).search_experiments()
    one = Program("baseline", [sys.executable, "-c", LOGS, store], tmp_path, os.environ)
    programs = Programs([one], metrics=[ComparedMetric("rmse")])
    parent = RunRef(mlflow.get_tracking_uri(), "0", store_in_use.create_run("0").info.run_id)
    return lambda pair: programs.run(parent, pair)


def test_metric_is_read_in_the_store_that_the_program_has_chosen(logging):
    (measured,) = logging(1)
    assert measured["rmse"] == 0.5


def test_pair_whose_metrics_cannot_be_read_tells_its_costs_alone(logging, monkeypatch):
    """In the warm-up that is the end."""
    monkeypatch.setattr("mlflow_gate.check.programs.ask_store", Mock(side_effect=StoreError("no answer")))
    (measured,) = logging(1)
    assert measured.keys() == {"cpu_seconds", "peak_rss_mb", "peak_memory_mb", "elapsed_s"}
    with pytest.raises(StoreError):
        logging(0)


HAS_A_PHASE = """
import sys
import mlflow
from mlflow_sysmetrics import SystemMetricsLogger
with mlflow.start_run(), SystemMetricsLogger() as logger:
    with logger.phase(sys.argv[1]):
        while logger.summary.get("cpu_seconds", 0.0) < 0.1: sum(range(100_000))
"""


@cases("phases, compared", [(("train", "train"), 1), (("train", "load"), 0)])
def test_cpu_time_of_the_training_is_compared_where_both_sides_record_that_phase(store_in_use, phases, compared):
    programs = []
    for side, phase in zip(("baseline", "candidate"), phases, strict=True):
        programs.append(Program(side, [sys.executable, "-c", HAS_A_PHASE, phase], Path.cwd(), os.environ))
    both = Programs(programs, metrics=[CPU], phase=cpu_of_phase("train"))
    parent = RunRef(mlflow.get_tracking_uri(), "0", store_in_use.create_run("0").info.run_id)
    both.warm_up(parent)
    assert [metric.name for metric in both.metrics[1:]] == ["phase/train/cpu_seconds"] * compared
    if compared:
        for measured in both.run(parent, 1):
            assert 0.05 < measured["phase/train/cpu_seconds"] < measured["cpu_seconds"] - 0.1


def test_error_of_the_check_itself_is_not_taken_for_worse(check, monkeypatch):
    monkeypatch.setattr("mlflow_gate.check.two_programs.compare", Mock(side_effect=KeyError("ours")))
    said = check("--baseline-command", "true", "--", "true", code=3).stderr
    assert "Traceback" in said
    assert said.endswith("the check itself has failed, so nothing is known: KeyError('ours')\n")


@cases("costs, how", tables(__file__, "cases.yaml")["programs at once"])
def test_programs_run_at_once_where_the_machine_has_room_for_both(costs, how):
    used = {"peak_rss_mb": 1.0, "peak_memory_mb": 1.0, "cpu_seconds": 1.0, "elapsed_s": 10.0}
    assert Programs([], why_in_turn([used, used | costs], free_mb=100, cores=4)).how == how


def test_program_that_is_the_same_passes(check, store_in_use, tmp_path, monkeypatch):
    """As Markdown, too, and although the store of artifacts does not take the numbers."""
    artifacts = tmp_path / "artifacts"
    artifacts.touch()  # which is no folder
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", store_in_use.create_experiment("checks", artifacts.as_uri()))
    options = ("--baseline-command", shlex.join(program(40)), "--format", "markdown")
    result = check(*options, "--", *program(40), code=0)
    assert "check.json is missing in the run of the check. " in result.stderr
    assert result.stdout.startswith("**passes: nothing is worse**\n\n- cpu_seconds: ")


def commit_all(folder):
    """In the repository of a folder, which is made if there is none."""
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "a change"]):
        subprocess.run([*GIT, *words], cwd=folder, check=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A program in git, the current folder, with data and a build that git does not track and a change to commit."""
    takes = "kept = b'x' * size.MB * 1_000_000"
    code = f"import size, os; open('data.txt').read(); assert not os.path.exists('build')\n{takes}"
    files = {"size.py": "MB = 40", "scripts/train.py": f"import json, size; {takes}", "train.py": code, "new.py": code}
    lay(tmp_path, files | {".gitignore": "data.txt\n__pycache__\nbuild\nnew.py\n"})
    commit_all(tmp_path)
    lay(tmp_path, {"data.txt": "1", "build/lib.py": "", "size.py": "MB = 50"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ".")
    return tmp_path


def test_commit_is_compared_with_what_is_not_committed(check, repository):
    """Each side imports its own code; nothing is left in the repository."""
    new = ("--baseline-commit", "HEAD", "--", sys.executable, "new.py")  # which is not in git
    assert check(*new, code=1).stdout.startswith("worse: peak_rss_mb")
    assert not (repository / ".git/worktrees").exists()


@cases(
    "name, code",
    {"a copy": ("size.py", "MB = 50"), "editable": ("sitecustomize.py", "import sys; sys.path.append({!r})")},
)
def test_commit_is_refused_where_both_sides_import_one_code(
    check, repository, tmp_path_factory, monkeypatch, name, code
):
    """As a copy, or from the repository itself by what an editable install does as Python starts."""
    site = tmp_path_factory.mktemp("site")
    (site / name).write_text(code.format(str(repository)))
    script = ("--baseline-commit", "HEAD", "--", sys.executable, "scripts/train.py")
    monkeypatch.setenv("PYTHONPATH", str(site))
    assert "both sides import size from" in check(*script, code=2).stderr
    monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}{site}")
    assert check(*script, code=1).stdout.startswith("worse: peak_rss_mb")


def test_monorepo_says_the_line_to_type_before_a_training_ends(check, tmp_path, tmp_path_factory, monkeypatch):
    """A service and a library in folders of their own, installed so that both sides import them from the clone."""
    library = "libs/common/src/common/cost.py"
    train = "import pathlib, common.cost, a.names, time\nkept = b'x' * common.cost.MB * 1_000_000\n"
    waits = "while not pathlib.Path('goes_on').exists(): time.sleep(0.1)"
    files = {library: "MB = 40", "libs/common/pyproject.toml": "", "services/a/pyproject.toml": ""}
    files |= {"services/a/src/a/names.py": "", "services/a/train.py": train + waits}
    lay(tmp_path, files)
    commit_all(tmp_path)
    site = tmp_path_factory.mktemp("site")
    copied = {"common/cost.py": "MB = 40"}  # as pip install puts it there
    editable = f"import sys; sys.path.append({str(tmp_path / 'services/a/src')!r})"
    lay(site, copied | {"sitecustomize.py": editable})
    monkeypatch.chdir(tmp_path / "services/a")
    monkeypatch.setenv("PYTHONPATH", str(site))
    lay(tmp_path, {library: "MB = 50"})
    script = ("--baseline-commit", "HEAD", "--", sys.executable, "train.py")
    said = check(*script, code=2).stderr
    path = said.partition("PYTHONPATH=")[2].partition(", or install")[0]
    assert path == os.pathsep.join(["src", "../../libs/common/src", str(site)])
    (tmp_path / "services/a/goes_on").touch()
    monkeypatch.setenv("PYTHONPATH", path)
    assert check(*script, code=1).stdout.startswith("worse: peak_rss_mb")


def test_clone_of_a_pipeline_has_branches_of_origin_and_a_shallow_one_is_named(
    check, repository, tmp_path_factory, monkeypatch
):
    """The command in its message makes the clone a whole one."""
    clone = tmp_path_factory.mktemp("clone")
    subprocess.run([*GIT, "checkout", "-q", "-b", "base"], check=True)
    commit_all(repository)
    subprocess.run([*GIT, "checkout", "-q", "-b", "topic"], check=True)
    lay(repository, {"size.py": "MB = 60"})
    commit_all(repository)
    subprocess.run([*GIT, "clone", "-q", "--depth", "1", repository.as_uri(), str(clone)], check=True)
    monkeypatch.chdir(clone)
    (clone / "data.txt").touch()
    train = ("--baseline-commit", "base", "--", sys.executable, "train.py")
    said = check(*train, code=2).stderr
    assert "base: git does not know this commit; this clone is shallow: check out with fetch-depth: 0" in said
    subprocess.run(said.partition("or type ")[2], shell=True, check=True)
    assert check(*train, code=1).stdout.startswith("worse: peak_rss_mb")


def test_commit_has_its_submodules(check, repository):
    """Each side those of its commit, and the candidate what is not committed in them, too."""
    library = repository / "library"
    lay(library, {"amount.py": "MB = 40"})
    commit_all(library)
    lay(repository, {"train.py": "import library.amount; kept = b'x' * library.amount.MB * 1_000_000"})
    commit_all(repository)
    lay(library, {"amount.py": "MB = 50"})
    train = ("--baseline-commit", "HEAD", "--", sys.executable, "train.py")
    assert check(*train, code=1).stdout.startswith("worse: peak_rss_mb")
    assert not (library / ".git/worktrees").exists()


@cases("arguments, code, why", rows(__file__, "refused_programs.txt"))
def test_mistake_or_failure_is_a_short_sentence_with_a_code(check, repository, store_in_use, arguments, code, why):
    """And no run of a check is left that looks as if nothing were worse."""
    line = shlex.split(arguments.format(folder=repository))
    said = check(*line, code=int(code)).stderr
    assert why in " ".join(said.split())
    assert len(said) < 3000
    assert {run.info.status for run in store_in_use.search_runs(["0"], OF_CHECKS)} <= {"FAILED"}


# In the third pair it says that it is there, and hangs.
HANGS = """
import os, sys, time
if os.environ["SYSMETRICS_PAIR"] == "3":
    open(sys.argv[1], "a").write(".")
    time.sleep(600)
"""


def test_ctrl_c_in_the_third_pair_leaves_no_process(empty_store):
    there = empty_store / "there"
    there.touch()
    hangs = [sys.executable, "-c", HANGS, str(there)]
    line = ["mlflow-sysmetrics", "check", *ANY_CPU, "--baseline-command", shlex.join(hangs), "--", *hangs]
    checking = Command(line, cwd=empty_store, output=empty_store / "output", env=clean_environment(), warm=True)
    wait_until(lambda: there.read_text() == "..", 300.0, "the third pair")
    checking.signal(signal.SIGINT, group=True)
    assert checking.wait().exit_code == 130
    assert checking.processes() == {}
    (run,) = MlflowClient(store_uri(empty_store)).search_runs(["0"], OF_CHECKS)
    assert run.info.status == "KILLED"
