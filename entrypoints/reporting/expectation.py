"""What the model of a study is expected to reach on other rows, in words: what studies are compared by.

The validation score of a study's best trial is that of the best of many on the folds that chose it, and says nothing
of how far another draw of the rows would move it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from entrypoints.frame import Frame
from entrypoints.reporting.words import digits, within

NUMBERS = ["expected", "expected_low", "expected_high"]
MIN_LUCK = 0.1  # of half the width of the interval


def in_words(study: pd.Series[Any]) -> str:
    """Such as ``rmse 0.66 (0.61 to 0.71)``; empty where there is no interval.

    Args:
        study: a row of ``Frame.studies``.
    """
    if pd.isna(study["expected_low"]):
        return ""
    score = str(study["score"]).removeprefix("val_")
    middle, ends = within(*study[NUMBERS])
    return f"{score} {middle} ({ends})"


def or_why_none(study: pd.Series[Any]) -> str:
    """What to expect of its model, else its score on the test part and why no more is known; empty without either."""
    expected = in_words(study)
    if expected:
        return f"on other rows like these expect {expected}"
    if study["no_interval"]:
        test = str(study["score"]).replace("val_", "test_")
        return f"{test} {digits(study['test'])}, without an interval for other rows: {study['no_interval']}"
    return ""


def of_studies(frame: Frame, names: Mapping[str, str]) -> Iterator[str]:
    """What to expect of the model of each study, in one sentence; nothing where no study says it.

    Args:
        frame: of them.
        names: what each is called, by its id.
    """
    known = {names[str(study)]: in_words(row) for study, row in frame.studies.iterrows()}
    said = [f"{name} {words}" for name, words in known.items() if words]
    if said:
        yield f"On other rows like these expect of each study's own model: {'; '.join(said)}."


def table(frame: Frame, names: Mapping[str, str]) -> pd.DataFrame:
    """A row for each study that says it, with what it is called and the columns ``NUMBERS``."""
    known = frame.studies[frame.studies["expected_low"].notna()]
    rows: pd.DataFrame = known[["score", *NUMBERS]].assign(of=known.index.map(names)).reset_index(drop=True)
    return rows


def luck(study: pd.Series[Any], chosen: float) -> float:
    """By how much the validation score of the chosen trial is better than on folds that did not choose it."""
    sign = 1.0 if study["higher_is_better"] else -1.0
    return sign * (chosen - float(study["left_out"]))


def luck_in_words(study: pd.Series[Any], chosen: float) -> str:
    """The same, where it is worth a word; else empty.

    Args:
        study: a row of ``Frame.studies``.
        chosen: the validation score of the chosen trial.
    """
    if pd.isna(study["expected_low"]):
        return ""
    found = luck(study, chosen)
    if found <= MIN_LUCK * (study["expected_high"] - study["expected_low"]) / 2:
        return ""
    at_least = "at least " if study["adaptive"] else ""
    return (
        f"Its `{study['score']}` is too good by {at_least}{digits(found)}: that of the best of many on the folds that "
        "chose it."
    )
