"""What may end trials early: limits on all that a trial costs or learns, and Tune's schedulers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from reference import configured

from entrypoints.datasets.tables import Task
from entrypoints.errors import UserError
from entrypoints.limits.costs import COSTS, SERVED, metrics
from entrypoints.limits.schedulers import PERCENT, SCORE, parse_limits, percent, scheduling
from entrypoints.models import scores
from entrypoints.settings import LimitOptions

ROWS = 1000
LONG, SHORT = 500, 10  # steps of two trials
TRIALS = [configured(steps=LONG), configured(steps=SHORT)]
TASKS: list[Task] = ["regression", "classification"]


@pytest.mark.parametrize("task", TASKS)
def test_limits_can_name_all_that_the_docs_say_a_trial_has(project: Path, task: Task) -> None:
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


def _first_column(text: str, head: str) -> list[str]:
    """The names in the table whose line of heads begins like this."""
    table = text.partition(f"\n{head}")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_limit_on_what_is_not_read_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would never be broken. Where trials run elsewhere, their devices are not known here."""
    name, score = "peak_gpu_memory_mb", scores.find(None, "regression")
    limits = LimitOptions(f"{name}<=1", True, "none")
    monkeypatch.setattr("entrypoints.limits.costs.open_gpus", lambda nvml: [])
    with pytest.raises(UserError, match=rf"^limits={name}<=1: {name} cannot be read on this machine; leave it out$"):
        parse_limits(score, limits)
    assert parse_limits(score, limits, here=False)


@dataclass(frozen=True)
class Scheduled:
    """What a scheduler reads of one of Tune's trials."""

    trial_id: str
    status: str = Trial.RUNNING


class Controller:
    """What a scheduler asks of Tune's loop: there is always another trial that waits."""

    def get_live_trials(self) -> list[Scheduled]:
        return [Scheduled("waiting", Trial.PENDING)]


def _decisions(
    name: str, curves: Sequence[Sequence[float]], *, steps: int = LONG, higher_is_better: bool = False
) -> list[list[str]]:
    """What a scheduler says to each report of trials that come one after the other, five over the whole length."""
    arguments = scheduling(name, TRIALS, ROWS, folds=3, higher_is_better=higher_is_better)
    scheduler: Any = arguments["scheduler"]
    scheduler.set_search_properties(arguments["metric"], arguments["mode"])
    said = []
    for number, losses in enumerate(curves):
        trial = Scheduled(str(number))
        scheduler.on_trial_add(Controller(), trial)
        of_trial = []
        for place, loss in enumerate(losses, start=1):
            step = steps * place // 5
            score = -loss if higher_is_better else loss
            result = {"step": step, PERCENT: percent(step, steps), SCORE: score}
            of_trial.append(scheduler.on_trial_result(Controller(), trial, result))
            if of_trial[-1] != TrialScheduler.CONTINUE:
                break
        else:
            scheduler.on_trial_complete(Controller(), trial, result)
        said.append(of_trial)
    return said


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_asha_stops_the_worse_and_no_trial_at_its_last_step(higher_is_better: bool) -> None:
    """The best of all is let through every rung, and ends by itself."""
    good, bad = [0.5, 0.4, 0.3, 0.2, 0.1], [9.0, 8.0, 7.0, 6.0, 5.0]
    curves = [good, bad, [loss / 2 for loss in good]]
    first, second, third = _decisions("asha", curves, higher_is_better=higher_is_better)
    assert first == third == [TrialScheduler.CONTINUE] * 5
    assert second == [TrialScheduler.STOP]


@pytest.mark.parametrize("name", ["asha", "median"])
@pytest.mark.parametrize("steps", [SHORT, LONG])
def test_schedulers_compare_at_equal_shares_of_the_length(name: str, steps: int) -> None:
    """A bad trial is stopped at its first report, also one that ends before the longest trial has reported."""
    *good, bad = _decisions(name, [[1.0] * 5] * 5 + [[9.0] * 5], steps=steps)
    assert good == [[TrialScheduler.CONTINUE] * 5] * 5
    assert bad == [TrialScheduler.STOP]


def test_median_rule_waits_for_five_trials() -> None:
    """Of the first five even bad ones go on, and none is paused for one that waits: it could not be continued."""
    *first, late = _decisions("median", [[1.0, 1.0]] * 4 + [[9.0, 9.0]] + [[5.0, 5.0]])
    assert first == [[TrialScheduler.CONTINUE] * 2] * 5
    assert late == [TrialScheduler.STOP]
