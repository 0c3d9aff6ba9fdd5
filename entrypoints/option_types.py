"""What the text of an option stands for, and the sentence, a ``UserError``, for a text that is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from entrypoints import search_space
from entrypoints.datasets import known
from entrypoints.errors import UserError
from entrypoints.own_modules import user_folder
from entrypoints.settings import AUTO
from mlflow_sysmetrics.sampling import GROUPS

NONE, ALL = "none", "all"
MAX_MODEL_NAME = 250  # characters


@dataclass(frozen=True)
class Kind:
    """A kind of option.

    Attributes:
        read: a text -> what it stands for; ValueError, KeyError: it is refused.
        allowed: what texts are allowed, in words.
        metavar: the same in short, for ``--help``.
    """

    read: Callable[[str], Any]
    allowed: str
    metavar: str


class Option(click.Option):
    """An option that refuses a text in one sentence: what was given, what is allowed, what to do."""

    def __init__(self, *args: Any, kind: Kind, **more: Any) -> None:
        super().__init__(*args, metavar=kind.metavar, **more)
        self.kind = kind

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """What a text stands for."""
        try:
            return self.kind.read(str(value))
        except (ValueError, KeyError):
            raise UserError(
                f"{self.name}={value}: {self.kind.allowed} allowed; leave it out for the default, {self.default}"
            ) from None


def text(metavar: str, **words: Any) -> Kind:
    """A text as it stands, or one of some words that stand for something else."""
    return Kind(lambda given: words.get(given, given), "a text is", metavar)


def whole(least: int, **words: Any) -> Kind:
    """A whole number, or one of some words that stand for something else."""
    return _number(int, f"a whole number from {least}", lambda number: number >= least, words)


def above_0(**words: Any) -> Kind:
    """A number above 0, or one of some words that stand for something else."""
    return _number(float, "a number above 0", lambda number: 0 < number < math.inf, words)


def one_of(*choices: str, **words: Any) -> Kind:
    """One of these choices, or of some words that stand for something else."""
    allowed = words | {choice: choice for choice in choices}
    return Kind(allowed.__getitem__, f"{' or '.join(allowed)} is", "|".join(allowed))


def _number(kind: Callable[[str], Any], name: str, is_allowed: Callable[[Any], bool], words: dict[str, Any]) -> Kind:
    def read(given: str) -> Any:
        if given in words:
            return words[given]
        number = kind(given)
        if not is_allowed(number):
            raise ValueError(given)
        return number

    return Kind(read, f"{' or '.join([*words, name])} is", "|".join([*words, "N"]))


def _parts(given: str) -> list[str]:
    """The names in a list separated by commas, each once."""
    parts = [part.strip() for part in given.split(",")]
    if not all(parts):
        raise ValueError(given)
    return list(dict.fromkeys(parts))


def _file(name: str) -> Path | None:
    """The file that a user names, from the folder in which they typed the command; None if there is none."""
    try:
        path = user_folder() / Path(name).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError):  # a name that is too long for a file's, or nobody's home
        return None


def _dataset(name: str) -> str:
    """A dataset's name, or the absolute path of a file."""
    return name if name in known.KNOWN else str(_file(name) or name)


def _datasets(given: str) -> tuple[str, ...]:
    """A file with commas in its name is one."""
    return tuple(map(_dataset, [given] if _file(given) else _parts(given)))


def _groups(given: str) -> tuple[str, ...]:
    names = _parts(given)
    if not set(names) <= set(GROUPS):
        raise ValueError(given)
    return tuple(dict.fromkeys(["process", *names]))


def _model_name(given: str) -> str | None:
    name = given.strip()
    if name in ("", ".", "..") or len(name) > MAX_MODEL_NAME or set("/:") & set(name):
        raise ValueError(given)
    return None if name == NONE else name


def _run_id(given: str) -> str | None:
    (run_id,) = _parts(given)
    return None if run_id == NONE else run_id


DATASET = Kind(_dataset, "a dataset is", "NAME")
DATASETS = Kind(_datasets, "a dataset or several separated by commas are", "NAMES")
SPACE = Kind(
    lambda given: {} if given == AUTO else search_space.parse(given, user_folder()),
    f"{AUTO} or values by name are",
    f"{AUTO}|YAML|FILE",
)
GROUP_NAMES = Kind(_groups, f"a list of {', '.join(GROUPS)}, separated by commas, is", "NAMES")
MODEL_NAME = Kind(
    _model_name, f"{NONE} or a name of at most {MAX_MODEL_NAME} characters without / and : is", f"{NONE}|NAME"
)
RUN_ID = Kind(_run_id, f"{NONE} or the run id of a study is", f"{NONE}|ID")
RUN_IDS = Kind(
    lambda given: None if given == AUTO else tuple(_parts(given)),
    f"{AUTO} or run ids separated by commas are",
    f"{AUTO}|IDS",
)
