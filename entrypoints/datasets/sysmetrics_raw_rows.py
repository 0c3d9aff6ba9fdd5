"""Rows as a user's file holds them -> the numbers and the text that a model is trained on and predicts from.

Training and the logged model read values through the same functions, those below. Each logged model has a copy of this
file, which is imported there under its own name, without a package: it imports nothing of this project.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

NAME = "sysmetrics_raw_rows"  # under which a stored model finds this module, wherever it was made
sys.modules.setdefault(NAME, sys.modules[__name__])

DATES, DECIMAL_COMMAS = "dates (days since 1970)", "numbers with decimal commas"
_MISSING = ("", "?")  # beside what pandas takes for missing
_SHOWN = 20  # names in a message
_NUMBER: Any = Real | Decimal
_DATE = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?"
_WITH_COMMAS = r"[-+]?(\d{1,3}([.,]\d{3})+|\d+)([.,]\d+)?([eE][-+]?\d+)?"
_DECIMAL_COMMA = r"[-+]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?([eE][-+]?\d+)?"
_THOUSANDS = r"[-+]?\d{1,3},\d{3}"


def is_numeric(dtype: Any) -> bool:
    """Whether values of a column's dtype are numbers; booleans are not."""
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)


def numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    """A column as a new (rows,) array of numbers, with the one NaN of numpy for missing, and no negative zero.

    Raises ValueError, naming the value, if one is neither a number nor a date.
    """
    if is_numeric(column.dtype):
        values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0
        values[np.isnan(values)] = np.nan
        return values
    texts = present_texts(column.reset_index(drop=True))
    values = np.full(len(column), np.nan)
    found = dates_or_commas(texts)
    values[texts.index] = found[1] if found else list(map(_number, texts))
    return values + 0.0


def present_texts(column: pd.Series[Any]) -> pd.Series[str]:
    """What is not missing in a column, as text without blanks around it."""
    texts: pd.Series[str] = column.dropna().astype(str).str.strip()
    return texts[~texts.isin(_MISSING)]


def dates_or_commas(texts: pd.Series[str]) -> tuple[str, pd.Series[float]] | None:
    """The numbers that a column of complete text spells as ISO dates, or with decimal commas; and which of both.

    None if it does neither. Raises ValueError, naming a value, if its commas may also separate thousands, as in 1,702.
    """
    if len(texts) and texts.str.fullmatch(_DATE).all():
        times = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
        if times.notna().all():  # no 31st of February
            return DATES, (times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    with_comma = texts[texts.str.contains(",", regex=False)]
    if not len(with_comma) or not texts.str.fullmatch(_WITH_COMMAS).all():
        return None
    if with_comma.str.fullmatch(_THOUSANDS).all() or not texts.str.fullmatch(_DECIMAL_COMMA).all():
        raise ValueError(f"{with_comma.iloc[0]!r} can be read in two ways")
    points = texts.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    return DECIMAL_COMMAS, points.astype(float)


def texts(column: pd.Series[Any]) -> NDArray[np.object_]:
    """A column as a new (rows,) array of text, with NaN for missing. See ``text_of``."""
    if column.dtype == object:  # where True is 1 to a hash table
        return column.map(text_of, na_action="ignore").to_numpy(dtype=object, na_value=np.nan)
    codes, values = pd.factorize(column)
    return np.array([*map(text_of, values), np.nan], dtype=object)[codes]


def text_of(value: Any) -> Any:
    """A value as the text of its category, whatever type it comes in: True and "true" are "True", 1.0 is "1"."""
    text = str(_own(value)).strip()
    if text in _MISSING:
        return np.nan
    return text.capitalize() if text.casefold() in ("true", "false") else text


def own_values(column: pd.Series[Any]) -> dict[str, bool | int | float | str]:
    """Each text of a column, and the value that stands for it there: a truth value, a number, or text as spelt."""
    found: dict[str, bool | int | float | str] = {}
    present = column.dropna()
    for value in present if present.dtype == object else present.unique():
        found.setdefault(str(text_of(value)), _own(value))
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
            except ValueError as error:
                raise _refused(f"column {name!r}: {error}; give numbers, such as 0.5, or nothing") from None
        infinite = [name for name, values in columns.items() if values.dtype == float and np.isinf(values).any()]
        if infinite:
            raise _refused(f"infinite values in {_listed(infinite)}; leave these cells empty, or give other numbers")
        features: pd.DataFrame = pd.DataFrame(columns, index=rows.index)
        return features

    def _own(self, predicted: NDArray[Any]) -> NDArray[Any]:
        mixed = len({type(value) for value in self.classes.values()}) > 1
        return np.array([self.classes[each] for each in predicted], dtype=object if mixed else None)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _own(value: Any) -> bool | int | float | str:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, _NUMBER):
        return int(value) if float(value).is_integer() else float(value)
    return str(value)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"the column{'s' * (len(names) > 1)} {', '.join(map(repr, names[:_SHOWN]))}{more}"


def _refused(sentence: str) -> MlflowException:
    """An error that a served model also returns to its client."""
    from mlflow.exceptions import MlflowException  # not above: the processes of trials have no other use for mlflow

    error: MlflowException = MlflowException.invalid_parameter_value(sentence)
    return error
