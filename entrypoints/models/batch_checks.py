"""What scikit-learn checks at every call, which a study's own batches do not need: they take half of a small step.

Loading refuses infinity and preprocessing fills what is missing, so no batch has to be checked for either, nor
parameters at every step. And from 1.9 on scikit-learn asks narwhals at each call, several times, whether an array is
a table of some dataframe library; an array of NumPy never is, and is answered at once here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import sklearn

try:
    from narwhals.stable.v2 import dependencies as _tables
except ImportError:  # an older scikit-learn does not ask
    _tables = None  # type: ignore[assignment]

Answer = Callable[[Any], bool]


def _at_once(of_table: Answer) -> Answer:
    return lambda value: type(value) is not np.ndarray and of_table(value)


_ASKED: dict[str, Answer] = {
    name: getattr(_tables, name) for name in ("is_into_dataframe", "is_into_series") if hasattr(_tables, name)
}
_AT_ONCE = {name: _at_once(answer) for name, answer in _ASKED.items()}


def skip() -> None:
    """Skip the checks from now on, in this process."""
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
    _answer_by(_AT_ONCE)


@contextmanager
def skipped() -> Iterator[None]:
    """Skip the checks inside this context."""
    with _checks(skip=True):
        yield


@contextmanager
def made() -> Iterator[None]:
    """Make the checks inside this context, as scikit-learn does for its users."""
    with _checks(skip=False):
        yield


@contextmanager
def _checks(skip: bool) -> Iterator[None]:
    before = {name: getattr(_tables, name) for name in _ASKED}
    with sklearn.config_context(assume_finite=skip, skip_parameter_validation=skip):
        _answer_by(_AT_ONCE if skip else _ASKED)
        try:
            yield
        finally:
            _answer_by(before)


def _answer_by(answers: dict[str, Answer]) -> None:
    for name, answer in answers.items():
        setattr(_tables, name, answer)
