"""The options that the commands share, and what of them is allowed.

Every option is also an MLproject parameter of the same name and default. Wrong values raise ``UserError``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import click
import psutil

from entrypoints import datasets, search_space
from entrypoints.algorithms import AUTO
from entrypoints.cleaning import one_line
from entrypoints.errors import UserError

Number = TypeVar("Number", int, float)
Command = TypeVar("Command", bound=Callable[..., Any])

NONE = "none"
SEARCHES = ("grid", "random")
SCHEDULERS = (NONE, "asha", "median")
MODES = (AUTO, "min", "max")
DEFAULT_CRITERIA = "training_time_s<=2x median, peak_memory_mb<=1.5x median, val_loss patience 2"


class DatasetType(click.ParamType):
    """A dataset's name; a relative path becomes absolute, from the folder in which the user typed the command."""

    name = "dataset"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, or the absolute path."""
        name = str(value)
        if name in datasets.known():
            return name
        try:
            path = user_folder() / Path(name).expanduser()
            return str(path) if path.is_file() else name
        except (OSError, RuntimeError) as error:  # a folder that is closed to the user, or nobody's home
            raise UserError(
                f"dataset={name}: it cannot be looked for ({one_line(error)}); give the path of a CSV or Parquet file "
                "that you may read"
            ) from None


class GridType(click.ParamType):
    """The hyperparameters of the user's own algorithm; ``auto`` becomes None."""

    name = "grid"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> search_space.Space | None:
        """The values to try for each, from JSON or a file."""
        return None if value == AUTO else search_space.parse(str(value), user_folder())


class RunIdsType(click.ParamType):
    """Ids of MLflow runs separated by commas, as a tuple without repetitions; ``auto`` becomes None."""

    name = "ids"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...] | None:
        """The ids that a text like ``0a1b,2c3d`` stands for."""
        if value == AUTO:
            return None
        ids = [part.strip() for part in str(value).split(",")]
        if not all(ids):
            raise _not_allowed(param, value, f"{AUTO} or run ids separated by commas are allowed")
        return tuple(dict.fromkeys(ids))


class RunIdType(click.ParamType):
    """The id of an MLflow run; ``none`` becomes None."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | None:
        """The id without the blanks around it."""
        run_id = str(value).strip()
        if not run_id:
            raise _not_allowed(param, value, f"{NONE} or the run id of a study is allowed")
        return None if run_id == NONE else run_id


class ChoiceType(click.ParamType):
    """One of a few words."""

    name = "word"

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word itself."""
        if value not in self.words:
            raise _not_allowed(param, value, f"{' or '.join(self.words)} is allowed")
        return str(value)


def user_folder() -> Path:
    """The folder of ``mlflow run``, which starts commands in the project's folder instead, or else of this process."""
    process = psutil.Process()
    try:
        parent = process.parent() if "MLFLOW_RUN_ID" in os.environ else None
        return Path((parent or process).cwd())
    except psutil.Error:
        return Path.cwd()


class NumberType(click.ParamType, Generic[Number]):
    """One number within bounds. ``above`` is excluded, ``least`` is allowed; infinity and NaN never are."""

    def __init__(self, kind: type[Number], *, least: float = -math.inf, above: float = -math.inf) -> None:
        self.kind: type[Number] = kind
        self.least = least
        self.above = above
        self.name = "integer" if kind is int else "number"

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        bound = f"above {self.above:g}" if math.isfinite(self.above) else f"from {self.least:g}"
        return f"{'a whole number' if self.kind is int else 'a number'} {bound}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Number:
        """The number that a text stands for."""
        number = self.parse(str(value))
        if number is None:
            raise _not_allowed(param, value, f"{self.allowed} is allowed")
        return number

    def parse(self, text: str) -> Number | None:
        """The number, or None where the text is no allowed one."""
        try:
            number = self.kind(text)
            allowed = math.isfinite(number) and number >= self.least and number > self.above
        except (ValueError, OverflowError):  # a whole number may be beyond every float
            return None
        return number if allowed else None


class NumberListType(click.ParamType, Generic[Number]):
    """Numbers separated by commas, as a tuple without repetitions; where ``auto`` is allowed it becomes None."""

    name = "list"

    def __init__(self, each: NumberType[Number], *, auto: bool = False) -> None:
        self.each: NumberType[Number] = each
        self.auto = auto

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Number, ...] | None:
        """The numbers that a text like ``0.1,0.01`` stands for."""
        if self.auto and value == AUTO:
            return None
        numbers = [self.each.parse(part.strip()) for part in str(value).split(",")]
        if None in numbers:
            auto = f"{AUTO} or " if self.auto else ""
            raise _not_allowed(
                param, value, f"{auto}numbers separated by commas, each {self.each.allowed}, are allowed"
            )
        return tuple(dict.fromkeys(number for number in numbers if number is not None))


def _not_allowed(param: click.Parameter | None, value: object, allowed: str) -> UserError:
    name = param.name if param else "value"
    default = param.default if param else None
    return UserError(f"{name}={value}: {allowed}; leave it out for the default, {default}")


SHARED = ("dataset", "target", "max_rows", "folds", "seed", "max_steps", "max_epochs", "report_every")


@dataclass(frozen=True)
class StudySettings:
    """What a study searches, and how. 0 means no limit, all for ``cpus``, and the default for ``samples``."""

    dataset: str
    target: str
    max_rows: int
    algorithm: str
    batch_sizes: tuple[int, ...] | None
    learning_rates: tuple[float, ...]
    alphas: tuple[float, ...]
    grid: search_space.Space | None
    search: str
    samples: int
    max_trials: int
    folds: int
    seed: int
    max_steps: int
    max_epochs: int
    time_limit_s: float
    report_every: int
    cpus: int
    ray_address: str

    def __post_init__(self) -> None:
        if not self.max_steps and not self.max_epochs:
            raise UserError(
                "max_steps=0 and max_epochs=0: a trial needs an end, so at least one of them must be above 0; "
                "set max_steps=500 for the default length"
            )

    @property
    def shared(self) -> dict[str, Any]:
        """What the run of every trial says of its study."""
        return {name: getattr(self, name) for name in SHARED}


@dataclass(frozen=True)
class Limits:
    """What a trial may cost: a criteria text, or None for the default, and what acts on it."""

    criteria: str | None
    predict: bool
    scheduler: str

    @classmethod
    def of(cls, criteria: str, predict: str, scheduler: str) -> Limits:
        """What the texts of the options mean."""
        return cls(None if criteria == AUTO else criteria, predict == "on", scheduler)


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
            help=f"The dataset: {', '.join(datasets.known())}, openml:<id>, or the path of a CSV or Parquet file.",
        ),
        click.option(
            "--target",
            default=AUTO,
            show_default=True,
            metavar="COLUMN",
            help="The column to predict. auto: the dataset's own; a file has none.",
        ),
    )


def own_target(target: str) -> str | None:
    """The column that an option's value names; None for the dataset's own."""
    return None if target == AUTO else target


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
