"""What to expect of a study's model on other rows, in words: its score on the test part, which chose nothing.

The validation score of a study's best trial is that of the best of many on the folds that chose it, and says nothing
of how far another draw of the rows would move it.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from entrypoints.reporting.words import digits, within

# Columns of Frame.studies.
NUMBERS = [f"{name}{end}" for name in ("test", "gain", "gain_over_baseline") for end in ("", "_low", "_high")]


def in_words(study: pd.Series[Any]) -> str:
    """Such as ``on other rows like these expect rmse 0.66 (0.61 to 0.71)``; empty where there is no test score.

    Args:
        study: a row of ``Frame.studies``.
    """
    name = str(study["score"]).removeprefix("val_")
    if pd.isna(study["test"]):
        return ""
    if pd.isna(study["test_low"]):
        return f"test_{name} {digits(study['test'])}, without an interval for other rows: {study['no_interval']}"
    middle, ends = within(study["test"], study["test_low"], study["test_high"])
    return f"on other rows like these expect {name} {middle} ({ends})"
