"""The values of each hyperparameter that a user gives: YAML, which JSON is too, or a file of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

from entrypoints.errors import UserError
from entrypoints.text import one_line, shorten

Values = Any  # a list of values, or one of scipy's distributions; under the name of an algorithm a space of its own
Space = dict[str, Values]

DISTRIBUTIONS = {
    "uniform": lambda low, high: stats.uniform(float(low), float(high - low)),
    "loguniform": lambda low, high: stats.loguniform(float(low), float(high)),
    "integers": lambda low, high: stats.randint(np.int64(index(low)), np.int64(index(high) + 1)),
}
_EXAMPLE = "{batch_size: [8, 64], learning_rate: [0.01]}"
_SHOWN = 100  # characters of what was given


class _Yaml(yaml.SafeLoader):
    """YAML as people write it: 1e-5 is a number, which PyYAML takes for text because it has no point."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse(text: str, folder: Path) -> Space:
    """The values of each hyperparameter.

    Each is given as a list of values, as one value, or as ``{uniform: [low, high]}``, ``loguniform`` or ``integers``
    (both ends included) to draw from. An algorithm has its own space under its name.

    Args:
        text: a YAML or JSON mapping in braces, or the path of a file that holds one.
        folder: where a relative path starts.

    Raises:
        UserError: it is neither.
    """
    try:
        given = text if text.lstrip().startswith("{") else (folder / Path(text).expanduser()).read_text("utf-8")
        content = yaml.load(given, _Yaml)
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody has the home folder that ~ names
        why = error.strerror if isinstance(error, OSError) else one_line(error)
        raise _wrong(text, f"it is neither in braces nor the path of a file ({why})") from None
    except (yaml.YAMLError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        raise _wrong(text, "it is not YAML" + (f": see line {where.line + 1}" if where else "")) from None
    if not isinstance(content, Mapping) or not content:
        raise _wrong(text, "it names no hyperparameter")
    return {str(name): _values(text, str(name), values) for name, values in content.items()}


def described(space: Space) -> dict[str, Any]:
    """What ``parse`` makes this space of."""
    return {name: _described(values) for name, values in space.items()}


def _described(values: Values) -> Any:
    if isinstance(values, dict):
        return described(values)
    return values.given if is_distribution(values) else values


def of_algorithm(space: Space, name: str) -> Space:
    """What a space gives for an algorithm alone, which goes before what it gives for all."""
    return space.get(name, {}) if isinstance(space.get(name), dict) else {}


def for_all(space: Space) -> Space:
    """What a space gives for every algorithm that takes it."""
    return {name: values for name, values in space.items() if not isinstance(values, dict)}


def is_distribution(values: Values) -> bool:
    """Whether values are drawn, not listed."""
    return not isinstance(values, list)


def _values(text: str, name: str, given: Any) -> Values:
    if isinstance(given, Mapping):
        if set(given).isdisjoint(DISTRIBUTIONS):
            return {str(each): _values(text, str(each), values) for each, values in given.items()}
        return _distribution(text, name, given)
    values = given if isinstance(given, list) else [given]
    if not values:
        raise _wrong(text, f"{name} has no value")
    # By their text: lists (of layer sizes) cannot be hashed, and true is not 1.
    return list({repr(value): value for value in values}.values())


def _distribution(text: str, name: str, given: Mapping[Any, Any]) -> Values:
    try:
        ((kind, (low, high)),) = given.items()
        if not low < high or not math.isfinite(high - low) or (kind == "loguniform" and low <= 0):
            raise ValueError
        made = DISTRIBUTIONS[kind](low, high)
        made.given = {kind: [low, high]}
        return made
    except (ValueError, TypeError, OverflowError, KeyError):
        raise _wrong(
            text,
            f"{name} is not a distribution: {', '.join(DISTRIBUTIONS)} with two rising bounds, above 0 for loguniform "
            "and whole for integers, are allowed, as in {uniform: [0, 1]}",
        ) from None


def _wrong(text: str, why: str) -> UserError:
    given = shorten(" ".join(text.split()), _SHOWN)
    return UserError(f"space={given}: {why}; give a list of values for each hyperparameter, such as {_EXAMPLE}")
