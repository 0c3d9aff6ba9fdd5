"""The options that the commands share.

Every option is also an MLproject parameter of the same name and default. Wrong values raise ``UserError``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from entrypoints.datasets import known
from entrypoints.option_types import (
    ALL,
    DATASET,
    DATASETS,
    GROUP_NAMES,
    MODEL_NAME,
    NONE,
    RUN_ID,
    RUN_IDS,
    SPACE,
    Kind,
    Option,
    above_0,
    one_of,
    text,
    whole,
)
from entrypoints.settings import AUTO, BEST, CHEAPEST, DEFAULT_EPOCHS, DEFAULT_LIMITS, DEFAULT_STEPS

Options = Callable[[Callable[..., Any]], Callable[..., Any]]


def option(name: str, default: str, kind: Kind, explanation: str) -> Options:
    """An option of a kind; its help text is the explanation and the default."""
    return click.option(f"--{name}", cls=Option, kind=kind, default=default, show_default=True, help=explanation)


def together(*options: Options) -> Options:
    """Several options as one decorator."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for each in reversed(options):
            command = each(command)
        return command

    return add


resume_option = option(
    "resume",
    NONE,
    RUN_ID,
    "The run id of an interrupted study to continue. Finished trials are skipped; settings come from that study, "
    "except cpus, time_limit_s, ray_address and, if given, register. none: a new study.",
)

_DATASETS = f"{', '.join(known.KNOWN)}, openml:<id>, or the path of a CSV or Parquet file"
_target = option(
    "target", AUTO, text("COLUMN", auto=None), "The column to predict. auto: the dataset's own; required for a file."
)
_drop = option("drop", NONE, text("COLUMNS", none=None), "Columns to leave out as features, separated by commas.")
_split = together(
    option("max_rows", ALL, whole(1, all=None), "Rows to sample at random."),
    option("folds", "10", whole(2), "Cross-validation folds of the training part."),
    option(
        "group",
        NONE,
        text("COLUMN", none=None),
        "A column such as a patient's number: rows of one value stay together in the training or test part, and in one "
        "fold. It is not a feature.",
    ),
    option(
        "time",
        NONE,
        text("COLUMN", none=None),
        "A column of dates or numbers: the test part is the latest rows, and each fold is predicted from earlier ones.",
    ),
    option(
        "duplicates",
        "keep",
        one_of("together", keep=None),
        "together: exact copies of a row, target included, stay in one part and one fold. keep: they are rows as any.",
    ),
    option("seed", "0", whole(0), "Fixes the split, the folds, and the order of batches and trials."),
)
_models = together(
    option(
        "algorithm",
        AUTO,
        text("NAMES"),
        "linear (regression), logistic or svm (classification), mlp, forest, extra_trees, boosting, xgboost, lightgbm, "
        "the import path of any scikit-learn classifier or regressor, such as sklearn.svm.SVC, several separated by "
        "commas, or auto: of the first three those that fit the dataset's task.",
    ),
    option(
        "space",
        AUTO,
        SPACE,
        "The values to try, as YAML or JSON or the path of such a file: {batch_size: [8, 64], forest: {max_depth: [4, "
        "8]}}. A name is for each algorithm that takes it, or under an algorithm's name for that one alone. linear, "
        "logistic and svm take batch_size, learning_rate, alpha and tol; the others what the constructor takes, and "
        "with partial_fit batch_size and tol. What is left out keeps its default. search=random and "
        "search=tpe also draw from {uniform: [0, 1]}, {loguniform: [1e-5, 0.1]} or {integers: [2, 64]}. auto: all "
        "defaults.",
    ),
    option(
        "metric",
        AUTO,
        text("NAME", auto=None),
        "The score that ranks models, by the name of a scikit-learn scorer: roc_auc, average_precision, f1_macro, "
        "neg_mean_absolute_error .. auto: RMSE, or the accuracy of classes.",
    ),
    option(
        "class_weight",
        NONE,
        one_of("balanced", none=None),
        "balanced: rows of rare classes count more in training, so that all classes count the same.",
    ),
    option(
        "choose",
        BEST,
        one_of(BEST, CHEAPEST),
        "Which model is the result. best: that with the best score, of equal scores the cheapest; cheapest: of those "
        "as good within noise the one with the lowest cost, in the first limit's metric or training_time_s.",
    ),
)
_limits = option(
    "limits",
    AUTO,
    text("LIMITS"),
    "Limits, separated by commas: peak_memory_mb<=300, mean_step_time_ms<=2, training_time_s<=2x median (of the "
    "study's trials), mean_cpu_percent>=50, or val_loss patience 3 (reports without "
    f"improvement). auto: {DEFAULT_LIMITS}.",
)

