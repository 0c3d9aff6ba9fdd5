"""What `auto` stands for: a grid of a named dataset, a search for the best model of any other table; large tables."""

from itertools import count

import numpy as np
import pandas as pd
from cases import cases, tables
from records import parsed, study_settings
from reference import bundled, table_of

from entrypoints.datasets.splits import copied_percent
from entrypoints.models.algorithms import find_all
from entrypoints.search import pace, warm_up
from entrypoints.search.defaults import resolved, sentence
from entrypoints.search.grid import configurations
from entrypoints.search.plan import planned
from entrypoints.settings import StudySettings

TABLES = tables(__file__, "search.yaml")


def _asked(line):
    options = parsed(*line.split())
    del options["resume"]
    return StudySettings(**options)


@cases("line, task, search, algorithm, time_limit_s", TABLES["what auto stands for"])
def test_auto_is_a_grid_of_a_named_dataset_and_a_search_of_any_other(line, task, search, algorithm, time_limit_s):
    settings = resolved(_asked(line), task)
    assert settings.search == search
    assert settings.algorithm == algorithm
    assert settings.time_limit_s == time_limit_s
    assert settings.folds == 10
    assert settings.search_rows is None


@cases("line, says", TABLES["what the first line says"])
def test_first_line_says_what_is_searched_and_what_to_type_for_the_other(line, says):
    asked = _asked(line)
    said = sentence(asked, resolved(asked, "regression"), "regression")
    assert says in said
    assert bool(says) is bool(said)


def test_study_keeps_copies_of_a_users_rows_on_one_side(tmp_path):
    """As `prepare` does."""
    rows = np.arange(80) % 64 * 0.1
    pd.DataFrame({"a": rows, "y": rows}).to_csv(tmp_path / "own.csv", index=False)
    study = planned(_asked(f"--dataset {tmp_path}/own.csv --target y --algorithm linear"), folder=tmp_path)
    assert study.settings.duplicates == "together"
    assert copied_percent(study.table, study.split) == 0


def test_search_that_learns_begins_with_each_algorithm():
    """By turns: else most of the first trials are linear ones, which have ten times as many configurations."""
    settings = study_settings(search="tpe", algorithm="linear,extra_trees,boosting")
    data = bundled("red_wine", 10)
    tried = configurations(settings, data.split, find_all(data.task, settings.algorithm))
    assert {each.algorithm for each in tried[:3]} == {"boosting", "extra_trees", "linear"}


@cases("time_limit_s, may_fold, folds, search_rows", TABLES["what fits into a time limit"])
def test_too_few_trials_in_time_means_fewer_folds_then_fewer_rows(time_limit_s, may_fold, folds, search_rows):
    data = bundled("red_wine", 10)
    settings = study_settings(search="tpe", time_limit_s=time_limit_s)
    trials = configurations(settings, data.split, find_all(data.task, "linear"))
    found, said = pace.fitted(settings, table_of("red_wine"), data.split, trials, may_fold=may_fold)
    assert found.folds == folds
    assert found.search_rows == search_rows
    assert ("5 folds in place of 10" in said or "3 folds in place of 10" in said) == (folds < 10)
    assert (f"{search_rows} of the training rows" in said) == (search_rows is not None)
    assert ("folds=10 search_rows=all time_limit_s=none undoes that" in said) == (found != settings)


def test_pace_does_not_depend_on_what_else_the_machine_does(monkeypatch):
    """CPU seconds decide, whatever the clock says meanwhile."""
    slow = count(0.0, 1000.0)
    monkeypatch.setattr(warm_up.time, "perf_counter", lambda: next(slow))
    data = bundled("red_wine", 10)
    settings = study_settings(search="tpe", time_limit_s=300.0)
    trials = configurations(settings, data.split, find_all(data.task, "linear"))
    assert pace.fitted(settings, table_of("red_wine"), data.split, trials, may_fold=True) == (settings, "")
