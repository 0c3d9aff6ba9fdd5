"""Rows as a user's file holds them -> the numbers and the text that a model is trained on and predicts from.

Training and the logged model read values through the same functions, those below. Each logged model has a copy of this
file, which is imported there under its own name, without a package: it imports nothing of this project.
"""

from __future__ import annotations

import datetime
import re
import sys
from decimal import Decimal
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

NAME = "sysmetrics_raw_rows"  # under which a stored model finds this module, wherever it was made
sys.modules.setdefault(NAME, sys.modules[__name__])

MISSING = ("", "?")  # beside what pandas takes for missing
_SHOWN = 20  # names in a message
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")


def is_numeric(dtype: Any) -> bool:
    """Whether values of a column's dtype are numbers; booleans are not."""
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)


def numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    """A column as a new (rows,) array of numbers, with the one NaN of numpy for missing, and no negative zero.

    Raises ValueError, naming the value, if one is not a number.
    """
    if column.dtype != object and pd.api.types.is_numeric_dtype(column.dtype):
        values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0
    else:
        present = column.notna()
        values = np.full(len(column), np.nan)
        values[present] = [_number(value) for value in column[present]]
        values += 0.0
    values[np.isnan(values)] = np.nan
    return values


def texts(column: pd.Series[Any]) -> NDArray[np.object_]:
    """A column as a new (rows,) array of text, with NaN for missing. See ``text_of``."""
    codes, found = coded_texts(column)
    return np.array([*(np.nan if text is None else text for text in found), np.nan], dtype=object)[codes]


def coded_texts(column: pd.Series[Any]) -> tuple[NDArray[np.intp], list[str | None]]:
    """Each row's place (rows,) in a list of texts, or -1 for missing; some in the list may be missing or equal."""
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) != "string":
        # One by one: to the hash table below, True is 1, and it takes no lists.
        column = pd.Series([text_of(value) for value in column.where(column.notna(), None)], dtype=object)
    codes, values = pd.factorize(column)
    return codes, [text_of(value) for value in values]


def text_of(value: Any) -> str | None:
    """A value as the text of its category, which does not depend on the type it comes in; None where it is missing.

    True and "true" are "True"; 1 and 1.0 are "1"; a date, a time of midnight and both as ISO text are "2020-01-31". A
    time with a zone is that of UTC.
    """
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real | Decimal):
        number = float(value)
        return str(int(number)) if number.is_integer() else str(number)
    if isinstance(value, str):
        return _text_of_text(value.strip())
    if isinstance(value, datetime.date | np.datetime64):  # a datetime is a date, too
        return _text_of_time(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return None if value is None else str(value)


def own_values(column: pd.Series[Any]) -> dict[str, bool | int | float | str]:
    """Each text of a column, and the value that stands for it there: a truth value, a number, or text as spelt."""
    found: dict[str, bool | int | float | str] = {}
    present = column.dropna()
    for value in present if present.dtype == object else present.unique():
        text = text_of(value)
        if text is not None:
            found.setdefault(text, _own(value, text))
    return found


class RawRows:
    """A fitted pipeline that takes rows as pandas reads them from the user's file, whatever dtypes they get there.

    Args:
        pipeline: takes a frame of numbers and of text, with NaN for missing.
        columns: the names of its columns; more are ignored.
        categorical: those that hold text.
        classes: the target's own value for each class that the pipeline predicts; empty for regression.
    """

    __module__ = NAME

    def __init__(
        self, pipeline: Any, columns: list[str], categorical: list[str], classes: dict[int, bool | int | float | str]
    ) -> None:
        self.pipeline = pipeline
        self.columns = columns
        self.categorical = categorical
        self.classes = classes

    def predict(self, X: pd.DataFrame) -> NDArray[Any]:
        """The target in its own units, or the class as the user's file spells it, of each row."""
        predicted: NDArray[Any] = self.pipeline.predict(self.features(X))
        return self._own(predicted) if self.classes else predicted

    @available_if(lambda self: hasattr(self.pipeline, "predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """The probabilities (rows, classes), in the order of ``classes_``."""
        shares: NDArray[np.float64] = self.pipeline.predict_proba(self.features(X))
        return shares

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes in the target's own type."""
        return self._own(self.pipeline.classes_)

    def features(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The user's rows as input of the pipeline. MlflowException, in one sentence, if they do not fit."""
        absent = [name for name in self.columns if name not in rows.columns]
        if absent:
            raise _refused(f"the rows lack {_listed(absent)}; give each column that the model was trained on")
        columns, categorical = {}, set(self.categorical)
        for name in self.columns:
            try:
                columns[name] = texts(rows[name]) if name in categorical else numbers(rows[name])
            except (ValueError, TypeError) as error:
                raise _refused(f"column {name!r}: {error}; give numbers, such as 0.5, or nothing") from None
        infinite = [name for name, values in columns.items() if values.dtype == float and np.isinf(values).any()]
        if infinite:
            raise _refused(f"infinite values in {_listed(infinite)}; leave these cells empty, or give other numbers")
        features: pd.DataFrame = pd.DataFrame(columns, index=rows.index)
        return features

    def _own(self, predicted: NDArray[Any]) -> NDArray[Any]:
        mixed = len({type(value) for value in self.classes.values()}) > 1
        return np.array([self.classes[each] for each in predicted], dtype=object if mixed else None)


def _number(value: Any) -> float:
    if isinstance(value, str) and value.strip() in MISSING:
        return np.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a number") from None


def _text_of_text(text: str) -> str | None:
    if text in MISSING:
        return None
    if text.casefold() in ("true", "false"):
        return text.capitalize()
    return _text_of_time(text) if _TIME.fullmatch(text) else text


def _text_of_time(value: Any) -> str:
    try:
        time = pd.Timestamp(value)
    except ValueError:  # a 31st of February, or a year that pandas does not know
        return str(value)
    if time.tz is not None:
        return str(time.tz_convert("UTC"))
    return str(time.date() if time == time.normalize() else time)


def _own(value: Any, text: str) -> bool | int | float | str:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Real | Decimal):
        return int(text) if float(value).is_integer() else float(value)
    return str(value) if isinstance(value, str) else text


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"the column{'s' * (len(names) > 1)} {', '.join(map(repr, names[:_SHOWN]))}{more}"


def _refused(sentence: str) -> MlflowException:
    """An error that a served model also returns to its client."""
    from mlflow.exceptions import MlflowException  # not above: the processes of trials have no other use for mlflow

    error: MlflowException = MlflowException.invalid_parameter_value(sentence)
    return error
