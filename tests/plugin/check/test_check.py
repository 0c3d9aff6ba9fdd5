"""`mlflow-sysmetrics check`: real programs in pairs, its exit code, what it prints, and what it leaves in MLflow."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result
from commands import ROOT, clean_environment, store_uri, wait_until
from mlflow import MlflowClient
from mlflow.artifacts import load_dict
from saved_views import listed

from mlflow_sysmetrics.check import verdict
from mlflow_sysmetrics.command.cli import main

LIMIT_S = 300.0
ANY_CPU = ("--tolerate", "cpu_seconds=1000%")  # programs this short differ by more than any check could judge


def program(megabytes: int, more: str = "") -> list[str]:
    return [sys.executable, "-c", f"kept = b'x' * {megabytes}_000_000; sum(range(3_000_000)); {more}"]


def quoted(command: list[str]) -> str:
    return " ".join([command[0], command[1], f'"{command[2]}"'])


@pytest.fixture
def check(store_in_use: MlflowClient) -> Callable[..., Result]:
    """Run a check to its end."""

    def check(*arguments: str, code: int) -> Result:
        result = CliRunner().invoke(main, ["check", *ANY_CPU, *arguments])
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return check


def test_program_that_takes_more_memory_is_worse_and_mlflow_has_all_of_it(
    check: Callable[..., Result], store_in_use: MlflowClient
) -> None:
    said = json.loads(
        check("--baseline-command", quoted(program(40)), "--format", "json", "--", *program(50), code=1).stdout
    )
    memory = next(each for each in said["metrics"] if each["name"] == "peak_rss_mb")
    assert (said["verdict"], memory["verdict"]) == ("worse", "worse")
    runs = said["runs"]
    assert len(runs["baseline"]["peak_rss_mb"]) == len(runs["candidate"]["cpu_seconds"]) == said["pairs"]
    assert all(
        after - before == pytest.approx(10, abs=1)
        for before, after in zip(runs["baseline"]["peak_rss_mb"], runs["candidate"]["peak_rss_mb"], strict=True)
    )
    (run,) = store_in_use.search_runs(["0"], "tags.`sysmetrics.kind` = 'check'")
    assert run.info.status == "FINISHED"
    assert run.data.tags["sysmetrics.verdict"] == run.data.tags["sysmetrics.verdict.peak_rss_mb"] == "worse"
    assert run.data.tags["mlflow.note.content"].startswith("**worse: peak_rss_mb")
    assert run.data.metrics["pairs"] == said["pairs"]
    assert load_dict(f"{run.info.artifact_uri}/check.json") == said
    below = store_in_use.search_runs(["0"], f"tags.mlflow.parentRunId = '{run.info.run_id}'")
    pairs = [(each.data.tags["sysmetrics.side"], int(each.data.tags["sysmetrics.pair"])) for each in below]
    numbers = range(said["pairs"] + 1)
    assert sorted(pairs) == sorted((side, pair) for side in ("baseline", "candidate") for pair in numbers)
    assert {each.info.status for each in below} == {"FINISHED"}
    for name in ("cpu_seconds", "peak_rss_mb", "peak_memory_mb"):
        logged = {pair: each.data.metrics[name] for pair, each in zip(pairs, below, strict=True) if pair[1]}
        assert logged == {(side, pair): values[name][pair - 1] for side, values in runs.items() for pair in numbers[1:]}
    (view,) = listed(store_in_use, "0").values()
    assert view.state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "sysmetrics.side"}]
    assert [card["metricKey"] for card in view.cards["Baseline and candidate"]] == [
        "cpu_seconds",
        "peak_rss_mb",
        "peak_memory_mb",
    ]


def test_memory_of_a_process_that_nobody_waits_for_counts(check: Callable[..., Result]) -> None:
    """As those of Ray: the kernel tells no parent of it."""
    child = "import time; kept = b'x' * 60_000_000; time.sleep(0.7)"
    forgets = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); ended, held = os.pipe(); "
    forgets += "os.set_inheritable(held, True); "
    forgets += f"os.spawnl(os.P_NOWAIT, sys.executable, sys.executable, '-c', {child!r}); os.close(held); "
    forgets += "os.read(ended, 1)"
    command = [sys.executable, "-c", forgets]
    assert check("--baseline-command", quoted(program(40)), "--", *command, code=1).stdout.startswith("worse: peak_rss")


def test_workers_that_run_at_once_take_more_memory_than_one_after_another(check: Callable[..., Result]) -> None:
    """Although none of them takes more than before."""
    work = """import os, time
