"""What `auto` stands for: a grid of a named dataset, a search for the best model of any other table; large tables."""

from dataclasses import replace

from cases import cases
from records import parsed, study_settings
from reference import bundled, table_of

from entrypoints.models.algorithms import find_all
from entrypoints.search import pace
from entrypoints.search.defaults import resolved, sentence
from entrypoints.search.grid import configurations
from entrypoints.settings import StudySettings


def _asked(*arguments):
    options = parsed(*arguments)
    del options["resume"]
    return StudySettings(**options)


OWN = ("--dataset", "mine.csv", "--target", "y")


@cases(
    "arguments, task, search, algorithm, time_limit_s",
    {
        "named": ((), "regression", "grid", "auto", None),
        "numbers": (OWN, "regression", "tpe", "linear,extra_trees,boosting", 300.0),
        "classes": (OWN, "classification", "tpe", "logistic,extra_trees,boosting", 300.0),
        "algorithm": ((*OWN, "--algorithm", "svm"), "classification", "tpe", "svm", 300.0),
        "grid": ((*OWN, "--search", "grid"), "regression", "grid", "linear,extra_trees,boosting", None),
        "no limit": ((*OWN, "--time_limit_s", "none"), "regression", "tpe", "linear,extra_trees,boosting", None),
        "tpe of a named one": (("--search", "tpe"), "regression", "tpe", "auto", None),
    },
)
def test_auto_is_a_grid_of_a_named_dataset_and_a_search_of_any_other(arguments, task, search, algorithm, time_limit_s):
    settings = resolved(_asked(*arguments), task)
    assert (settings.search, settings.algorithm, settings.time_limit_s) == (search, algorithm, time_limit_s)
    assert (settings.folds, settings.search_rows) == (10, None)


def test_first_lines_say_what_is_searched_and_what_to_type_for_the_other():
    own, named, chosen = _asked(*OWN), _asked(), _asked(*OWN, "--search", "random")
    assert "linear,extra_trees,boosting, for at most 5 min" in sentence(own, resolved(own, "regression"), "regression")
    assert "search=grid" in sentence(own, resolved(own, "regression"), "regression")
    others = "search=tpe algorithm=linear,extra_trees,boosting"
    assert others in sentence(named, resolved(named, "regression"), "regression")
    assert sentence(chosen, resolved(chosen, "regression"), "regression") == ""


def test_search_that_learns_begins_with_each_algorithm():
    """By turns: else most of the first trials are linear ones, which have ten times as many configurations."""
    settings = study_settings(search="tpe", algorithm="linear,extra_trees,boosting")
    data = bundled("red_wine", 10)
    tried = configurations(settings, data.split, find_all(data.task, settings.algorithm))
    assert {each.algorithm for each in tried[:3]} == {"boosting", "extra_trees", "linear"}


@cases(
    "time_limit_s, may_fold, folds, search_rows",
    {
        "enough": (3600.0, True, 10, None),
        "too short": (0.01, True, 3, pace.TIMED_ROWS),
        "folds are the user's": (0.01, False, 10, pace.TIMED_ROWS),
    },
)
def test_too_few_trials_in_time_means_fewer_folds_then_fewer_rows(time_limit_s, may_fold, folds, search_rows):
    table, data = table_of("red_wine"), bundled("red_wine", 10)
    settings = study_settings(search="tpe", time_limit_s=time_limit_s)
    trials = configurations(settings, data.split, find_all(data.task, "linear"))
    found = pace.fitted(settings, table, data.split, trials, may_fold=may_fold)
    assert (found.folds, found.search_rows) == (folds, search_rows)
    assert bool(pace.sentence(settings, found)) == (found != settings)


def test_line_says_what_was_lowered_and_how_to_undo_it():
    settings = study_settings()
    less = replace(settings, folds=5, search_rows=2000)
    said = pace.sentence(settings, less)
    assert "5 folds in place of 10" in said
    assert "2000 of the training rows" in said
    assert "folds=10 search_rows=all time_limit_s=none undoes that" in said
