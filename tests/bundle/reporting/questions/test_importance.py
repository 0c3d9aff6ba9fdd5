"""What is said of the columns that a model needs."""

from dataclasses import replace

import pandas as pd
from made_up_frames import study, together

from entrypoints.reporting.questions.importance import answer


def _answer(*columns):
    frame = study({"alpha": [1, 2]})
    usual = {"spread": 0.01, "matters": False, "like": None, "correlation": None}
    usual |= {"score": "rmse", "rows": 480, "repeats": 20, "study": frame.first}
    return answer(replace(frame, importance=pd.DataFrame([usual | each for each in columns])))


def test_only_columns_beyond_chance_are_named_and_shared_importance_where_there_is_some():
    """The three strongest; of two that are alike, the pair once."""
    columns = [{"column": f"c{n}", "importance": 0.5 - n / 10, "matters": n < 4} for n in range(6)]
    said = "In this model, shuffled `c0` makes `rmse` worse by 0.5 ± 0.01, `c1` by 0.4 ± 0.01 and `c2` by 0.3 ± 0.01 "
    others = "equally good models may need other columns."
    assert _answer(*columns).sentences == (f"{said}(± the standard deviation of 20 shuffles); {others}",)
    (by,) = _answer({"column": "paid by card", "importance": 0.5, "matters": True}).sentences
    assert by.startswith("In this model, shuffled `paid by card` makes `rmse` worse by 0.5 ± 0.01 (")
    columns[0] |= {"like": "c5", "correlation": -0.912}
    columns[5] |= {"like": "c0", "correlation": -0.912}
    assert _answer(*columns).sentences[1].endswith("weaker than it is: `c0` and `c5` (-0.91).")
    (none,) = _answer(*(each | {"matters": False, "like": None} for each in columns)).sentences
    assert none == "No column is shown to matter alone: shuffling one changes `rmse` by no more than chance."


def test_columns_of_one_study_of_several_are_said_to_be_of_its_model():
    """The model that a report takes may be that of another one."""
    frame = study({"alpha": [1, 2]})
    column = {"column": "c0", "importance": 0.5, "spread": 0.01, "matters": True, "like": None, "correlation": None}
    column |= {"score": "rmse", "rows": 480, "repeats": 20, "study": frame.first}
    both = replace(together(frame, study({"alpha": [1, 2]}, seed=1)), importance=pd.DataFrame([column]))
    name = frame.studies["name"].iloc[0]
    assert answer(both).sentences[0].startswith(f"In the model of {name}, shuffled `c0` makes `rmse` worse by 0.5")