for first in range(0, 4, {0}):
    for number in range({0}):
        if os.fork() == 0:
            kept = bytearray(40_000_000)
            time.sleep(0.2)
            os._exit(0)
    for number in range({0}):
        os.wait()
"""
    one, four = ([sys.executable, "-c", work.format(number)] for number in (1, 4))
    said = check("--baseline-command", shlex.join(one), "--", *four, code=1).stdout
    assert said.startswith("worse: peak_memory_mb\n")


def test_program_that_is_the_same_passes(check: Callable[..., Result]) -> None:
    """As Markdown, too."""
    both = ("--baseline-command", quoted(program(40)), "--format", "markdown")
    said = check(*both, "--", *program(40), code=0).stdout
    assert said.startswith("**passes: nothing is worse")
    assert "cpu_seconds" in said


def test_what_cannot_be_judged_has_a_code_of_its_own_unless_it_is_allowed(
    check: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that is now the one's and now the other's; here the first look is the last."""
    monkeypatch.setattr(verdict, "LOOKS", verdict.LOOKS[:1])
    turn = "import os; turn = (int(os.environ['SYSMETRICS_PAIR']) + {}) % 2; kept = b'x' * (30 + 60 * turn) * 1_000_000"
    one, other = ([sys.executable, "-c", turn.format(side)] for side in (0, 1))
    both = ("--baseline-command", quoted(one))
    assert "would be found" in check(*both, "--", *other, code=3).stdout
    assert "is allowed" in check(*both, "--allow-unjudged", "--", *other, code=0).stderr


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in git, the current folder, with data and a build that git does not track and a change to commit."""
    (tmp_path / "size.py").write_text("MB = 40")
    code = "import size, os; open('data.txt').read(); assert not os.path.exists('build')\n"
    for name in ("train.py", "new.py"):
        (tmp_path / name).write_text(code + "kept = b'x' * size.MB * 1_000_000")
    (tmp_path / ".gitignore").write_text("data.txt\n__pycache__\nbuild\nnew.py\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    (tmp_path / "data.txt").write_text("1")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "lib.py").touch()
    (tmp_path / "size.py").write_text("MB = 50")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ".")
    return tmp_path


def test_commit_is_compared_with_what_is_not_committed(check: Callable[..., Result], repository: Path) -> None:
    """Each side imports its own code; nothing is left in the repository."""
    said = check("--baseline-commit", "HEAD", "--", sys.executable, "new.py", code=1).stdout  # which is not in git
    assert said.startswith("worse: peak_rss_mb")
    absolute = ["--baseline-commit", "HEAD", "--", sys.executable, str(repository / "train.py")]
    assert "the candidate's on both sides" in check(*absolute, code=2).stderr
    left = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    assert len(left.stdout.splitlines()) == 1
    assert "invalid reference: HEAT" in check("--baseline-commit", "HEAT", "--", "true", code=2).stderr
    broken = ("--baseline-commit", "HEAD", "--setup", "echo no such wheel; exit 7", "--", "true")
    assert "exit code 7: no such wheel" in check(*broken, code=3).stderr


def test_commit_is_refused_where_both_sides_would_import_one_code(
    check: Callable[..., Result],
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = tmp_path_factory.mktemp("site")
    (installed := site / "size-1.dist-info").mkdir()
    (installed / "METADATA").write_text("Name: size\nVersion: 1\n")
    (installed / "direct_url.json").write_text(json.dumps({"url": repository.as_uri(), "dir_info": {"editable": True}}))
    monkeypatch.syspath_prepend(site)
    monkeypatch.delenv("PYTHONPATH")
    assert "give --setup" in check("--baseline-commit", "HEAD", "--", "true", code=2).stderr


def test_program_that_fails_says_which_and_why(check: Callable[..., Result], store_in_use: MlflowClient) -> None:
    fails = [sys.executable, "-c", "print('no data'); raise SystemExit(4)"]
    said = check("--baseline-command", quoted(program(1)), "--", *fails, code=1).stderr
    assert "the candidate failed with exit code 4" in said
    assert "no data" in said
    assert "the baseline failed" in check("--baseline-command", quoted(fails), "--", *program(1), code=3).stderr
    assert "No such file" in check("--baseline-command", "no_such_program", "--", *program(1), code=3).stderr
    runs = store_in_use.search_runs(["0"], "tags.`sysmetrics.kind` = 'check'")
    assert {each.info.status for each in runs} == {"FAILED"}


@pytest.mark.parametrize(
    ("arguments", "code", "wrong"),
    [
        (["--", "true"], 2, "give one of --baseline-command"),
        (["--baseline-command", "a", "--baseline-commit", "b", "--", "true"], 2, "give one of --baseline-command"),
        (["--baseline-command", "python -c 'x", "--", "true"], 3, "No closing quotation"),
        (["--baseline-command", "true", "--setup", "true", "--", "true"], 2, "give --baseline-commit with it"),
        (["--baseline-command", "true", "--tolerate", "elapsed_s=1h", "--", "true"], 2, "write name=5%"),
        (["--baseline-command", "true", "--tolerate", "rmse=1sd", "--", "true"], 2, "the names here are cpu_seconds"),
        (
            ["--baseline-command", "true", "--lower", "rmse", "--", "true"],
            3,
            "no finite metric 'rmse' in its run, which has ",
        ),
    ],
)
def test_mistake_is_a_sentence(check: Callable[..., Result], arguments: list[str], code: int, wrong: str) -> None:
    said = check(*arguments, code=code).stderr
    assert wrong in said
    assert "Traceback" not in said


def test_ctrl_c_in_the_third_pair_leaves_no_process(empty_store: Path) -> None:
    hangs = "import os, time; third = os.environ['SYSMETRICS_PAIR'] == '3'\n"
    hangs += f"if third: open(r'{empty_store}/pids', 'a').write(f'{{os.getpid()}}\\n'); time.sleep(600)"
    (empty_store / "hangs.py").write_text(hangs)
    command = [sys.executable, "-m", "mlflow_sysmetrics.command.cli", "check", *ANY_CPU]
    command += ["--baseline-command", f"{sys.executable} hangs.py", "--", sys.executable, "hangs.py"]
    environment = clean_environment(PYTHONPATH=str(ROOT), MLFLOW_TRACKING_URI=store_uri(empty_store))
    with subprocess.Popen(command, cwd=empty_store, env=environment, stderr=subprocess.PIPE, text=True) as checking:
        wait_until(lambda: len(_lines(empty_store / "pids")) == 2, LIMIT_S, "the third pair")
        pids = _lines(empty_store / "pids")
        os.kill(checking.pid, signal.SIGINT)
        said = checking.communicate(timeout=LIMIT_S)[1]
    assert checking.returncode == 130
    assert "Traceback" not in said
    assert not any(psutil.pid_exists(int(pid)) for pid in pids)
    (run,) = MlflowClient(store_uri(empty_store)).search_runs(["0"], "tags.`sysmetrics.kind` = 'check'")
    assert run.info.status == "KILLED"


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.mark.slow
def test_metric_that_a_program_logs_is_judged_with_equal_seeds(check: Callable[..., Result], tmp_path: Path) -> None:
    code = "import random, sys, mlflow; random.seed(sys.argv[1])\n"
    code += "with mlflow.start_run(): mlflow.log_metric('rmse', random.gauss(5, 1) + float(sys.argv[2]))"
    (tmp_path / "train.py").write_text(code)
    command = [sys.executable, str(tmp_path / "train.py"), "{pair}"]
    both = ("--baseline-command", " ".join([*command, "0"]), "--lower", "rmse", "--tolerate", "peak_rss_mb=10%")
    said = check(*both, "--", *command, "2", code=1).stdout
    assert said.startswith("worse: rmse\n")
    assert "rmse: worse, 2 more" in said
