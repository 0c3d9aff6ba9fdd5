"""`mlflow-sysmetrics check`: real programs in pairs, its exit code, what it prints, and what it leaves in MLflow."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from unittest.mock import Mock

import mlflow
import psutil
import pytest
from click.testing import CliRunner, Result
from commands import in_use, store_uri, wait_until
from forks import start_fork
from mlflow import MlflowClient
from mlflow.artifacts import load_dict

from mlflow_sysmetrics.check import verdict
from mlflow_sysmetrics.check.programs import Program, Programs
from mlflow_sysmetrics.command.cli import main
from mlflow_sysmetrics.delivery import RunRef

LIMIT_S = 300.0
Check = Callable[..., Result]
ANY_CPU = ("--tolerate", "cpu_seconds=1000%")  # programs this short differ by more than any check could judge


def program(megabytes):
    return [sys.executable, "-c", f"kept = b'x' * {megabytes}_000_000; sum(range(3_000_000))"]


def quoted(command):
    return " ".join([command[0], command[1], f'"{command[2]}"'])


@pytest.fixture
def check(store_in_use):
    """Run a check to its end."""

    def check(*arguments, code):
        result = CliRunner().invoke(main, ["check", *ANY_CPU, *arguments])
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return check


def test_program_that_takes_more_memory_is_worse_and_mlflow_has_all_of_it(check, store_in_use):
    both = ("--baseline-command", quoted(program(40)), "--higher", "peak_rss_mb", "--format", "json")
    said = json.loads(check(*both, "--", *program(50), code=1).stdout)
    verdicts = {each["name"]: each["verdict"] for each in said["metrics"]}
    assert list(verdicts) == ["cpu_seconds", "peak_rss_mb", "peak_memory_mb"]
    assert (said["verdict"], verdicts["peak_memory_mb"]) == ("worse", "worse")
    assert verdicts["peak_rss_mb"] == "better"  # where higher is better, as we have said here
    runs = said["runs"]
    assert len(runs["baseline"]["peak_rss_mb"]) == len(runs["candidate"]["cpu_seconds"]) == said["pairs"]
    assert all(
        after - before == pytest.approx(10, abs=1)
        for before, after in zip(runs["baseline"]["peak_rss_mb"], runs["candidate"]["peak_rss_mb"], strict=True)
    )
    (run,) = store_in_use.search_runs(["0"], "tags.`sysmetrics.kind` = 'check'")
    assert run.info.status == "FAILED"  # no green tick where something is worse
    assert run.data.tags["sysmetrics.verdict"] == run.data.tags["sysmetrics.verdict.peak_memory_mb"] == "worse"
    assert run.data.metrics["pairs"] == said["pairs"]
    assert load_dict(f"{run.info.artifact_uri}/check.json") == said
    below = store_in_use.search_runs(["0"], f"tags.mlflow.parentRunId = '{run.info.run_id}'")
    pairs = [(each.data.tags["sysmetrics.side"], int(each.data.tags["sysmetrics.pair"])) for each in below]
    numbers = range(said["pairs"] + 1)
    assert sorted(pairs) == sorted((side, pair) for side in ("baseline", "candidate") for pair in numbers)
    assert {each.info.status for each in below} == {"FINISHED"}
    for (side, pair), each in zip(pairs, below, strict=True):
        assert not pair or each.data.metrics["cpu_seconds"] == runs[side]["cpu_seconds"][pair - 1]


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


@pytest.mark.parametrize(
    ("costs", "how"),
    [
        pytest.param({}, "both at once", id="room"),
        pytest.param({"peak_memory_mb": 60.0}, "in turn: 100 MB are free, and each takes 60", id="memory"),
        pytest.param({"cpu_seconds": 1e6}, "in turn: both at once would keep 200000 cores busy", id="cores"),
    ],
)
def test_programs_run_at_once_where_the_machine_has_room_for_both(monkeypatch, costs, how):
    used = {"peak_rss_mb": 1.0, "peak_memory_mb": 1.0, "cpu_seconds": 1.0, "elapsed_s": 10.0}
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Mock(available=100_000_000))
    monkeypatch.setattr(Programs, "run", lambda self, parent, pair: [used, used | costs])
    pairs = Programs([])
    pairs.warm_up(RunRef("", ""))
    assert pairs.how.startswith(how)


def test_program_that_is_the_same_passes(check):
    """As Markdown, too."""
    both = ("--baseline-command", quoted(program(40)), "--format", "markdown")
    said = check(*both, "--", *program(40), code=0).stdout
    assert said.startswith("**passes: nothing is worse")
    assert "cpu_seconds" in said


def test_what_cannot_be_judged_has_a_code_of_its_own(check, monkeypatch):
    """Memory that is now the one's and now the other's; here the first look is the last."""
    monkeypatch.setattr(verdict, "LOOKS", verdict.LOOKS[:1])
    turn = "import os; turn = (int(os.environ['SYSMETRICS_PAIR']) + {}) % 2; kept = b'x' * (30 + 60 * turn) * 1_000_000"
    one = [sys.executable, "-c", turn.format(0)]
    other = [sys.executable, "-c", turn.format("1 + {pair} - {pair}")]
    both = ("--baseline-command", quoted(one))
    assert "no change could be found in this noise" in check(*both, "--", *other, code=3).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
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


def test_commit_is_compared_with_what_is_not_committed(check, repository):
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


@pytest.fixture
def script(repository):
    """One in a folder of the repository, which imports `size` from wherever Python finds it."""
    (repository / "scripts").mkdir()
    (repository / "scripts/train.py").write_text("import json, size; kept = b'x' * size.MB * 1_000_000")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "add", "scripts"], cwd=repository, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "a script", "scripts"], cwd=repository, check=True)
    return ["--baseline-commit", "HEAD", "--", sys.executable, "scripts/train.py"]


@pytest.mark.parametrize("how", ["installed", "editable"])
def test_commit_is_refused_where_both_sides_import_one_code(
    check,
    repository,
    script,
    tmp_path_factory,
    monkeypatch,
    how,
):
    """As a copy, or from the repository itself by what an editable install does as Python starts."""
    site = tmp_path_factory.mktemp("site")
    if how == "installed":
        shutil.copy(repository / "size.py", site)
    else:
        (site / "sitecustomize.py").write_text(f"import sys; sys.path.append(r'{repository}')")
    monkeypatch.setenv("PYTHONPATH", str(site))
    said = check(*script, code=2).stderr
    assert f"both sides import size from {site if how == 'installed' else repository}/size.py" in said
    assert "set PYTHONPATH=.," in said
    monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}{site}")
    assert check(*script, code=1).stdout.startswith("worse: peak_rss_mb")


def test_commit_has_its_submodules(check, repository):
    """Each side those of its commit, and the candidate what is not committed in them, too."""
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-c", "protocol.file.allow=always"]
    library = repository / "library"
    library.mkdir()
    (library / "amount.py").write_text("MB = 40")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], cwd=library, check=True)
    (repository / "train.py").write_text("import library.amount; kept = b'x' * library.amount.MB * 1_000_000")
    for words in (["add", "."], ["commit", "-q", "-m", "with a submodule"]):
        subprocess.run([*git, *words], cwd=repository, check=True)
    (library / "amount.py").write_text("MB = 50")
    said = check("--baseline-commit", "HEAD", "--", sys.executable, "train.py", code=1).stdout
    assert said.startswith("worse: peak_rss_mb")
    left = subprocess.run(["git", "worktree", "list"], cwd=library, capture_output=True, text=True, check=True)
    assert len(left.stdout.splitlines()) == 1


def test_program_that_fails_says_which_and_why(check, store_in_use):
    fails = [sys.executable, "-c", "print('no data'); raise SystemExit(4)"]
    said = check("--baseline-command", quoted(program(1)), "--", *fails, code=1).stderr
    assert "the candidate failed with exit code 4" in said
    assert "no data" in said
    assert "the baseline failed" in check("--baseline-command", quoted(fails), "--", *program(1), code=3).stderr
    assert "No such file" in check("--baseline-command", "no_such_program", "--", *program(1), code=3).stderr
    runs = store_in_use.search_runs(["0"], "tags.`sysmetrics.kind` = 'check'")
    assert {each.info.status for each in runs} == {"FAILED"}


def test_program_that_fails_after_a_line_without_end_has_a_short_message(check):
    loud = [sys.executable, "-c", "print('x' * 1_000_000, end='!'); raise SystemExit(4)"]
    said = check("--baseline-command", quoted(program(1)), "--", *loud, code=1).stderr
    assert said.endswith("x!\n")
    assert len(said) < 3000


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
def test_mistake_is_a_sentence(check, arguments, code, wrong):
    said = check(*arguments, code=code).stderr
    assert wrong in said
    assert "Traceback" not in said


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_ctrl_c_in_the_third_pair_leaves_no_process(empty_store):
    hangs = "import os, time; third = os.environ['SYSMETRICS_PAIR'] == '3'\n"
    hangs += f"if third: open(r'{empty_store}/pids', 'a').write(f'{{os.getpid()}}\\n'); time.sleep(600)"
    command = [sys.executable, "-c", hangs]

    def check():
        with in_use(empty_store):
            done = CliRunner().invoke(
                main, ["check", *ANY_CPU, "--baseline-command", shlex.join(command), "--", *command]
            )
        os._exit(done.exit_code)

    checking = start_fork(check)
    wait_until(lambda: len(_lines(empty_store / "pids")) == 2, LIMIT_S, "the third pair")
    os.kill(checking, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(checking, 0)[1]) == 130
    assert not any(psutil.pid_exists(int(pid)) for pid in _lines(empty_store / "pids"))
    (run,) = MlflowClient(store_uri(empty_store)).search_runs(["0"], "tags.`sysmetrics.kind` = 'check'")
    assert run.info.status == "KILLED"


def _lines(path):
    return path.read_text().split() if path.exists() else []
