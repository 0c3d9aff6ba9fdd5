"""What a training step costs by its rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from made_up_frames import study

from entrypoints.frame import Frame
from entrypoints.reporting.questions.step_cost import STEP_TIME, answer, laws

SIZES = [2, 8, 32, 128, 512, 2048]


def made(of_rows: Callable[[int], float], sizes: list[int] = SIZES, noise: float = 0.02, **levels: list[str]) -> Frame:
    """Three trials at each batch size."""
    costs = {STEP_TIME: lambda row: of_rows(row["batch_size"])}
    return study({"batch_size": sizes, "learning_rate": [0.1, 0.01, 0.001], **levels}, costs, noise=noise)


@pytest.mark.parametrize(("call", "row"), [(0.3, 0.05), (0.3, 0.0003), (3.0, 0.02)])
def test_planted_law_is_found(call: float, row: float) -> None:
    """The cost of a call and of a row, to a few percent, over three orders of magnitude."""
    found = laws(made(lambda rows: call + row * rows)).iloc[0]
    assert found["fits"]
    assert found["call_ms"] == pytest.approx(call, rel=0.05)
    assert found["per_1000_rows_ms"] == pytest.approx(1000 * row, rel=0.1)


@pytest.mark.parametrize(
    ("of_rows", "sizes", "words"),
    [
        (lambda rows: 0.3, SIZES, "0.3 ms, with 2048 rows as with 2"),
        (lambda rows: 0.3 + 0.001 * rows, [8, 64], "0.31 ms with 8 rows and 0.36 ms with 64 rows"),
        (lambda rows: 0.3 + rows**2 / 1000, SIZES, "0.3 ms with 2 rows and 4200 ms with 2048 rows"),
    ],
    ids=["level", "two sizes", "no line"],
)
def test_answer_is_one_sentence(of_rows: Callable[[int], float], sizes: list[int], words: str) -> None:
    """The ends where two sizes show no law or it does not fit; the law is on golden pages."""
    found = answer(made(of_rows, sizes, noise=1e-4))
    assert found.sentences == (f"One training step takes {words}.",)


def test_algorithms_have_laws_of_their_own() -> None:
    """In the order of their names."""
    found = answer(made(lambda rows: 0.3 + 0.05 * rows, algorithm=["svm", "logistic"]))
    assert found.table["algorithm"].tolist() == ["logistic", "svm"]
    assert found.sentences[0].count(" per 1000 rows (") == 2


@pytest.mark.parametrize(
    "frame", [made(lambda rows: 1.0, [8]), study({"alpha": [1, 2, 3]}, {STEP_TIME: lambda row: 1.0})]
)
def test_study_of_one_batch_size_has_no_answer(frame: Frame) -> None:
    """Nor one that does not know its batch sizes."""
    found = answer(frame)
    assert (found.sentences, found.open_question) == ((), "")
    assert found.table.empty
