"""The options that the commands share.

Every option is also an MLproject parameter of the same name and default. Wrong values raise ``UserError``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click import Choice, FloatRange, IntRange

from entrypoints.datasets import known
from entrypoints.option_types import (
    NONE,
    AutoType,
    DatasetsType,
    DatasetType,
    GridType,
    GroupsType,
    ListType,
    ModelNameType,
    Option,
    RunIdsType,
    RunIdType,
)
from entrypoints.settings import AUTO, DEFAULT_CRITERIA, DEFAULT_EPOCHS, DEFAULT_STEPS

Options = Callable[[Callable[..., Any]], Callable[..., Any]]

SEARCHES = ("grid", "random")
SCHEDULERS = (NONE, "asha", "median")
MODES = (AUTO, "min", "max")


def option(name: str, default: object, kind: Any, explanation: str, metavar: str | None = None) -> Options:
    """An option of a click type; its help text is the explanation and the default."""
    return click.option(
        f"--{name}", cls=Option, type=kind, default=default, show_default=True, help=explanation, metavar=metavar
    )


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
    RunIdType(),
    "The run id of an interrupted study to continue. Finished trials are skipped; settings come from that study, "
    "except cpus, time_limit_s, ray_address and, if given, register. none: a new study.",
)

_DATASETS = f"{', '.join(known.known())}, openml:<id>, or the path of a CSV or Parquet file"
_target_option = option(
    "target", AUTO, str, "The column to predict. auto: the dataset's own; required for a file.", "COLUMN"
)
dataset_option = together(option("dataset", "red_wine", DatasetType(), f"The dataset: {_DATASETS}."), _target_option)

_max_rows = option("max_rows", 0, IntRange(0), "Rows to sample at random; 0: all.")
_batch_sizes = option(
    "batch_sizes",
    AUTO,
    AutoType(ListType(IntRange(1))),
    "Rows per training step, e.g. 32,256. auto: 2, 4, 8 .. up to the rows of a training fold.",
)
_learning_rates = option(
    "learning_rates",
    "0.1,0.01,0.001,0.0001",
    ListType(FloatRange(0, min_open=True)),
    "Constant learning rates of the built-in algorithms.",
)
_alphas = option(
    "alphas",
    "0.001,0.01,0.1",
    ListType(FloatRange(0)),
    "Multipliers of the built-in algorithms' L2 penalty.",
)

# What main takes: what is studied, and what decides how long that takes.
main_options = together(
    option(
        "dataset",
        "red_wine",
        DatasetsType(),
        f"The dataset: {_DATASETS}. Several, separated by commas, are studied one after the other and then compared.",
    ),
    _target_option,
    _max_rows,
    _batch_sizes,
    _learning_rates,
    _alphas,
)

# What prepare needs: the dataset and its split.
dataset_options = together(
    dataset_option,
    _max_rows,
    option("folds", 10, IntRange(2), "Cross-validation folds of the training part."),
    option("seed", 0, IntRange(0), "Fixes the split, the folds, and the order of batches and trials."),
)

# What a search needs: the grid, a trial's length, the CPU cores.
study_options = together(
    dataset_options,
    option(
        "algorithm",
        AUTO,
        str,
        "linear (regression), logistic or svm (classification), the import path of an estimator with partial_fit, "
        "such as sklearn.neural_network.MLPClassifier, several separated by commas, or auto: all built-in ones that "
        "fit the dataset's task.",
    ),
    _batch_sizes,
    _learning_rates,
    _alphas,
    option(
        "tols",
        "0",
        ListType(FloatRange(0)),
        "End a trial when its training loss has not improved by this much for 5 epochs, or 5 reports if these are "
        "longer, e.g. 0,0.001,0.01. 0: never.",
    ),
    option(
        "grid",
        AUTO,
        GridType(),
        "Values of your own algorithm's hyperparameters, as JSON or in a YAML file: "
        '{"hidden_layer_sizes": [[16], [64]], "alpha": {"loguniform": [1e-5, 1e-1]}}. auto: the estimator\'s defaults.',
    ),
    option(
        "search",
        SEARCHES[0],
        Choice(SEARCHES),
        "grid: every combination; random: a random sample of them, in which values may come from distributions such as "
        "loguniform.",
    ),
    option("samples", 0, IntRange(0), "Trials of a random search; 0: 20."),
    option(
        "repeats",
        0,
        IntRange(0),
        "How often to run one configuration from the middle of the grid, to measure how much figures differ from run "
        "to run. 0: 3 with an algorithm of your own and at least 8 configurations, else 1.",
    ),
    option("max_trials", 0, IntRange(0), "Maximum number of trials, chosen at random from the grid; 0: no limit."),
    option(
        "max_steps",
        AUTO,
        AutoType(IntRange(0)),
        f"Training steps of a trial; 0: no limit. auto: {DEFAULT_STEPS} if max_epochs is auto too, else no limit.",
    ),
    option(
        "max_epochs",
        AUTO,
        AutoType(IntRange(0)),
        f"Passes over the training rows; 0: no limit. auto: {DEFAULT_EPOCHS} if max_steps is auto too, else no "
        "limit. The limit that is reached first ends the trial.",
    ),
    option(
        "time_limit_s",
        0,
        FloatRange(0),
        "Maximum seconds for the search, including the timing of a few batches of each kind before it; the best trial "
        "finished by then is the result. 0: no limit.",
    ),
    option("report_every", 100, IntRange(1), "Training steps between two points of each curve."),
    option("cpus", 0, IntRange(0), "CPU cores, one trial on each; 0: all usable cores."),
    option(
        "ray_address",
        "local",
        str,
        "The Ray cluster to run on, auto or host:port; start the study on one of its nodes. local: the cluster in the "
        "environment variable RAY_ADDRESS, or else this machine.",
        "ADDRESS",
    ),
    option(
        "groups",
        "process",
        GroupsType(),
        "What to measure, e.g. process,gpu. container adds series of the trial's container, and gpu adds "
        "peak_gpu_memory_mb.",
    ),
    option(
        "register",
        NONE,
        ModelNameType(),
        "Register the best model under this name in MLflow's model registry, as its newest version, with the alias "
        "candidate and its score and costs as tags. none: do not register it.",
    ),
)

# Limits on what a trial may cost.
limit_options = together(
    option(
        "criteria",
        AUTO,
        str,
        "Limits, separated by commas: peak_memory_mb<=300, mean_step_time_ms<=2, training_time_s<=2x median (of the "
        "study's trials), mean_cpu_percent>=50, or val_loss patience 3 (reports without "
        f"improvement). auto: {DEFAULT_CRITERIA}.",
    ),
    option(
        "predict",
        "on",
        Choice(("on", "off")),
        "on: stop or skip a trial as soon as it is predicted to break a limit; off: stop it only when it breaks one.",
    ),
    option(
        "scheduler",
        SCHEDULERS[0],
        Choice(SCHEDULERS),
        "Ray Tune's asha or median stopping rule on val_loss, besides the criteria.",
    ),
)

# Which studies a report reads.
report_options = together(
    option(
        "dataset",
        "red_wine",
        DatasetType(),
        "Report on the newest studies of this dataset, named as for tune; not used if study is given.",
    ),
    option(
        "study",
        AUTO,
        RunIdsType(),
        "Run ids of finished studies, separated by commas: one full study of a dataset and those under limits; or full "
        "ones of a dataset that differ in seed or host; or one of each of several datasets. auto: the dataset's newest "
        "tune in this experiment, and the newest early_stop of the same trials under each set of limits.",
    ),
    option(
        "metric",
        AUTO,
        str,
        "The metric that ranks the trials of another Tune script's study. auto: val_rmse or val_accuracy.",
        "NAME",
    ),
    option(
        "mode",
        MODES[0],
        Choice(MODES),
        "Whether the lowest (min) or highest (max) values of that metric are better. auto: known for val_rmse and "
        "val_accuracy.",
    ),
)