# What prepare needs: the dataset and its split.
dataset_options = together(option("dataset", "red_wine", DATASET, f"The dataset: {_DATASETS}."), _target, _drop, _split)

# What main takes: what is studied, and within which limits.
main_options = together(
    option(
        "dataset",
        "red_wine",
        DATASETS,
        f"The dataset: {_DATASETS}. Several, separated by commas, are studied one after the other and then compared.",
    ),
    _target,
    _drop,
    _split,
    _models,
    _limits,
)

# What a search needs: the space, a trial's length, the CPU cores.
study_options = together(
    dataset_options,
    _models,
    option(
        "search",
        "grid",
        one_of("grid", "random", "tpe"),
        "grid: every combination of the values; random: some of them, in which values may come from distributions; "
        "tpe: those that look best by the trials so far, also from distributions.",
    ),
    option(
        "max_trials",
        AUTO,
        whole(1, auto=None),
        "Maximum number of configurations, of a grid chosen at random. auto: the whole grid, 20 of a random search, "
        "or with search=tpe a quarter of the combinations, at least 30.",
    ),
    option(
        "repeats",
        AUTO,
        whole(2, auto=None, none=1),
        "How often to run one configuration from the middle of the space, to measure how much figures differ from run "
        "to run. none: once. auto: 3 with any algorithm but linear, logistic and svm, and at least 8 configurations, "
        "else once.",
    ),
    option(
        "max_steps",
        AUTO,
        whole(1, auto=AUTO, none=None),
        f"Training steps of a trial on batches. auto: {DEFAULT_STEPS} if max_epochs is auto too, else none.",
    ),
    option(
        "max_epochs",
        AUTO,
        whole(1, auto=AUTO, none=None),
        f"Passes over the training rows in batches. auto: {DEFAULT_EPOCHS} if max_steps is auto too, else none. The "
        "limit that is reached first ends the trial.",
    ),
    option(
        "time_limit_s",
        NONE,
        above_0(none=None),
        "Maximum seconds for the search, from the start of its first trial; the best trial finished by then is the "
        "result.",
    ),
    option(
        "report_every",
        AUTO,
        whole(1, auto=None),
        "Training steps between two points of each curve. auto: about 20 points a trial.",
    ),
    option("cpus", ALL, whole(1, all=None), "CPU cores, one trial on each. all: those that this process may use."),
    option(
        "ray_address",
        "local",
        text("ADDRESS"),
        "The Ray cluster to run on, auto or host:port; start the study on one of its nodes. local: the cluster in the "
        "environment variable RAY_ADDRESS, or else this machine.",
    ),
    option(
        "groups",
        "process",
        GROUP_NAMES,
        "What to measure, e.g. process,gpu. container adds series of the trial's container, and gpu adds "
        "peak_gpu_memory_mb.",
    ),
    option(
        "register",
        NONE,
        MODEL_NAME,
        "Register the best model under this name in MLflow's model registry, as its newest version, with the alias "
        "candidate and its score and costs as tags.",
    ),
)

# Limits on what a trial may cost.
limit_options = together(
    _limits,
    option(
        "predict",
        "on",
        one_of("on", "off"),
        "on: stop or skip a trial as soon as it is predicted to break a limit; off: stop it only when it breaks one.",
    ),
    option(
        "scheduler",
        NONE,
        one_of(NONE, "asha", "median"),
        "Ray Tune's asha or median stopping rule on the score, besides the limits.",
    ),
)

# Which studies a report reads.
report_options = together(
    option(
        "dataset",
        "red_wine",
        DATASET,
        "Report on the newest studies of this dataset, named as for tune; not used if study is given.",
    ),
    option(
        "study",
        AUTO,
        RUN_IDS,
        "Run ids of finished studies, separated by commas: one full study of a dataset and those under limits; or full "
        "ones of a dataset that differ in seed or host; or one of each of several datasets. auto: the dataset's newest "
        "tune in this experiment, and the newest early_stop of the same trials under each set of limits.",
    ),
    option(
        "metric",
        AUTO,
        text("NAME", auto=None),
        "The metric that ranks the trials of another Tune script's study. auto: val_rmse or val_accuracy.",
    ),
    option(
        "mode",
        AUTO,
        one_of("min", "max", auto=None),
        "Whether the lowest (min) or highest (max) values of that metric are better. auto: known for val_rmse and "
        "val_accuracy.",
    ),
)
