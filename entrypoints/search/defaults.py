"""What ``auto`` stands for: a grid that explains a dataset of the source, the best model for a table of one's own."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from entrypoints.datasets.tables import Table, Task
from entrypoints.options.kinds import AUTO, NAMED_DATASETS
from entrypoints.options.settings import AUTO_NUMBER, FOLDS, StudySettings
from entrypoints.text import duration

TIME_LIMIT_S = 300.0
LOG_LOSS = "neg_log_loss"
ONE_CLASS = 0.8  # from this share of one class on, accuracy hides the others
_LINEAR = {"regression": "ridge", "classification": "logistic_regression"}
_BOOSTING = ("catboost", "lightgbm")  # whose libraries are used where they are installed, in place of scikit-learn's


def resolved(settings: StudySettings, task: Task) -> StudySettings:
    """The settings with what ``auto`` stands for, before anything is known of what trials take."""
    is_own = settings.dataset not in NAMED_DATASETS
    search = settings.search
    if search == AUTO:
        search = "tpe" if is_own else "grid"
    algorithm = settings.algorithm
    if algorithm == AUTO and is_own:
        algorithm = different_algorithms(task)
    time_limit_s = settings.time_limit_s
    if time_limit_s == AUTO_NUMBER:
        time_limit_s = TIME_LIMIT_S if is_own and search == "tpe" else None
    return replace(
        settings,
        search=search,
        algorithm=algorithm,
        time_limit_s=time_limit_s,
        folds=settings.folds or FOLDS,
        search_rows=settings.search_rows or None,
    )


def duplicates_of(asked: str | None, dataset: str, table: Table) -> str | None:
    """What ``duplicates=auto`` stands for: copies of a user's rows may be on one side only, if that is possible.

    The named datasets stay as their source has them, so that their scores can be compared with those of others.
    """
    if asked != AUTO:
        return asked
    is_by_option = table.groups is not None or table.times is not None
    may_change = dataset not in NAMED_DATASETS and not is_by_option
    return "together" if may_change and table.has_many_copies else None


def metric_of(asked: str | None, dataset: str, table: Table) -> str | None:
    """What ``metric=auto`` stands for where it is not accuracy or RMSE: log loss where most rows are of one class.

    By accuracy most models would equal one that ignores all features.
    """
    is_auto = asked is None and dataset not in NAMED_DATASETS and table.task == "classification"
    return LOG_LOSS if is_auto and table.largest_class > ONE_CLASS else asked


def different_algorithms(task: Task) -> str:
    """A linear one, averaged trees, and trees that learn from each other's errors: one of them fits most tables.

    A forest, whose trees are averaged, too, is among the references with its defaults.
    """
    installed = [name for name in _BOOSTING if find_spec(name)] or ["boosting"]
    return ",".join([_LINEAR[task], "extra_trees", *installed])


def sentence(asked: StudySettings, settings: StudySettings, task: Task) -> str:
    """What is searched where ``search=auto``, and what to type for the other; empty where the user has chosen."""
    is_grid = settings.search == "grid"
    if asked.search != AUTO or (is_grid and asked.algorithm != AUTO):
        return ""
    if is_grid:
        others = f"search=tpe algorithm={different_algorithms(task)}"
        return f"Every combination is tried, to explain this dataset; to look for its best model: {others}"
    within = f", for at most {duration(settings.time_limit_s)} (time_limit_s)" if settings.time_limit_s else ""
    return f"Looks for the best of {settings.algorithm}{within}; search=grid tries every combination"
