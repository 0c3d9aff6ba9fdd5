"""Each example runs as its README says, and leaves what its first line promises; so do commands of two pages."""

import re
import shlex
import shutil
import subprocess
from importlib.util import find_spec

import pytest
import requests
from cases import cases
from commands import ROOT, Command, clean_environment, store_uri, wait_until
from mlflow import MlflowClient
from servers import ALONE, answers, free_port

pytestmark = pytest.mark.slow
LIMIT_S = 600.0
# fmt: off
SUMMARY = {
    "elapsed_s", "cpu_seconds", "user_cpu_seconds", "system_cpu_seconds", "mean_cpu_percent", "peak_memory_mb",
    "memory_growth_mb", "read_mb", "write_mb",
}
# fmt: on
NEEDS = {"xgboost_rounds.py": ("xgboost",), "notebook.ipynb": ("nbclient", "ipykernel")}
OTHERS = {"README.md", "gate"}  # which have tests of their own
OF_PHASES = {
    "sklearn_script.py": ("load", "train", "score"),
    "training_loop.py": ("train",),
    "notebook.ipynb": ("load", "train"),
}
RUNS = {"loop_of_runs.py": 3, "tune_script.py": 2, "tune_artifacts.py": 2}  # but for those around them; of others one
STOPPED = {"training_loop.py": "elapsed_s ", "tune_script.py": "memory_growth_mb 2"}  # why one of its runs was


def runs_after(example, folder):
    """Type what the README says of an example, in a copy of the folder of all, and return the runs that it leaves."""
    for package in NEEDS.get(example, ()):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    place = shutil.copytree(ROOT / "examples", folder / "examples")
    (line,) = re.findall(rf"^\| `([^`]*\b{example}\b[^`]*)` \|", (place / "README.md").read_text(), re.MULTILINE)
    env = clean_environment(MLFLOW_TRACKING_URI=store_uri(folder), MLFLOW_SYSMETRICS_SPOOL=str(folder / "spools"))
    typed = f"jupyter execute {line}" if line == example else line
    done = subprocess.run(shlex.split(typed), cwd=place, env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return list(MlflowClient(store_uri(folder)).search_runs(["0"]))


@cases(
    "example",
    sorted({path.name for path in (ROOT / "examples").iterdir()} - OTHERS),
)
def test_example_leaves_its_summaries_and_phases(empty_store, example):
    """In runs that have ended."""
    runs = [run for run in runs_after(example, empty_store) if run.data.tags.get("sysmetrics.kind") != "study"]
    assert len(runs) == RUNS.get(example, 1)
    for run in runs:
        assert run.data.metrics.keys() >= SUMMARY
        assert run.data.metrics.keys() >= {f"phase/{phase}/elapsed_s" for phase in OF_PHASES.get(example, ())}
    killed = ["KILLED"] if example == "tune_script.py" else []
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * (len(runs) - len(killed)) + killed
    reasons = [reason for run in runs if (reason := run.data.tags.get("sysmetrics.stop_reason"))]
    assert len(reasons) == (example in STOPPED)
    assert all(reason.startswith(STOPPED[example]) for reason in reasons)
    if example == "xgboost_rounds.py":
        assert runs[0].data.metrics["steps"] == 100


def test_commands_for_any_project_run(empty_store):
    """Those that are typed in the user's project, in one that knows nothing of us; `ui` has a test of its own."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "plugin.md").read_text(), re.DOTALL)
    typed = [line for line in "".join(blocks).splitlines() if not line.startswith(("pip ", "mlflow-sysmetrics ui"))]
    project = shutil.copytree(ROOT / "tests" / "support" / "plain_project", empty_store, dirs_exist_ok=True)
    env = clean_environment(MLFLOW_SYSMETRICS_SPOOL=str(empty_store / "spool"))
    for line in typed:
        done = subprocess.run(line, shell=True, cwd=project, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    found = MlflowClient(store_uri(project)).search_runs(["0"])
    assert [run.info.status for run in found] == ["FINISHED"] * sum(" run " in line for line in typed)
    assert all({"r2", "system/process_memory_mb"} <= set(run.data.metrics) for run in found)


def test_server_for_a_cluster_lets_in_who_has_the_password(tmp_path):
    """By the page's own command, but for its address, its database and its folder."""
    page, port = (ROOT / "docs" / "scale-out.md").read_text(), free_port()
    (line,) = re.findall(r"^mlflow server (?:.*\\\n)+.*$", page, re.MULTILINE)
    secrets = {name: f"secret of {name}" for name in re.findall(r"^(\w+)=\.\.\. ", page, re.MULTILINE)}
    places = {
        "10.0.0.1": "127.0.0.1",
        "5000": str(port),
        "4": "1",
        "postgresql+psycopg2://mlflow@localhost/mlflow": store_uri(tmp_path),
        "/srv/mlflow-artifacts": str(tmp_path / "artifacts"),
    }
    words = [places.get(word, word) for word in shlex.split(line.replace("\\\n", ""))]
    server = Command(words, cwd=tmp_path, output=tmp_path / "output", env=clean_environment(**ALONE, **secrets))
    try:
        wait_until(lambda: answers(port), LIMIT_S, "the server's answer")
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=0"
        password = secrets["MLFLOW_AUTH_ADMIN_PASSWORD"]
        codes = [requests.get(url, auth=auth).status_code for auth in (None, ("admin", "no"), ("admin", password))]
    finally:
        server.kill()
    assert codes == [401, 401, 200]
