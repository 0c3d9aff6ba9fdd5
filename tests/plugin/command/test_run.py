"""A command that knows nothing of MLflow, in a real store: which run it is, what is in it, and how it ends."""

import os
import re
import resource
import signal
import sys

import mlflow
import pytest
from cases import cases
from commands import store_uri, the_run, wait_until
from machines import has_ended, meanwhile

from mlflow_sysmetrics.command.passthrough import STOPPED, Exit

LIMIT_S = 300.0
METRICS = {"system/process_cpu_percent", "system/process_memory_mb_max", "elapsed_s", "peak_memory_mb"}
RESET = "from mlflow_sysmetrics.sampling import reset_peak_rss"  # as integrations do
# Computes for some time in itself and in a child.
BUSY = """
import os, subprocess, sys, time
time.sleep(0.5)  # until it is read for the first time
before = sum(os.times()[:4])
works = f"import time\\nwhile time.process_time() < {sys.argv[1]}: pass"
child = subprocess.Popen([sys.executable, "-c", works])
exec(works)
child.wait()
print(sum(os.times()[:4]) - before)
"""
# Takes 5 MB after 5 MB, more slowly beyond 250, beside a child. Neither ends at SIGTERM.
CHILD = "import signal, time; signal.signal(15, signal.SIG_IGN); print('', flush=True); time.sleep(60)"
GROWING = f"""
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE)
child.stdout.readline()
open(sys.argv[1], "w").write(f"{{os.getpid()}} {{child.pid}}")
signal.signal(15, lambda number, frame: time.sleep(60))
kept = []
for _ in range(120):
    kept.append(b"x" * 5_000_000)
    time.sleep(0.05 if len(kept) < 50 else 0.4)
"""


# --- what is in the run -----------------------------------------------------------------------------------------------


def test_short_command_leaves_a_point_of_each_metric_and_a_summary(record, tmp_path, capfd):
    """Of the command and the processes below it; CPU time is what it knows itself. It is printed as well."""
    assert record(sys.executable, "-c", BUSY, "0.5", run_name="short") == Exit(0)
    run, (out, err) = the_run(tmp_path), capfd.readouterr()
    metrics = run.data.metrics
    assert metrics["cpu_seconds"] == pytest.approx(float(out), rel=0.02, abs=0.1)  # ticks, and what its end takes
    assert metrics.keys() >= METRICS
    assert run.info.run_name == "short"
    assert run.info.status == "FINISHED"
    assert re.search(f"^  cpu_seconds +{metrics['cpu_seconds']:.2f}$", err, re.MULTILINE)
    page = f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert err.splitlines()[-2:] == ["  see it with: mlflow-sysmetrics ui", f"  {page}"]


def test_run_with_the_program_s_own_figures_of_a_part_is_not_taken_for_the_whole(record, tmp_path, capfd):
    """What is printed is of the whole program; its run has what the program's own logger has measured."""
    program = f"""{BUSY}
import mlflow
from mlflow_sysmetrics import SystemMetricsLogger
with mlflow.start_run(), SystemMetricsLogger(): pass
"""
    assert record(sys.executable, "-c", program, "0.5") == Exit(0)
    own = the_run(tmp_path).data.metrics["cpu_seconds"]
    assert own < 0.4
    assert f"its run has {own:.2f} cpu_seconds, which the program has measured of a part" in capfd.readouterr().err


@cases(
    "program",
    {
        "right before the end": "import os; x = b'x' * {}; os._exit(0)",
        "before a reset of the kernel's mark": f"{RESET}; kept = b'x' * {{}}; del kept; assert reset_peak_rss()",
    },
)
def test_peak_of_resident_memory_misses_nothing(record, tmp_path, program):
    """The kernel tells the command's parent of one that no reading has seen, the program of one before a reset."""
    floor_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-3
    megabytes = int(floor_mb) + 200
    record(sys.executable, "-c", program.format(megabytes * 1_000_000))
    assert megabytes < the_run(tmp_path).data.metrics["peak_rss_mb"] < megabytes + 50


def test_command_finds_the_store_and_the_experiment_in_its_environment(record, tmp_path, store_in_use, monkeypatch):
    """By an address that is right wherever it goes; its experiment by the id alone, so that it may set another."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "daily")
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    record("sh", "-c", "env | grep ^MLFLOW_ > told", experiment_name="nightly")
    experiment = store_in_use.get_experiment_by_name("nightly")
    given = dict(line.split("=", 1) for line in (tmp_path / "told").read_text().splitlines())
    assert given["MLFLOW_TRACKING_URI"] == store_uri(tmp_path)
    assert given["MLFLOW_EXPERIMENT_ID"] == experiment.experiment_id
    assert not {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"} & given.keys()
    assert len(store_in_use.search_runs([experiment.experiment_id])) == 1


@cases(
    "command, source",
    {
        "script": ([sys.executable, "train.py", "--token", "secret"], "train.py"),
        "text longer than a file's name": (["bash", "-c", f": {'x' * 5000}.sh"], "bash"),
    },
)
def test_run_tells_what_was_run(record, tmp_path, command, source):
    """The UI's column Source shows the script, not this wrapper, and no arguments, which may be secrets."""
    (tmp_path / "train.py").write_text("")
    assert record(*command) == Exit(0)
    assert the_run(tmp_path).data.tags["mlflow.source.name"] == source


