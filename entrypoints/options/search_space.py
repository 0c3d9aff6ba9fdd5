"""The values of each hyperparameter that a user gives: YAML, which JSON is too, or a file of it."""

from __future__ import annotations

import math
import re
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

from entrypoints.errors import UserError
from entrypoints.text import one_line, shorten

Values = Any  # a list of values, or {distribution: [low, high]}; under the name of an algorithm a space of its own
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
    if not isinstance(content, dict) or not content:
        raise _wrong(text, "it names no hyperparameter")
    return {str(name): _values(text, str(name), values) for name, values in content.items()}


def of_algorithm(space: Space, name: str) -> Space:
    """What a space gives for an algorithm alone, which goes before what it gives for all."""
    values = space.get(name)
    return values if isinstance(values, dict) and not is_distribution(values) else {}


def for_all(space: Space) -> Space:
    """What a space gives for every algorithm that takes it."""
    return {name: values for name, values in space.items() if isinstance(values, list) or is_distribution(values)}


def is_distribution(values: Values) -> bool:
    """Whether values are drawn, not listed."""
    return isinstance(values, dict) and not values.keys().isdisjoint(DISTRIBUTIONS)


def distribution(values: Values) -> Any:
    """The distribution of scipy's that values are drawn from."""
    ((kind, (low, high)),) = values.items()
    return DISTRIBUTIONS[kind](low, high)


def _values(text: str, name: str, given: Any) -> Values:
    if is_distribution(given):
        _check_distribution(text, name, given)
        return given
    if isinstance(given, dict):
        return {str(each): _values(text, str(each), values) for each, values in given.items()}
    values = given if isinstance(given, list) else [given]
    if not values:
        raise _wrong(text, f"{name} has no value")
    # By their text: lists (of layer sizes) cannot be hashed, and true is not 1.
    return list({repr(value): value for value in values}.values())


def _check_distribution(text: str, name: str, given: dict[Any, Any]) -> None:
    try:
        ((kind, (low, high)),) = given.items()
        if not low < high or not math.isfinite(high - low) or (kind == "loguniform" and low <= 0):
            raise ValueError
        distribution(given)
    except (ValueError, TypeError, OverflowError, KeyError):
        raise _wrong(
            text,
            f"{name} is not a distribution: {', '.join(DISTRIBUTIONS)} with two rising bounds, above 0 for loguniform "
            "and whole for integers, are allowed, as in {uniform: [0, 1]}",
        ) from None


def _wrong(text: str, why: str) -> UserError:
    given = shorten(" ".join(text.split()), _SHOWN)
    return UserError(f"space={given}: {why}; give a list of values for each hyperparameter, such as {_EXAMPLE}")
