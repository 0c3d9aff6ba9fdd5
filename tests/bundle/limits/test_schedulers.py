"""What may end trials early: a user's limits as criteria of the task, and Tune's schedulers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler
from reference import configured

from entrypoints.datasets.tables import Task
from entrypoints.errors import UserError
from entrypoints.limits.schedulers import scheduling, stopping
from entrypoints.settings import DEFAULT_CRITERIA, Limits

EVERY, ROWS = 100, 1000
TRIALS = [configured(max_steps=steps, report_every=EVERY) for steps in (50, 500)]
TASKS: list[Task] = ["regression", "classification"]


@pytest.mark.parametrize("task", TASKS)
def test_default_limits_are_criteria_of_either_task(task: Task) -> None:
    """On this machine, which can read all that they limit."""
    made = stopping(task, Limits.of("auto", "on", "asha"))
    assert made
    assert (str(made.criteria), made.predict, made.scheduler) == (DEFAULT_CRITERIA, True, "asha")
    assert stopping(task, None) is None


@pytest.mark.parametrize(
    ("task", "text", "words"),
    [
        pytest.param("regression", "peak_memory_mb=300", "; write name<=3", id="comparison"),
        pytest.param("regression", "val_rsme<=0.7", "the closest is val_rmse", id="unknown metric"),
        pytest.param("classification", "val_rmse<=0.7", "; name one of", id="other task's score"),
        pytest.param("regression", "training_time_s patience 3", "; give patience to one of train_loss", id="patience"),
    ],
)
def test_mistake_in_the_limits_is_one_sentence_for_the_user(task: Task, text: str, words: str) -> None:
    """It names the option and the criterion."""
    with pytest.raises(UserError) as caught:
        stopping(task, Limits(text, True, "none"))
    message = caught.value.message
    assert message.startswith(f'criteria={text}: "{text}" is not a criterion; ')
    assert words in message
    assert message.splitlines() == [message]


def test_limit_on_what_is_not_read_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would never be broken. Where trials run elsewhere, their devices are not known here."""
    name, asked = "peak_gpu_memory_mb", ("process", "gpu")
    limits = Limits(f"{name}<=1", True, "none")
    with pytest.raises(UserError, match=rf"^groups='process': the limit on {name} needs the group gpu; add it$"):
        stopping("regression", limits)
    monkeypatch.setattr("entrypoints.limits.costs.open_gpus", lambda nvml: [])
    with pytest.raises(UserError, match=rf"^criteria={name}<=1: {name} cannot be read on this machine; leave it out$"):
        stopping("regression", limits, asked)
    assert stopping("regression", limits, asked, here=False)


@dataclass(frozen=True)
class Scheduled:
    """What a scheduler reads of one of Tune's trials."""

    trial_id: str
    status: str = Trial.RUNNING


class Controller:
    """What a scheduler asks of Tune's loop: there is always another trial that waits."""

    def get_live_trials(self) -> list[Scheduled]:
        """One that has not begun."""
        return [Scheduled("waiting", Trial.PENDING)]


def _decisions(name: str, curves: Sequence[Sequence[float]]) -> list[list[str]]:
    """What a scheduler says to each report of trials that come one after the other."""
    arguments = scheduling(name, TRIALS, ROWS)
    scheduler: Any = arguments["scheduler"]
    scheduler.set_search_properties(arguments["metric"], arguments["mode"])
    said = []
    for number, losses in enumerate(curves):
        trial = Scheduled(str(number))
        scheduler.on_trial_add(Controller(), trial)
        of_trial = []
        for place, loss in enumerate(losses, start=1):
            result = {"step": EVERY * place, "val_loss": loss}
            of_trial.append(scheduler.on_trial_result(Controller(), trial, result))
            if of_trial[-1] != TrialScheduler.CONTINUE:
                break
        else:
            scheduler.on_trial_complete(Controller(), trial, result)
        said.append(of_trial)
    return said


@pytest.mark.parametrize(
    ("name", "kind"),
    [pytest.param("asha", ASHAScheduler, id="asha"), pytest.param("median", MedianStoppingRule, id="median")],
)
def test_scheduler_looks_at_the_validation_loss(name: str, kind: type[Any]) -> None:
    """Lower is better; each that a user can choose is one of Tune's, and none leaves Tune as it is."""
    arguments = scheduling(name, TRIALS, ROWS)
    assert (arguments["metric"], arguments["mode"]) == ("val_loss", "min")
    assert isinstance(arguments["scheduler"], kind)
    assert scheduling("none", TRIALS, ROWS) == {}


def test_asha_stops_the_worse_and_no_trial_at_its_last_step() -> None:
    """The best of all is let through every rung, and ends by itself."""
    good, bad = [0.5, 0.4, 0.3, 0.2, 0.1], [9.0, 8.0, 7.0, 6.0, 5.0]
    first, second, third = _decisions("asha", [good, bad, [loss / 2 for loss in good]])
    assert first == third == [TrialScheduler.CONTINUE] * 5
    assert second == [TrialScheduler.STOP]


def test_median_rule_waits_for_five_trials() -> None:
    """Of the first five even bad ones go on, and none is paused for one that waits: it could not be continued."""
    *first, late = _decisions("median", [[1.0, 1.0]] * 4 + [[9.0, 9.0]] + [[5.0, 5.0]])
    assert first == [[TrialScheduler.CONTINUE] * 2] * 5
    assert late == [TrialScheduler.STOP]