# --- how it ends ------------------------------------------------------------------------------------------------------


@cases(
    "script, ended, status",
    [
        ("exit 3", Exit(3), "FAILED"),
        ("kill -SEGV $$", Exit(-signal.SIGSEGV), "FAILED"),
        ("exit 130", Exit(130), "KILLED"),  # as a shell says that Ctrl-C has ended what it ran
        ("sleep 0.2; kill -KILL $$", Exit(-signal.SIGKILL), "KILLED"),
    ],
)
def test_run_ends_as_the_command_did(record, tmp_path, script, ended, status):
    """And the end is handed to the caller as it was; a run that was killed says what of."""
    assert record("sh", "-c", script) == ended
    run = the_run(tmp_path)
    assert run.info.status == status
    assert ("sysmetrics.cause_of_death" in run.data.tags) == ("KILL" in script)
    assert run.data.tags.get("sysmetrics.killed_for_memory", "false") == "false"


def test_signal_ends_the_command_and_marks_its_run(record, tmp_path):
    """SIGTERM for this process is the command's: it says goodbye in its own way, and the run is KILLED."""

    def send():
        wait_until((tmp_path / "up").exists, LIMIT_S, "the command's start", every_s=0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with meanwhile(send):
        script = "trap 'echo bye > bye; exit 5' TERM; touch up; while :; do sleep 0.05; done"
        assert record("sh", "-c", script) == Exit(5, was_asked=True)
    assert (tmp_path / "bye").read_text() == "bye\n"
    assert the_run(tmp_path).info.status == "KILLED"
    assert signal.getsignal(signal.SIGTERM) == before


@cases("command, code", {"not there": ("./nothing", 127), "not executable": ("/etc/passwd", 126)})
def test_command_that_cannot_start_fails_as_in_a_shell(record, all_runs, command, code):
    """With a shell's exit code, and without a run."""
    assert record(command) == Exit(code)
    assert all_runs() == []


def test_exit_code_outlasts_an_error_after_it(record, monkeypatch):
    """Whatever recording it raises."""
    monkeypatch.setattr("mlflow_sysmetrics.command.run_tracker.writer_for", None)
    assert record("sh", "-c", "sleep 0.5; exit 7") == Exit(7)


# --- what ends it -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_program_that_grows_is_ended_at_its_limit(record, tmp_path):
    """Within 5 %, with its whole tree, after ten seconds by SIGKILL, which is not a cause of death; the run says so."""
    ended = record(sys.executable, "-c", GROWING, str(tmp_path / "told"), limits="peak_memory_mb<=300")
    assert ended == Exit(STOPPED, was_asked=True)
    run = the_run(tmp_path)
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stop_reason"].startswith("peak_memory_mb 3")
    assert "sysmetrics.cause_of_death" not in run.data.tags
    assert 300 < run.data.metrics["peak_memory_mb"] < 315
    assert all(map(has_ended, (tmp_path / "told").read_text().split()))


def test_program_is_ended_by_the_tag_of_its_run(record, tmp_path, all_runs, store_in_use):
    """As somebody sets it in the UI."""

    def set_tag():
        wait_until(all_runs, LIMIT_S, "the run")
        store_in_use.set_tag(the_run(tmp_path).info.run_id, "sysmetrics.stop", "enough")

    with meanwhile(set_tag):
        program = "import mlflow, time; mlflow.start_run(); time.sleep(600)"
        assert record(sys.executable, "-c", program) == Exit(STOPPED, was_asked=True)
    run = the_run(tmp_path)
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stopped_by"] == "person"
    assert "sysmetrics.stop" not in run.data.tags


def test_broken_limit_leaves_a_run_of_the_environment_as_it_is(record, store_in_use, monkeypatch):
    """But for the tags that say why: whoever started the run sets its status."""
    run_id = store_in_use.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert record("sleep", "60", limits="elapsed_s<=0.5") == Exit(STOPPED, was_asked=True)
    run = store_in_use.get_run(run_id)
    assert run.info.status == "RUNNING"
    assert run.data.tags["sysmetrics.stop_metric"] == "elapsed_s"
