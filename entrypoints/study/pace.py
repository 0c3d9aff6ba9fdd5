"""Fewer folds, then fewer rows for the search, where too few trials of a large table would end within its time."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from statistics import fmean

from entrypoints.compute.workers import usable_cpus
from entrypoints.datasets.prepared import prepared
from entrypoints.options.settings import StudySettings
from entrypoints.runs.tags import TRAINING_STEP
from entrypoints.search.grid import drawn
from entrypoints.study.study import Study
from entrypoints.study.warm_up import time_kinds
from entrypoints.text import duration

ENOUGH = 20  # trials
FEWER_FOLDS = (5, 3)
TIMED_ROWS = 1000
OF_EACH = 2  # algorithm: configurations that are timed


def fitted(study: Study, *, may_fold: bool) -> tuple[StudySettings, str]:
    """The settings, with as many folds and rows for the search as let enough trials end; and what was lowered.

    Args:
        study: with a time limit, and the usual folds.
        may_fold: whether the folds are not the user's choice.
    """
    settings = study.settings
    cores = settings.cpus or usable_cpus()
    available_s = cores * study.usual_search_s / ENOUGH  # of CPU, for a trial
    needed_s = _usual_seconds(study)
    if needed_s is None or needed_s <= available_s:
        return settings, ""
    asked, trial_s = settings, needed_s
    of_a_part_s = needed_s / (settings.folds - 1)  # each of n folds is trained on n - 1 of n parts
    for folds in FEWER_FOLDS if may_fold else ():
        settings = replace(settings, folds=folds)
        needed_s = of_a_part_s * (folds - 1)
        if needed_s <= available_s:
            return settings, _sentence(asked, settings, trial_s)
    rows = int(len(study.split.train) * available_s / needed_s)
    settings = replace(settings, search_rows=max(rows, TIMED_ROWS))
    return settings, _sentence(asked, settings, trial_s)


def _sentence(before: StudySettings, after: StudySettings, trial_s: float) -> str:
    """What was lowered and why, and how to undo it."""
    less = []
    if after.folds != before.folds:
        less.append(f"{after.folds} folds in place of {before.folds}")
    if after.search_rows != before.search_rows:
        less.append(f"{after.search_rows} of the training rows for the search, and all for the refit")
    undo = f"folds={before.folds} search_rows=all time_limit_s=none"
    takes = f"A trial takes about {duration(trial_s)} of CPU"
    return f"{takes}. So that {ENOUGH} trials end in time: {', and '.join(less)}; {undo} undoes that"


def _usual_seconds(study: Study) -> float | None:
    """The CPU seconds of a trial, by some of each algorithm on a few rows; None where none can be timed.

    Not by the clock: then folds and scores would depend on what else the machine does.
    A fit on all rows takes in proportion to these; of batches so do the steps.
    """
    split = study.split
    few = split.thinned(TIMED_ROWS, study.table)
    data = prepared(study.table, few)
    timed = []
    for space in study.spaces:
        choices = islice(drawn(space, study.settings.seed), OF_EACH)
        timed += [study.configuration(choice, 0) for choice in choices]
    seconds = []
    for trial, costs in zip(timed, time_kinds(timed, data, time.process_time), strict=True):
        if costs is not None:
            more = split.fit_rows / few.fit_rows
            if trial.axis == TRAINING_STEP:
                more = trial.steps(split.fit_rows) / trial.steps(few.fit_rows)
            seconds.append(costs["elapsed_s"] * more)
    return fmean(seconds) if seconds else None
