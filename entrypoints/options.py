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

from entrypoints import datasets
from entrypoints.errors import UserError

Number = TypeVar("Number", int, float)
Command = TypeVar("Command", bound=Callable[..., Any])

AUTO = "auto"


class DatasetType(click.ParamType):
    """A dataset's name; a relative path becomes absolute, from the folder in which the user typed the command."""

    name = "dataset"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, or the absolute path."""
        name = str(value)
        path = user_folder() / Path(name).expanduser()
        return str(path) if name not in datasets.known() and path.is_file() else name


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


@dataclass(frozen=True)
class StudySettings:
    """What a study searches, and how. 0 means no limit for ``max_steps`` and ``max_epochs``, all for ``cpus``."""

    dataset: str
    target: str
    algorithm: str
    batch_sizes: tuple[int, ...] | None
    learning_rates: tuple[float, ...]
    alphas: tuple[float, ...]
    folds: int
    seed: int
    max_steps: int
    max_epochs: int
    report_every: int
    cpus: int

    def __post_init__(self) -> None:
        if not self.max_steps and not self.max_epochs:
            raise UserError(
                "max_steps=0 and max_epochs=0: a trial needs an end, so at least one of them must be above 0; "
                "set max_steps=500 for the default length"
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
                help="linear (regression), logistic or svm (classification), several separated by commas, or auto: "
                "all that fit the dataset's task.",
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
                help="Constant learning rates of SGD.",
            ),
            click.option(
                "--alphas",
                type=NumberListType(NumberType(float, least=0)),
                metavar="LIST",
                default="0.0001,0.001,0.01",
                show_default=True,
                help="Multipliers of the L2 penalty.",
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
        )
    )


def _apply(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
