"""What `auto` stands for: a grid of a named dataset, a search for the best model of any other table; large tables."""

import shlex
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cases import cases, tables
from records import parsed

from entrypoints.datasets.splits import copied_percent
from entrypoints.options.settings import StudySettings
from entrypoints.search import defaults
from entrypoints.search.defaults import resolved, sentence
from entrypoints.study import pace, warm_up
from entrypoints.study.plan import planned

TABLES = tables(__file__, "search.yaml")


def _asked(line):
    options = parsed(*shlex.split(line))
    del options["resume"]
    return StudySettings(**options)


@pytest.fixture
def boosting_libraries(monkeypatch):
    """The libraries for boosting that are installed: none, unless a test adds one."""
    names = []
    monkeypatch.setattr(defaults, "find_spec", names.count)
    return names


@pytest.mark.usefixtures("boosting_libraries")
@cases("line, task, search, algorithm, time_limit_s", TABLES["what auto stands for"])
def test_auto_is_a_grid_of_a_named_dataset_and_a_search_of_any_other(line, task, search, algorithm, time_limit_s):
    settings = resolved(_asked(line), task)
    assert settings.search == search
    assert settings.algorithm == algorithm
    assert settings.time_limit_s == time_limit_s
    assert settings.folds == 10
    assert settings.search_rows is None


def test_library_for_boosting_is_used_where_it_is_installed(boosting_libraries):
    boosting_libraries.append("lightgbm")
    assert resolved(_asked("--dataset mine.csv --target y"), "regression").algorithm == "ridge,extra_trees,lightgbm"


@pytest.mark.usefixtures("boosting_libraries")
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


@cases("of_one_class, line, metric", TABLES["score of a table of one's own"])
def test_score_of_a_table_of_which_most_rows_are_of_one_class_is_log_loss(tmp_path, of_one_class, line, metric):
    """Unless the user names another."""
    kinds = ["usual"] * of_one_class + ["rare"] * (100 - of_one_class)
    pd.DataFrame({"a": np.arange(100) * 0.1, "kind": kinds}).to_csv(tmp_path / "own.csv", index=False)
    asked = _asked(f"--dataset {tmp_path}/own.csv --target kind --algorithm logistic --folds 2 {line}")
    study = planned(asked, folder=tmp_path)
    assert study.score.validated == metric
    is_told = "; accuracy hides the others where 90% of the rows are of one class; " in study.score_line
    assert is_told == (study.settings.metric != asked.metric)


@cases("gone_s, left_s", {"quick": (15, 265), "slow": (30, 230), "no time left": (900, 100)})
def test_time_limit_is_of_the_command_but_a_third_is_the_searchs(gone_s, left_s):
    """20 s are for the result, and more after a slow start."""
    study = _under_a_time_limit(300.0)
    study.first_start = study.began + gone_s
    assert study.search_ends - study.first_start == pytest.approx(left_s)


def test_values_that_the_user_gives_replace_those_of_the_portfolio(tmp_path):
    """What they do not give stays."""
    pd.DataFrame({"a": np.arange(100) * 0.1, "y": np.arange(100) * 0.1}).to_csv(tmp_path / "own.csv", index=False)
    line = "--algorithm extra_trees --space '{max_features: [0.25, 0.75]}'"
    study = planned(_asked(f"--dataset {tmp_path}/own.csv --target y {line}"), folder=tmp_path)
    assert {choice["max_features"] for choice in study.first} <= {0.25, 0.75}
    assert {choice["min_samples_leaf"] for choice in study.first} == {1, 2, 5}


@cases("line, first, size", TABLES["what a search that learns begins with"])
def test_search_that_learns_begins_with_what_is_good_on_many_tables(line, first, size):
    """In that order; not with an algorithm of which the user lists all values. It ends after a hundred."""
    study = planned(_asked(f"--search tpe {line}"), folder=Path())
    assert [each.algorithm for each in study.configurations] == first
    assert study.size == size


def _under_a_time_limit(seconds):
    """A study of ten folds, before anything is known of its time."""
    study = planned(_asked("--search tpe --algorithm linear"), folder=Path())
    study.settings = replace(study.settings, time_limit_s=seconds)
    return study


@cases("time_limit_s, may_fold, folds, search_rows", TABLES["what fits into a time limit"])
def test_too_few_trials_in_time_means_fewer_folds_then_fewer_rows(time_limit_s, may_fold, folds, search_rows):
    study = _under_a_time_limit(time_limit_s)
    found, said = pace.fitted(study, may_fold=may_fold)
    assert found.folds == folds
    assert found.search_rows == search_rows
    assert ("5 folds in place of 10" in said or "3 folds in place of 10" in said) == (folds < 10)
    assert (f"{search_rows} of the training rows" in said) == (search_rows is not None)
    assert ("folds=10 search_rows=all time_limit_s=none undoes that" in said) == (found != study.settings)


def test_pace_does_not_depend_on_what_else_the_machine_does(monkeypatch):
    """CPU seconds decide, whatever the clock says meanwhile."""
    slow = count(0.0, 1000.0)
    study = _under_a_time_limit(300.0)
    monkeypatch.setattr(warm_up.time, "perf_counter", lambda: next(slow))
    assert pace.fitted(study, may_fold=True) == (study.settings, "")
