"""The race of a trial against the best so far, on made-up fold scores."""

import numpy as np
import pytest
from cases import cases
from records import trial

from entrypoints.runs.tags import BY_RACE, DIVERGED
from entrypoints.search.racing import rival_of
from entrypoints.trials.trial import end_tags
from mlflow_sysmetrics.recording.tags import STOP_REASON, STOPPED_BY

FOLDS = 10


def _trial(number, scores):
    """A complete trial with these scores on its folds."""
    folds = [{"fold": fold, "val_rmse": score} for fold, score in enumerate(scores)]
    made = trial(number, float(np.mean(scores)))
    made.tags = {DIVERGED: "false", **end_tags(folds)}
    return made


def _rival(trials, able=None, higher_is_better=False, costs=()):
    return rival_of(trials, trials if able is None else able, "val_rmse", higher_is_better, costs)


def _lost(rival, scores, **costs):
    """After how many folds a trial has lost, and why; or that it has not."""
    so_far = {}
    for fold, score in enumerate(scores):
        so_far[fold] = score
        lost = rival.after_folds(so_far, costs)
        if lost:
            return len(so_far), lost
    return None


RANDOM = np.random.default_rng(0)
HARDNESS = RANDOM.normal(0.65, 0.05, FOLDS)  # of the folds, which all trials share
NEAR = RANDOM.normal(0, 0.005, (6, FOLDS))


def _trials(scores):
    return [_trial(number, of_trial) for number, of_trial in enumerate(scores, 1)]


GOOD = _trials(HARDNESS + NEAR)


def test_trial_that_is_far_worse_ends_after_its_first_fold():
    """On a fold that is harder than others, where others are worse, too. It says why, and is expected to be so much."""
    rival = _rival(GOOD)
    folds, lost = _lost(rival, HARDNESS + 0.06)
    assert folds == 1
    assert lost.predicted == pytest.approx(rival.mean + HARDNESS[0] + 0.06 - rival.folds[0])
    assert lost.tags[STOP_REASON] == f"val_rmse {lost.predicted:.4g} > {rival.mean:.4g} (predicted, fold 1)"
    assert lost.tags[STOPPED_BY] == BY_RACE


def test_trial_races_where_higher_is_better():
    trials = _trials(1 - HARDNESS + NEAR)
    rival = _rival(trials, higher_is_better=True)
    assert rival.mean == pytest.approx(max(trial.figures["val_rmse"] for trial in trials))
    folds, lost = _lost(rival, 0.94 - HARDNESS)
    assert folds == 1
    assert f" < {rival.mean:.4g} (predicted, fold 1)" in lost.reason
    assert _lost(rival, 1.06 - HARDNESS) is None


@cases("errors, ends", {"within": (1.7, False), "beyond": (1.9, True)})
def test_trial_ends_where_the_folds_that_are_left_change_too_little(errors, ends):
    """By the spread of what models differ by from fold to fold: five folds that are worse by so many errors."""
    rival = _rival(GOOD)
    error = rival.noise.spread * (1 / 5 - 1 / 10) ** 0.5
    so_far = {fold: rival.folds[fold] + errors * error for fold in range(5)}
    assert bool(rival.after_folds(so_far, {})) is ends


def test_own_folds_count_beside_those_of_others():
    """A trial whose folds are all over the place is not ended by what is usual; one that has all folds never is."""
    rival = _rival(GOOD)
    wild = HARDNESS + np.array([-0.3, 0.4] * 5)
    assert _lost(rival, wild[:5]) is None
    assert rival.after_folds(dict(enumerate(HARDNESS + 1)), {}) is None
    assert rival.after_folds({0: float("nan")}, {}) is None


def test_only_what_can_be_chosen_is_raced_against():
    """The best of those; of equal scores, too, the spread is that of models that differ."""
    first, second, *_ = sorted(GOOD, key=lambda trial: trial.figures["val_rmse"])
    others = [trial for trial in GOOD if trial is not first]
    assert _rival(GOOD).mean == pytest.approx(first.figures["val_rmse"])
    assert _rival(GOOD, others).mean == pytest.approx(second.figures["val_rmse"])
    assert _rival(_trials([HARDNESS] * 6)) is None
    assert _rival(GOOD[:4]) is None
    assert _rival(GOOD, []) is None


@cases("cost_s, is_kept", {"cheaper": (0.5, True), "dearer": (99.0, False)})
def test_cheaper_one_stays_while_it_may_be_as_good(cost_s, is_kept):
    """Where the cheapest of those that are as good is chosen: by half a standard error worse on each fold."""
    rival = _rival(GOOD, costs=("model_memory_mb", "training_time_s"))
    error = rival.noise.spread * (1 / 10 + 1 / 9) ** 0.5
    best = np.array([*rival.folds.values()])
    near = best + error / 2
    assert _lost(_rival(GOOD), near, training_time_s=cost_s)
    assert (_lost(rival, near, training_time_s=cost_s) is None) is is_kept
    assert _lost(rival, near) is None  # it may be cheaper
    assert _lost(rival, best + 3 * error, training_time_s=cost_s)
