"""The options that the commands share.

Every option is also an MLproject parameter of the same name and default. Wrong values raise ``UserError``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from entrypoints.datasets import known
from entrypoints.option_types import (
    NONE,
    ChoiceType,
    DatasetType,
    GridType,
    NumberListType,
    NumberType,
    RunIdsType,
    RunIdType,
)
from entrypoints.settings import AUTO, DEFAULT_CRITERIA

Command = TypeVar("Command", bound=Callable[..., Any])

SEARCHES = ("grid", "random")
SCHEDULERS = (NONE, "asha", "median")
MODES = (AUTO, "min", "max")


RESUME_OPTION = click.option(
    "--resume",
    type=RunIdType(),
    default=NONE,
    show_default=True,
    metavar="ID",
    help="The run id of an interrupted study to continue: its settings are taken from there, but for cpus and "
    "time_limit_s, and trials that are done are not run again. none: a new study.",
)


def dataset_option(command: Command) -> Command:
    """Add the choice of a dataset and its target to a command."""
    return _apply(
        command,
        click.option(
            "--dataset",
            type=DatasetType(),
            default="red_wine",
            show_default=True,
            metavar="NAME",
            help=f"The dataset: {', '.join(known.known())}, openml:<id>, or the path of a CSV or Parquet file.",
        ),
        click.option(
            "--target",
            default=AUTO,
            show_default=True,
            metavar="COLUMN",
            help="The column to predict. auto: the dataset's own; a file has none.",
        ),
    )


def dataset_options(command: Command) -> Command:
    """Add what ``prepare`` needs to a command: the dataset and its split."""
    return _apply(
        command,
        dataset_option,
        click.option(
            "--max_rows",
            type=NumberType(int, least=0),
            default=0,
            show_default=True,
            help="Use so many rows of the table, drawn at random; 0: all.",
        ),
        click.option(
            "--folds",
            type=NumberType(int, least=2),
            default=10,
            show_default=True,
            help="Cross-validation folds of the training part.",
        ),
        click.option(
            "--seed",
            type=NumberType(int, least=0),
            default=0,
            show_default=True,
            help="Fixes the split, the folds and the order of the batches.",
        ),
    )


def study_options(command: Command) -> Command:
    """Add what a search needs to a command: the grid, a trial's length, the CPU cores."""
    return dataset_options(
        _apply(
            command,
            click.option(
                "--algorithm",
                default=AUTO,
                show_default=True,
                help="linear (regression), logistic or svm (classification), the import path of an estimator with "
                "partial_fit, such as sklearn.neural_network.MLPClassifier, several separated by commas, or auto: all "
                "built-in ones that fit the dataset's task.",
            ),
            click.option(
                "--batch_sizes",
                type=NumberListType(NumberType(int, least=1), auto=True),
                default=AUTO,
                show_default=True,
                metavar="LIST",
                help="Rows per training step, e.g. 32,256. auto: 2, 4, 8 .. up to the rows of a training fold.",
            ),
            click.option(
                "--learning_rates",
                type=NumberListType(NumberType(float, above=0)),
                metavar="LIST",
                default="0.1,0.01,0.001,0.0001",
                show_default=True,
                help="Constant learning rates of the built-in algorithms.",
            ),
            click.option(
                "--alphas",
                type=NumberListType(NumberType(float, least=0)),
                metavar="LIST",
                default="0.0001,0.001,0.01",
                show_default=True,
                help="Multipliers of the built-in algorithms' L2 penalty.",
            ),
            click.option(
                "--grid",
                type=GridType(),
                metavar="JSON|FILE",
                default=AUTO,
                show_default=True,
                help="Values of your own algorithm's hyperparameters, as JSON or in a YAML file: "
                '{"hidden_layer_sizes": [[16], [64]], "alpha": {"loguniform": [1e-5, 1e-1]}}. '
                "auto: the estimator's defaults.",
            ),
            click.option(
                "--search",
                type=ChoiceType(SEARCHES),
                default=SEARCHES[0],
                show_default=True,
                help="grid: every combination; random: some of them, and of distributions such as loguniform.",
            ),
            click.option(
                "--samples",
                type=NumberType(int, least=0),
                default=0,
                show_default=True,
                help="Trials of a random search; 0: 20.",
            ),
            click.option(
                "--max_trials",
                type=NumberType(int, least=0),
                default=0,
                show_default=True,
                help="At most so many trials, chosen at random from the grid; 0: no limit.",
            ),
            click.option(
                "--max_steps",
                type=NumberType(int, least=0),
                default=500,
                show_default=True,
                help="Training steps of a trial; 0: no limit.",
            ),
            click.option(
                "--max_epochs",
                type=NumberType(int, least=0),
                default=0,
                show_default=True,
                help="Passes over the training rows; 0: no limit. The limit that is reached first ends the trial.",
            ),
            click.option(
                "--time_limit_s",
                type=NumberType(float, least=0),
                default=0,
                show_default=True,
                help="Seconds that the search may take; the best of what has finished by then counts. 0: no limit.",
            ),
            click.option(
                "--report_every",
                type=NumberType(int, least=1),
                default=100,
                show_default=True,
                help="Training steps between two points of each curve.",
            ),
            click.option(
                "--cpus",
                type=NumberType(int, least=0),
                default=0,
                show_default=True,
                help="CPU cores, one trial on each; 0: all that are usable.",
            ),
            click.option(
                "--ray_address",
                default="local",
                show_default=True,
                metavar="ADDRESS",
                help="The Ray cluster to run on: auto or host:port, from one of its nodes. local: the one that the "
                "environment variable RAY_ADDRESS names, or else processes on this machine.",
            ),
        )
    )


