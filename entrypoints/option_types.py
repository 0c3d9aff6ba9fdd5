"""What the texts of options stand for, and the sentence, a ``UserError``, for a text that is not allowed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Generic, TypeVar

import click

from entrypoints import search_space
from entrypoints.datasets import known
from entrypoints.errors import UserError
from entrypoints.settings import AUTO
from entrypoints.text import one_line
from entrypoints.user_folder import user_folder

Number = TypeVar("Number", int, float)
NONE = "none"


class DatasetType(click.ParamType):
    """A dataset's name; a relative path becomes absolute, from the folder in which the user typed the command."""

    name = "dataset"

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
