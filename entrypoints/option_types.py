"""An option of a command, what its text stands for, and the sentence, a ``UserError``, for a text that is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from entrypoints import search_space
from entrypoints.datasets import known
from entrypoints.errors import UserError
from entrypoints.settings import AUTO
from entrypoints.text import one_line
from entrypoints.user_folder import user_folder
from mlflow_sysmetrics.sampling import GROUPS

NONE = "none"
MAX_MODEL_NAME = 250  # characters


class Option(click.Option):
    """An option that refuses a text in one sentence: what was given, what is allowed, what to do."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """What a text stands for."""
        try:
            cast = super().type_cast_value(ctx, value)
            if _is_finite(cast):
                return cast
        except (click.BadParameter, OverflowError):  # a whole number can be beyond every float
            pass
        kind = self.type.other if isinstance(self.type, AutoType) else self.type
        allowed = f"{_allowed(self.type)} {'are' if isinstance(kind, ListType | RunIdsType) else 'is'} allowed"
        raise UserError(f"{self.name}={value}: {allowed}; leave it out for the default, {self.default}")


class AutoType(click.ParamType):
    """What another type takes, or ``auto``, which becomes None."""

    def __init__(self, other: click.ParamType) -> None:
        self.name = other.name
        self.other = other

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What the other type makes of a text, or None."""
        return None if value == AUTO else self.other(value, param, ctx)


class ListType(click.ParamType):
    """Numbers separated by commas, as a tuple without repetitions."""

    name = "list"

    def __init__(self, each: click.IntRange | click.FloatRange) -> None:
        self.each = each

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | float, ...]:
        """The numbers that a text like ``0.1,0.01`` stands for."""
        return tuple(dict.fromkeys(self.each(part.strip(), param, ctx) for part in str(value).split(",")))


class DatasetType(click.ParamType):
    """A dataset's name; a relative path becomes absolute, from the folder in which the user typed the command."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, or the absolute path."""
        name = str(value)
        if name in known.known():
            return name
        try:
            path = user_folder() / Path(name).expanduser()
            return str(path) if path.is_file() else name
        except (OSError, RuntimeError) as error:  # a folder that is closed to the user, or nobody's home
            raise UserError(
                f"dataset={name}: it cannot be looked for ({one_line(error)}); give the path of a CSV or Parquet file "
                "that you may read"
            ) from None


class DatasetsType(DatasetType):
    """Names of datasets separated by commas, as a tuple without repetitions; a file with commas in its name is one."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # type: ignore[override]
        """What ``DatasetType`` makes of each name."""
        text = str(value)
        names = [text] if _is_file(text) else [part.strip() for part in text.split(",")]
        if not all(names):
            self.fail("a name is missing", param, ctx)
        return tuple(dict.fromkeys(super(DatasetsType, self).convert(name, param, ctx) for name in names))


class GridType(click.ParamType):
    """The hyperparameters of the user's own algorithm; ``auto`` becomes None."""

    name = "json|file"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> search_space.Space | None:
        """The values to try for each, from JSON or a file."""
        return None if value == AUTO else search_space.parse(str(value), user_folder())


class GroupsType(click.ParamType):
    """Names of what is read of a process, separated by commas, as a tuple; ``process`` is always among them."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The groups that a text like ``process,gpu`` stands for."""
        names = [part.strip() for part in str(value).split(",")]
        if not set(names) <= set(GROUPS):
            self.fail("unknown", param, ctx)
        return tuple(dict.fromkeys(["process", *names]))


class RunIdsType(click.ParamType):
    """Ids of MLflow runs separated by commas, as a tuple without repetitions; ``auto`` becomes None."""

    name = "ids"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...] | None:
        """The ids that a text like ``0a1b,2c3d`` stands for."""
        ids = [part.strip() for part in str(value).split(",")]
        if not all(ids):
            self.fail("an id is missing", param, ctx)
        return None if value == AUTO else tuple(dict.fromkeys(ids))


class ModelNameType(click.ParamType):
    """A name that MLflow's model registry allows; ``none`` becomes None."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | None:
        """The name without the blanks around it."""
        name = str(value).strip()
        if name in ("", ".", "..") or len(name) > MAX_MODEL_NAME or set("/:") & set(name):
            self.fail("not allowed", param, ctx)
        return None if name == NONE else name


class RunIdType(click.ParamType):
    """The id of an MLflow run; ``none`` becomes None."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | None:
        """The id without the blanks around it."""
        run_id = str(value).strip() or self.fail("the id is missing", param, ctx)
        return None if run_id == NONE else run_id


def _is_file(name: str) -> bool:
    """Whether a file has this name, from the folder in which the user typed the command."""
    try:
        return (user_folder() / Path(name).expanduser()).is_file()
    except (OSError, RuntimeError):  # such as a name that is too long for a file's
        return False


def _is_finite(value: Any) -> bool:
    """Whether all numbers of an option are finite: click lets NaN and infinity pass."""
    each = value if isinstance(value, tuple) else (value,)
    return all(math.isfinite(number) for number in each if isinstance(number, int | float))


def _allowed(kind: click.ParamType) -> str:
    """What texts of a type are allowed."""
    if isinstance(kind, AutoType):
        return f"{AUTO} or {_allowed(kind.other)}"
    if isinstance(kind, ListType):
        return f"numbers separated by commas, each {_allowed(kind.each)},"
    if isinstance(kind, click.IntRange | click.FloatRange):
        number = "a whole number" if isinstance(kind, click.IntRange) else "a number"
        return f"{number} {'above' if kind.min_open else 'from'} {kind.min}"
    if isinstance(kind, click.Choice):
        return " or ".join(kind.choices)
    if isinstance(kind, GroupsType):
        return f"a list of {', '.join(GROUPS)}, separated by commas,"
    if isinstance(kind, DatasetsType):
        return "a dataset or several separated by commas"
    if isinstance(kind, ModelNameType):
        return f"{NONE} or a name of at most {MAX_MODEL_NAME} characters without / and :"
    return (
        f"{AUTO} or run ids separated by commas" if isinstance(kind, RunIdsType) else f"{NONE} or the run id of a study"
    )