def limit_options(command: Command) -> Command:
    """Add limits on what a trial may cost to a command."""
    return _apply(
        command,
        click.option(
            "--criteria",
            default=AUTO,
            show_default=True,
            metavar="TEXT",
            help="Limits, separated by commas: peak_memory_mb<=300, mean_step_time_ms<=2, training_time_s<=2x median "
            "(of the trials finished so far), inference_latency_ms<=1, cpu_percent>=50, or val_loss patience 3 "
            f"(reports without improvement). auto: {DEFAULT_CRITERIA}.",
        ),
        click.option(
            "--predict",
            type=ChoiceType(("on", "off")),
            default="on",
            show_default=True,
            help="on: stop a trial, or skip it, as soon as it is clear that it will break a limit; off: once it does.",
        ),
        click.option(
            "--scheduler",
            type=ChoiceType(SCHEDULERS),
            default=SCHEDULERS[0],
            show_default=True,
            help="Ray Tune's asha or median stopping rule on val_loss, besides the criteria.",
        ),
    )


def report_options(command: Command) -> Command:
    """Add what a report needs to a command: which studies it reads."""
    return _apply(
        command,
        click.option(
            "--dataset",
            type=DatasetType(),
            default="red_wine",
            show_default=True,
            metavar="NAME",
            help="The dataset whose newest studies are read, named as for tune; not used where study is given.",
        ),
        click.option(
            "--study",
            type=RunIdsType(),
            default=AUTO,
            show_default=True,
            metavar="IDS",
            help="Run ids of finished studies of one dataset, separated by commas. auto: the dataset's newest tune in "
            "this experiment, and the newest early_stop of the same trials under each set of limits.",
        ),
        click.option(
            "--metric",
            default=AUTO,
            show_default=True,
            metavar="NAME",
            help="What ranks the trials of another Tune script's study. auto: val_rmse or val_accuracy.",
        ),
        click.option(
            "--mode",
            type=ChoiceType(MODES),
            default=MODES[0],
            show_default=True,
            help="Which values of that metric are better, the lowest or the highest; auto knows it of its own two.",
        ),
    )


def _apply(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
