"""Options of commands: what their texts stand for, and the sentence, a ``UserError``, for a text that is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from entrypoints.compute.own_modules import user_folder
from entrypoints.errors import UserError
from entrypoints.options import search_space
from entrypoints.options.length import DEFAULT_LENGTH, UNITS, Length

AUTO, NONE, ALL = "auto", "none", "all"
# Datasets that have a name. ``datasets.known``, which says what they are, is above this.
NAMED_DATASETS = ("red_wine", "diabetes", "mnist_784", "wave_energy")
MAX_MODEL_NAME = 250  # characters


@dataclass(frozen=True)
class Kind:
    """A kind of option.

    Attributes:
        read: a text -> what it stands for; ValueError: it is refused.
        allowed: what texts are allowed, in words.
        metavar: the same in short, for ``--help``.
        words: those that stand for something else, which ``read`` is not asked about.
    """

    read: Callable[[str], Any]
    allowed: str
    metavar: str
    words: Mapping[str, Any] = field(default_factory=dict)

    def parse(self, given: str) -> Any:
        """What a text stands for."""
        return self.words[given] if given in self.words else self.read(given)

    def write(self, value: Any) -> str:
        """A text that stands for a value."""
        for word, meaning in self.words.items():
            if meaning == value and type(meaning) is type(value):
                return word
        if isinstance(value, tuple):
            return ",".join(value)
        return json.dumps(value) if isinstance(value, dict) else str(value)


class Option(click.Option):
    """An option that refuses a text in one sentence: what was given, what is allowed, what to do."""

    def __init__(self, *args: Any, kind: Kind, **more: Any) -> None:
        super().__init__(*args, metavar=kind.metavar, **more)
        self.kind = kind

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """What a text stands for."""
        try:
            return self.kind.parse(str(value))
        except ValueError:
            raise UserError(
                f"{self.name}={value}: {self.kind.allowed} allowed; leave it out for the default, {self.default}"
            ) from None


Spec = Mapping[str, Any]  # what `click.option` is told of an option


def spec(default: str, kind: Kind, explanation: str) -> Spec:
    """An option whose help text is the explanation and the default."""
    return {"cls": Option, "kind": kind, "default": default, "show_default": True, "help": explanation}


def option(default: str, kind: Kind, explanation: str) -> Any:
    """A field of settings that is an option of that name."""
    return field(metadata=spec(default, kind, explanation))


def add_options(specs: Mapping[str, Spec]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a command these options."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(list(specs)):
            command = click.option(f"--{name}", **specs[name])(command)
        return command

    return add


def text(metavar: str, **words: Any) -> Kind:
    """A text as it stands, or one of some words that stand for something else."""
    return Kind(str, "a text is", metavar, words)


def whole(least: int, **words: Any) -> Kind:
    """A whole number, or one of some words that stand for something else."""
    return _number(int, f"a whole number from {least}", lambda number: number >= least, words)


def above_0(**words: Any) -> Kind:
    """A number above 0, or one of some words that stand for something else."""
    return _number(float, "a number above 0", lambda number: 0 < number < math.inf, words)


def between(low: float, high: float, **words: Any) -> Kind:
    """A number from one to another, or one of some words that stand for something else."""
    return _number(float, f"a number from {low:g} to {high:g}", lambda number: low <= number <= high, words)


def one_of(*choices: str, **words: Any) -> Kind:
    """One of these choices, or of some words that stand for something else."""
    allowed = words | {choice: choice for choice in choices}
    return Kind(_refuse, f"{' or '.join(allowed)} is", "|".join(allowed), allowed)


def _number(kind: Callable[[str], Any], name: str, is_allowed: Callable[[Any], bool], words: dict[str, Any]) -> Kind:
    def read(given: str) -> Any:
        number = kind(given)
        return number if is_allowed(number) else _refuse(given)

    return Kind(read, f"{' or '.join([*words, name])} is", "|".join([*words, "N"]), words)


def _refuse(given: str) -> Any:
    raise ValueError(given)


def _parts(given: str) -> tuple[str, ...]:
    """The names in a list separated by commas, each once."""
    parts = [part.strip() for part in given.split(",")]
    if not all(parts):
        raise ValueError(given)
    return tuple(dict.fromkeys(parts))


def _file(name: str) -> Path | None:
    """The file or folder that a user names, from where they typed the command; None if there is none."""
    try:
        path = user_folder() / Path(name).expanduser()
        return path if name and path.exists() else None
    except (OSError, RuntimeError):  # a name that is too long for a file's, or nobody's home
        return None


def _dataset(name: str) -> str:
    """A dataset's name, or the absolute path of a file or folder."""
    return name if name in NAMED_DATASETS else str(_file(name) or name)


def _datasets(given: str) -> tuple[str, ...]:
    """A file with commas in its name is one."""
    return tuple(map(_dataset, [given] if _file(given) else _parts(given)))


def _model_name(given: str) -> str:
    name = given.strip()
    if name in ("", ".", "..") or len(name) > MAX_MODEL_NAME or set("/:") & set(name):
        raise ValueError(given)
    return name


def _run_id(given: str) -> str:
    (run_id,) = _parts(given)
    return run_id


DATASET = Kind(_dataset, "a dataset is", "NAME")
DATASETS = Kind(_datasets, "a dataset or several separated by commas are", "NAMES")
SPACE = Kind(
    lambda given: search_space.parse(given, user_folder()),
    f"{AUTO} or values by name are",
    f"{AUTO}|YAML|FILE",
    {AUTO: {}},
)
MODEL_NAME = Kind(
    _model_name,
    f"{NONE} or a name of at most {MAX_MODEL_NAME} characters without / and : is",
    f"{NONE}|NAME",
    {NONE: None},
)
LENGTH = Kind(
    Length.parse,
    f"{AUTO} or a number of {' or '.join(UNITS)}, such as 10 epochs, is",
    f"{AUTO}|'N epochs'|'N steps'",
    {AUTO: DEFAULT_LENGTH},
)
RUN_ID = Kind(_run_id, f"{NONE} or the run id of a study is", f"{NONE}|ID", {NONE: None})
RUN_IDS = Kind(_parts, f"{AUTO} or run ids separated by commas are", f"{AUTO}|IDS", {AUTO: None})
