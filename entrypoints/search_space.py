"""The hyperparameters of the user's own algorithm: JSON, or a YAML file -> the values to try for each."""

from __future__ import annotations

import json
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

Values = Any  # a list of values, or one of scipy's distributions
Space = dict[str, Values]

DISTRIBUTIONS = {
    "uniform": lambda low, high: stats.uniform(float(low), float(high - low)),
    "loguniform": lambda low, high: stats.loguniform(float(low), float(high)),
    "integers": lambda low, high: stats.randint(np.int64(index(low)), np.int64(index(high) + 1)),
}
_EXAMPLE = '{"hidden_layer_sizes": [[16], [64]], "alpha": [0.0001, 0.01]}'
_MAX_FILE_KB = 100
_SHOWN = 100  # characters of what was given


class _AliasError(Exception):
    """A file uses an alias; the text says which and where."""


class _Yaml(yaml.SafeLoader):
    """YAML as people write it: 1e-5 is a number, which PyYAML takes for text because it has no point.

    Without aliases, by which a few lines stand for more values than memory holds.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next value of the file."""
        if self.check_event(yaml.AliasEvent):
            alias: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise _AliasError(f"the alias *{alias.anchor} at line {alias.start_mark.line + 1}")
        return super().compose_node(parent, index)


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse(text: str, folder: Path) -> Space:
    """The values of each hyperparameter.

    Each is given as a list of values, as one value, or as ``{"uniform": [low, high]}``, ``loguniform`` or ``integers``
    (both ends included) to draw from.

    Args:
        text: a JSON object, or the path of a YAML (or JSON) file that holds one.
        folder: where a relative path starts.

    Raises:
        UserError: it is neither.
    """
    try:
        content = _json(text) if text.lstrip().startswith("{") else _file(text, folder)
        if not isinstance(content, Mapping) or not content:
            raise _wrong(text, "it names no hyperparameter")
        return {str(name): _values(text, str(name), given) for name, given in content.items()}
    except RecursionError:
        raise _wrong(text, "its lists are nested too deeply") from None


def described(space: Space) -> dict[str, Any]:
    """What ``parse`` makes this space of."""
    return {name: values.given if is_distribution(values) else values for name, values in space.items()}


def is_distribution(values: Values) -> bool:
    """Whether values are drawn, not listed."""
    return not isinstance(values, list)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _wrong(text, f"it is not JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError as error:  # Python reads no number of more than 4300 digits
        raise _wrong(text, f"a number in it cannot be read ({one_line(error)})") from None


def _file(text: str, folder: Path) -> Any:
    try:
        path = folder / Path(text).expanduser()
        if path.stat().st_size > _MAX_FILE_KB * 1000:
            raise _wrong(text, f"the file is larger than {_MAX_FILE_KB} KB")
        return yaml.load(path.read_text(encoding="utf-8"), _Yaml)
    except RecursionError:
        raise
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody has the home folder that ~ names
        why = error.strerror if isinstance(error, OSError) else one_line(error)
        raise _wrong(text, f"it is neither a JSON object nor the path of a file ({why})") from None
    except _AliasError as error:
        raise _wrong(text, f"the file uses {error}, and aliases are not allowed") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        raise _wrong(text, "the file is not YAML" + (f": see line {where.line + 1}" if where else "")) from None
    except ValueError as error:  # a 31st of February, a number of more than 4300 digits
        raise _wrong(text, f"a value in the file cannot be read ({one_line(error)})") from None


def _values(text: str, name: str, given: Any) -> Values:
    if isinstance(given, Mapping):
        return _distribution(text, name, given)
    values = given if isinstance(given, list) else [given]
    if not values:
        raise _wrong(text, f"{name} has no value")
    # By their text: lists (of layer sizes) cannot be hashed, and true is not 1.
    return list({repr(value): value for value in values}.values())


def _distribution(text: str, name: str, given: Mapping[Any, Any]) -> Values:
    kinds = ", ".join(DISTRIBUTIONS)
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
            f"{name} is not a distribution: {kinds} with two rising bounds, above 0 for loguniform and whole for "
            'integers, are allowed, as in {"uniform": [0, 1]}',
        ) from None


def _wrong(text: str, why: str) -> UserError:
    given = shorten(" ".join(text.split()), _SHOWN)
    return UserError(f"grid={given}: {why}; give a list of values for each hyperparameter, such as {_EXAMPLE}")
