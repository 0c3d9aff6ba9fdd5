"""What limits can be on: all that a trial costs or learns, where it can be read."""

import re

import pytest
from cases import cases

from entrypoints.errors import UserError
from entrypoints.limits.costs import COSTS, metrics, parse_limits
from entrypoints.models import scores
from mlflow_gate.metrics import SERVED

TASKS = ["regression", "classification"]


@cases("task", TASKS)
def test_limits_can_name_all_that_the_docs_say_a_trial_has(project, task):
    """Its summary but the test scores, the steps and what it reads and writes; the curves of how well it learns.

    And what its model costs as served.
    """
    text = (project / "docs" / "metrics.md").read_text()
    own, of_any_run = _first_column(text, "| summary |"), _first_column(text, "| metric |")
    listed = {name for name in own if not name.startswith("test_")} | set(of_any_run[: of_any_run.index("steps") + 1])
    learning = {"train_loss", "val_loss", "val_rmse" if task == "regression" else "val_accuracy"}
    costs = listed - {"steps", "read_mb", "write_mb"} | {"training_time_s"}
    score = scores.find(None, task)
    assert {metric.name for metric in metrics(score.validated, score.higher_is_better)} == costs | learning | {*SERVED}
    assert {*SERVED} < {*of_any_run}
    assert set(COSTS) < costs


def _first_column(text, head):
    """The names in the table whose line of heads begins like this."""
    table = text.partition(f"\n{head}")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_limit_on_what_is_not_read_is_a_mistake(monkeypatch):
    """It would never be broken. Where trials run elsewhere, their devices are not known here."""
    name, score = "peak_gpu_memory_mb", scores.find(None, "regression")
    limits = f"{name}<=1"
    monkeypatch.setattr("entrypoints.limits.costs.open_gpus", lambda nvml: [])
    with pytest.raises(UserError, match=rf"^limits={name}<=1: {name} cannot be read on this machine; leave it out$"):
        parse_limits(limits, score)
    assert parse_limits(limits, score, here=False)
