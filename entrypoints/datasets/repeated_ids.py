"""Columns that name what several rows belong to, such as a customer: rows of one should not be parted."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from entrypoints.datasets.sysmetrics_rows import are_whole, is_numeric, texts

MIN_VALUES = 30
MIN_REPEATS, MAX_REPEATS = 1.5, 50.0  # rows a value, on average
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
# Names that end so: customer_id, KundenNr, patient. Counts are called otherwise: customers, n_visits.
_NAMES = re.compile(
    r"([^a-z]|^)(id|uuid|guid|nr|nummer)$"
    r"|([^a-z]|^)(customer|client|kunden?|patient|user|member|mitglied|person|student|employee|mitarbeiter|subject|"
    r"proband|participant|household|haushalt|device|machine|driver|player|visitor)(id|nr|no|number|nummer)?$"
)
_HEX = r"[0-9a-fA-F]{8}[0-9a-fA-F-]*"
_PREFIXED = r"([A-Za-z]+[-_ ]?)\d+"


def sentence(frame: pd.DataFrame) -> str:
    """The column whose values look like ids that repeat, and what to do about it; empty where there is none.

    Of several the one with the fewest values, since what it names may have several of the others. One with missing
    values cannot part rows.
    """
    found = {str(name): len(ids) for name in frame if (ids := _ids(frame[name])) is not None}
    if not found:
        return ""
    name = min(found, key=lambda each: found[each])
    each_has = len(frame) / found[name]
    return (
        f"{found[name]} values of {name} have {each_has:.2g} rows each, on average: if these belong together, as those "
        f"of a customer do, add group={name}, else models are tested on ones that they know"
    )


def _ids(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """The different values of a column of such ids; None of any other column."""
    is_named_so = _NAMES.search(_CAMEL.sub("_", str(column.name)).lower()) is not None
    is_number = is_numeric(column.dtype)
    if (is_number and not is_named_so) or column.isna().any():  # a wide table of numbers is not looked through
        return None
    values: pd.Series[Any] = pd.Series(pd.unique(column if is_number else pd.Series(texts(column))))
    if len(values) < MIN_VALUES or not MIN_REPEATS <= len(column) / len(values) <= MAX_REPEATS:
        return None
    if is_number:
        return values if are_whole(values) else None
    return values if is_named_so or _look_like_ids(values.astype(str)) else None


def _look_like_ids(values: pd.Series[str]) -> bool:
    """Whether all are numbers behind the same letters, such as C0012, or long hexadecimal numbers."""
    prefixes = values.str.extract(f"^{_PREFIXED}$")[0]
    if prefixes.notna().all() and prefixes.nunique() == 1:
        return True
    has_letters = values.str.contains("[a-fA-F]")
    return bool(values.str.fullmatch(_HEX).all() and has_letters.mean() > 0.5)
