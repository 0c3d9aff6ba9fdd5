"""Tests of criteria.judge: tables of texts that parse and that do not, and of figures that are judged."""

from __future__ import annotations

import math
import pickle
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_sysmetrics.limits import (
    Criteria,
    CriteriaError,
    Judge,
    Kind,
    Limit,
    Metric,
    Patience,
    Stop,
    Z,
)

AFTER = 5
PEAK = Metric("peak_memory_mb", Kind.GROWING)
TIME = Metric("training_time_s", Kind.GROWING)
STEP = Metric("mean_step_time_ms", Kind.MEAN)
SIZE = Metric("model_size_kb", Kind.FACT)
LOSS = Metric("val_loss", Kind.CURVE)
ACCURACY = Metric("val_accuracy", Kind.CURVE, higher_is_better=True)
METRICS = (PEAK, TIME, STEP, SIZE, LOSS, ACCURACY)
LIMIT_S = 10.0  # a thread that has not ended by then fails the test


def parsed(text: str) -> Criteria:
    return Criteria.parse(text, METRICS)


def trials(name: str, *values: float) -> list[dict[str, float]]:
    """Finished trials with these figures."""
    return [{name: value} for value in values]


GOOD: list[tuple[str, str, list[Limit | Patience]]] = [
    ("at most", "peak_memory_mb<=300", [Limit(PEAK, "<=", 300)]),
    ("below", "peak_memory_mb<300", [Limit(PEAK, "<", 300)]),
    ("at least", "val_accuracy>=0.7", [Limit(ACCURACY, ">=", 0.7)]),
    ("above", "val_accuracy>0.7", [Limit(ACCURACY, ">", 0.7)]),
    ("exponent", "peak_memory_mb<=1e3", [Limit(PEAK, "<=", 1000)]),
    ("signed exponent", "val_loss<=2.5E-3", [Limit(LOSS, "<=", 0.0025)]),
    ("plus in the exponent", "peak_memory_mb<=1e+16", [Limit(PEAK, "<=", 1e16)]),
    ("negative", "val_loss>=-2", [Limit(LOSS, ">=", -2)]),
    ("plus", "val_loss<=+2", [Limit(LOSS, "<=", 2)]),
    ("zero", "val_loss>0", [Limit(LOSS, ">", 0)]),
    ("no digit before the point", "val_loss<.5", [Limit(LOSS, "<", 0.5)]),
    ("no digit after the point", "val_loss<5.", [Limit(LOSS, "<", 5)]),
    ("blanks", "  peak_memory_mb  <=  300  ", [Limit(PEAK, "<=", 300)]),
    ("line break and tab", "peak_memory_mb\n<=\t300", [Limit(PEAK, "<=", 300)]),
    ("several", "peak_memory_mb<=3,val_loss<1", [Limit(PEAK, "<=", 3), Limit(LOSS, "<", 1)]),
    ("blanks at the comma", "val_loss<1 , peak_memory_mb<=3", [Limit(LOSS, "<", 1), Limit(PEAK, "<=", 3)]),
    ("both sides", "val_loss>=1, val_loss<=2", [Limit(LOSS, ">=", 1), Limit(LOSS, "<=", 2)]),
    ("both sides touching", "val_loss<=1, val_loss>=1", [Limit(LOSS, "<=", 1), Limit(LOSS, ">=", 1)]),
    ("median", "training_time_s<=2x median", [Limit(TIME, "<=", 2, "median", AFTER)]),
    ("mean", "training_time_s<1.5x mean", [Limit(TIME, "<", 1.5, "mean", AFTER)]),
    ("best", "val_accuracy>=0.9x best", [Limit(ACCURACY, ">=", 0.9, "best", AFTER)]),
    ("after", "training_time_s<=2x median after 8", [Limit(TIME, "<=", 2, "median", 8)]),
    ("after one", "training_time_s<=2x median after 1", [Limit(TIME, "<=", 2, "median", 1)]),
    ("blanks at the x", "training_time_s <= 2 x  median", [Limit(TIME, "<=", 2, "median", AFTER)]),
    ("no blank at the x", "training_time_s<=2xmedian", [Limit(TIME, "<=", 2, "median", AFTER)]),
    (
        "absolute beside relative",
        "training_time_s<=10, training_time_s<=2x median",
        [Limit(TIME, "<=", 10), Limit(TIME, "<=", 2, "median", AFTER)],
    ),
    (
        "relative sides that may meet",
        "val_loss<=1x median, val_loss>=2",
        [Limit(LOSS, "<=", 1, "median", AFTER), Limit(LOSS, ">=", 2)],
    ),
    ("patience", "val_loss patience 3", [Patience(LOSS, 3)]),
    ("min_delta", "val_loss patience 3 min_delta 0.001", [Patience(LOSS, 3, 0.001)]),
    ("min_delta zero", "val_loss patience 1 min_delta 0", [Patience(LOSS, 1)]),
    ("patience where higher is better", "val_accuracy  patience  10", [Patience(ACCURACY, 10)]),
    ("two patiences", "val_loss patience 3, val_accuracy patience 4", [Patience(LOSS, 3), Patience(ACCURACY, 4)]),
    ("limit and patience on one metric", "val_loss<1, val_loss patience 3", [Limit(LOSS, "<", 1), Patience(LOSS, 3)]),
]


@pytest.mark.parametrize(("text", "rules"), [pytest.param(*case, id=name) for name, *case in GOOD])
def test_a_correct_text_gives_its_rules(text: str, rules: list[Limit | Patience]) -> None:
    """A text parses to the rules it says, in its order."""
    assert list(parsed(text).rules) == rules


BAD: list[tuple[str, str, int, list[str]]] = [
    ("empty", "", 0, ["the text ends where a metric is needed", "peak_memory_mb<=300"]),
    ("blank", "  ", 2, ["the text ends where a metric is needed"]),
    ("only a comma", ",", 0, ['"," is not a metric']),
    ("trailing comma", "peak_memory_mb<=300,", 20, ["the text ends where a metric", "commas only between"]),
    ("double comma", "peak_memory_mb<=300,,val_loss<1", 20, ['"," is not a metric']),
    ("semicolon", "peak_memory_mb<=3;val_loss<1", 17, ['";" is not allowed here', "a comma"]),
    ("missing comma", "peak_memory_mb<=3 val_loss<1", 18, ['"val_loss" is not allowed here', "a comma"]),
    ("no comparison", "peak_memory_mb", 14, ["the text ends where a comparison is needed", "<=, >=, <, >"]),
    ("doubled sign", "peak_memory_mb<<300", 14, ['"<<" is not a comparison', "<=, >=, <, >"]),
    ("not equal", "peak_memory_mb!=300", 14, ['"!=" is not a comparison', "<=, >=, <, >"]),
    ("equals", "peak_memory_mb=300", 14, ['"=" is not a comparison', "write <="]),
    ("double equals", "peak_memory_mb == 300", 15, ['"==" is not a comparison', "write <="]),
    ("equals first", "peak_memory_mb=<300", 14, ['"=<" is not a comparison', "write <="]),
    ("mathematical sign", "val_accuracy≥0.7", 12, ['"≥" is not a comparison', "write >="]),
    ("a word instead of a sign", "val_loss patiense 3", 9, ['"patiense" is not a comparison', "patience 3"]),
    ("number missing", "peak_memory_mb<=", 16, ["the text ends where a finite number is needed", "300"]),
    ("number missing before a comma", "peak_memory_mb<=,val_loss<1", 16, ['"," is not a finite number']),
    ("inf", "peak_memory_mb<=inf", 16, ['"inf" is not a finite number', "300"]),
    ("minus inf", "peak_memory_mb>=-inf", 16, ['"-inf" is not a finite number']),
    ("nan", "peak_memory_mb<=nan", 16, ['"nan" is not a finite number']),
    ("too large to be finite", "peak_memory_mb<=1e999", 16, ['"1e999" is not a finite number']),
    ("a word instead of a number", "peak_memory_mb<=big", 16, ['"big" is not a finite number']),
    ("unit MB", "peak_memory_mb<=300MB", 19, ['"MB" is not allowed here', "the unit is in the metric's name"]),
    ("unit s after a blank", "training_time_s<=10 s", 20, ['"s" is not allowed here', "unit"]),
    ("unit %", "val_accuracy>=70%", 16, ['"%" is not allowed here', "unit"]),
    ("swapped", "300>=peak_memory_mb", 0, ["number first", "the other way round, peak_memory_mb<=300"]),
    ("swapped later", "val_loss<1, -3 < val_accuracy", 12, ["number first", "val_accuracy>-3"]),
    ("number alone", "300", 0, ['"300" is not a metric']),
    ("unknown metric", "peak_memory<=3", 0, ['"peak_memory" is not a known metric', "the closest is peak_memory_mb"]),
    ("unknown in capitals", "VAL_LOSS<=3", 0, ['"VAL_LOSS"', "the closest is val_loss"]),
    ("unknown and far from all", "val_loss<1,q<=3", 11, ['"q"', "mean_step_time_ms, model_size_kb, peak_memory_mb,"]),
    ("factor missing", "training_time_s<=median", 17, ['"median" is not a finite number', "2x median"]),
    ("factor zero", "training_time_s<=0x median", 17, ['"0x" is not a factor', "above 0"]),
    ("factor negative", "training_time_s<=-1 x median", 17, ['"-1" is not a factor', "above 0"]),
    (
        "statistic missing",
        "training_time_s<=2x",
        19,
        ["the text ends where a statistic is needed", "best, mean, median"],
    ),
    ("statistic misspelt", "training_time_s<=2x medain", 20, ['"medain" is not a statistic', "best, mean, median"]),
    ("after zero", "training_time_s<=2x median after 0", 33, ['"0" is not a whole number from 1 up', "after 8"]),
    ("after a fraction", "training_time_s<=2x median after 2.5", 33, ['"2.5" is not a whole number', "after 8"]),
    ("after misspelt", "training_time_s<=2x median aftr 8", 27, ['"aftr" is not allowed here', "after 8"]),
    ("after an absolute limit", "training_time_s<=2 after 8", 25, ['"8" is not a time', "after 90s, 10m or 2h"]),
    ("patience zero", "val_loss patience 0", 18, ['"0" is not a whole number from 1 up', "patience 3"]),
    ("patience a fraction", "val_loss patience 2.5", 18, ['"2.5" is not a whole number from 1 up', "patience 3"]),
    ("patience negative", "val_loss patience -1", 18, ['"-1" is not a whole number from 1 up']),
    ("patience without a number", "val_loss patience", 17, ["the text ends where a whole number from 1 up is needed"]),
    ("patience and a unit", "val_loss patience 3 reports", 20, ['"reports" is not allowed here', "min_delta"]),
    ("patience on a cost", "peak_memory_mb patience 3", 15, ['"patience" is for a curve', "val_accuracy, val_loss"]),
    ("min_delta negative", "val_loss patience 3 min_delta -1", 30, ['"-1" is not a finite number from 0 up']),
    ("min_delta nan", "val_loss patience 3 min_delta nan", 30, ['"nan" is not a finite number from 0 up']),
    ("min_delta missing", "val_loss patience 3 min_delta", 29, ["the text ends where a finite number from 0 up is"]),
    ("two upper limits", "val_loss<=3, val_loss<4", 13, ['"val_loss<4" limits the same side as "val_loss<=3"']),
    ("two relative limits", "val_loss<2x best,val_loss<3x mean", 17, ["limits the same side as", "keep one"]),
    (
        "two patiences on one metric",
        "val_loss patience 3,val_loss patience 4",
        20,
        ["repeats the metric of", "keep one"],
    ),
    ("lower above upper", "val_loss<=3, val_loss>=4", 13, ['"val_loss>=4" contradicts "val_loss<=3"']),
    ("upper below lower", "val_loss>=4, val_loss<=3", 13, ['"val_loss<=3" contradicts "val_loss>=4"']),
    ("nothing between", "val_loss<3, val_loss>=3", 12, ['contradicts "val_loss<3"']),
    ("line break in the text", "val_loss<1,\nq<=3", 12, ['"q" is not a known metric']),
]


@pytest.mark.parametrize(("text", "position", "words"), [pytest.param(*case, id=name) for name, *case in BAD])
def test_a_mistake_is_one_line_that_points_at_it(text: str, position: int, words: list[str]) -> None:
    """The error says in one line which character is wrong, what stands there, and what is allowed."""
    with pytest.raises(CriteriaError) as caught:
        parsed(text)
    error = caught.value
    shown = text.replace("\n", " ")
    assert (error.text, error.position) == (text, position)
    assert str(error).startswith(f"criteria={shown}: at character {position + 1}, {error.message}")
    assert str(error).splitlines() == [str(error)]
    assert [word for word in words if word not in error.message] == []


def test_without_declared_metrics_every_name_is_a_fact_with_patience() -> None:
    """Other people's metrics are taken as named, and patience may act on each."""
    criteria = Criteria.parse("ray/tune/loss:0-a.b<=3, throughput patience 2", modes={"throughput": "max"})
    loss, throughput = Metric("ray/tune/loss:0-a.b", Kind.FACT), Metric("throughput", Kind.FACT, higher_is_better=True)
    assert criteria.rules == (Limit(loss, "<=", 3), Patience(throughput, 2))


@pytest.mark.parametrize("name", ["val_accuracy", "f1", "reward", "neg_log_loss", "objective", "glossary"])
def test_patience_with_a_metric_of_unknown_direction_is_a_mistake(name: str) -> None:
    """It would stop what improves; with a mode it stops what does not."""
    text, curve = f"{name} patience 2", (0.5, 0.6, 0.7, 0.8)
    with pytest.raises(CriteriaError, match=rf'pass modes={{"{name}": "max"}} to Criteria.parse') as caught:
        Criteria.parse(text)
    assert caught.value.position == len(name) + 1
    stops = {}
    for mode in ("min", "max"):
        judge = Criteria.parse(text, modes={name: mode}).judge()
        stops[mode] = [judge.see({name: value}) is not None for value in curve]
    assert stops == {"min": [False, False, True, True], "max": [False] * 4}


@pytest.mark.parametrize("name", ["loss", "val_loss", "ray/Loss", "mean_squared_error", "test-rmse"])
def test_patience_with_a_loss_or_an_error_needs_no_mode(name: str) -> None:
    """Lower is better, unless a mode says otherwise."""
    (rule,) = Criteria.parse(f"{name} patience 2").rules
    assert not rule.metric.higher_is_better
    (rule,) = Criteria.parse(f"{name} patience 2", modes={name: "max"}).rules
    assert rule.metric.higher_is_better


def test_mode_is_min_or_max() -> None:
    """As in Tune."""
    with pytest.raises(ValueError, match=r"^modes={'a': 'higher'}: give .min. or .max. for each metric$"):
        Criteria.parse("a patience 2", modes={"a": "higher"})


def test_criteria_tell_their_limits_and_each_metric_once() -> None:
    """Limits leave patience out; a metric that two rules use is named once, in the text's order."""
    criteria = parsed("val_loss patience 3, peak_memory_mb<=3, val_loss<1")
    assert criteria.limits == (Limit(PEAK, "<=", 3), Limit(LOSS, "<", 1))
    assert criteria.metrics == ("val_loss", "peak_memory_mb")


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("peak_memory_mb  <= 3e2", "peak_memory_mb<=300"),
        ("val_loss<=0.10", "val_loss<=0.1"),
        ("training_time_s <= 2.0 x median after 5", "training_time_s<=2x median"),
        ("training_time_s<=2xmedian after 8", "training_time_s<=2x median after 8"),
        ("val_loss patience 3 min_delta 0", "val_loss patience 3"),
        ("val_loss patience 3 min_delta 1e-3,val_loss<1", "val_loss patience 3 min_delta 0.001, val_loss<1"),
    ],
)
def test_str_is_the_shortest_way_to_say_it(text: str, normalised: str) -> None:
    """Blanks, long numbers and defaults are gone from the normalised text."""
    assert str(parsed(text)) == normalised


def _rules(name: str) -> st.SearchStrategy[Limit | Patience]:
    metric = st.just(Metric(name, Kind.FACT))
    finite = st.floats(allow_nan=False, allow_infinity=False)
    ops, counts = st.sampled_from(["<=", "<", ">=", ">"]), st.integers(1, 999_999_999)
    factors = st.floats(0, exclude_min=True, allow_infinity=False)
    statistics = st.sampled_from(["median", "mean", "best"])
    return st.one_of(
        st.builds(Limit, metric, ops, finite),
        st.builds(Limit, metric, ops, factors, statistics, counts),
        st.builds(Patience, metric, counts, st.floats(0, allow_infinity=False)),
    )


@given(
    st.sets(st.from_regex(r"[^\W\d][\w./:-]*", fullmatch=True), min_size=1, max_size=4).flatmap(
        lambda names: st.tuples(*map(_rules, sorted(names)))
    )
)
@settings(max_examples=50)
def test_str_parses_back_to_an_equal_object(rules: tuple[Limit | Patience, ...]) -> None:
    """The normalised text of any criteria gives the same criteria, with the same hash."""
    criteria = Criteria(rules)
    again = Criteria.parse(str(criteria), modes=dict.fromkeys(criteria.metrics, "min"))
    assert again == criteria
    assert hash(again) == hash(criteria)


@given(st.text(st.sampled_from("ab1.,<>=x -+e%≤\n\0") | st.characters(), max_size=30))
def test_any_text_is_criteria_or_one_sentence(text: str) -> None:
    """Whatever is typed, the parser accepts it or complains in one line with a position in the text."""
    mistake: CriteriaError | None = None
    try:
        Criteria.parse(text)
    except CriteriaError as error:
        mistake = error
    assert mistake is None or 0 <= mistake.position <= len(text)
    assert len(str(mistake).splitlines()) == 1


@pytest.mark.parametrize("text", ["1" * 8000, "1" * 8000 + " " * 8000, "a<=" + "1" * 8000 + "x"])
def test_a_long_text_is_refused_at_once(text: str) -> None:
    """The time grows with its length, not with the square of that."""
    began = time.process_time()
    with pytest.raises(CriteriaError):
        Criteria.parse(text)
    assert time.process_time() - began < 1.0


def test_criteria_errors_and_judges_survive_pickling() -> None:
    """What Ray sends arrives equal, and a judge goes on counting where it was."""
    criteria = parsed("val_loss patience 2, training_time_s<=2x median after 1")
    assert pickle.loads(pickle.dumps(criteria)) == criteria
    judge = criteria.judge(trials("training_time_s", 3.0))
    judge.see({"val_loss": 1.0})
    judge.see({"val_loss": 1.0})
    copy: Judge = pickle.loads(pickle.dumps(judge))
    assert copy.crossed({"training_time_s": 7.0}) == judge.crossed({"training_time_s": 7.0}) is not None
    assert copy.see({"val_loss": 1.0}) is not None
    error = CriteriaError("a<<1", 1, "wrong")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "criteria=a<<1: at character 2, wrong"


def test_a_criterion_on_an_unreadable_metric_is_an_error() -> None:
    """Check points at the criterion that would never fire, and is silent when all can be read."""
    criteria = parsed("val_loss<1,peak_memory_mb<=3")
    criteria.check(iter(["peak_memory_mb", "val_loss", "more"]))
    with pytest.raises(CriteriaError, match=r'"peak_memory_mb" cannot be read .* use one of a, val_loss') as caught:
        criteria.check(["val_loss", "a"])
    assert caught.value.text[caught.value.position :] == "peak_memory_mb<=3"


BREAKS_5 = [("<=", 5.0, False), ("<=", 5.001, True), ("<", 5.0, True), ("<", 4.999, False)]
BREAKS_5 += [(">=", 5.0, False), (">=", 4.999, True), (">", 5.0, True), (">", 5.001, False)]


@pytest.mark.parametrize(("op", "value", "broken"), BREAKS_5)
def test_the_limit_itself_is_fine_only_with_an_equals_sign(op: str, value: float, broken: bool) -> None:
    """5 meets <=5 and >=5, and breaks <5 and >5; the judge and the final look agree."""
    criteria, figures = parsed(f"model_size_kb{op}5"), {"model_size_kb": value}
    assert bool(criteria.judge().see(figures)) is broken
    assert bool(criteria.violations(figures)) is broken
    assert (criteria.excess(figures) > 0) is broken


@pytest.mark.parametrize(
    ("text", "value", "before_the_end", "crossed"),
    [
        pytest.param("peak_memory_mb<=5", 6.0, True, True, id="growing upper"),
        pytest.param("peak_memory_mb>=5", 4.0, False, False, id="growing lower"),
        pytest.param("model_size_kb<=5", 6.0, True, True, id="fact upper"),
        pytest.param("model_size_kb>=5", 4.0, True, False, id="fact lower"),
        pytest.param("mean_step_time_ms<=5", 6.0, False, False, id="mean upper"),
        pytest.param("mean_step_time_ms>=5", 4.0, False, False, id="mean lower"),
        pytest.param("val_loss<=5", 6.0, False, False, id="curve upper"),
        pytest.param("val_loss>=5", 4.0, False, False, id="curve lower"),
    ],
)
def test_a_limit_is_judged_as_early_as_its_kind_allows(
    text: str, value: float, before_the_end: bool, crossed: bool
) -> None:
    """Without errors a broken limit stops at once only where that is final; at the end it always shows."""
    criteria, metric = parsed(text), parsed(text).metrics[0]
    judge, stop = criteria.judge(), Stop(text, metric, value, 5.0, 7)
    assert judge.see({metric: value}, 7) == (stop if before_the_end else None)
    assert judge.crossed({metric: value}, 7) == (stop if crossed else None)
    assert judge.see({metric: value}, 7, final=True) == stop


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "much"])
def test_a_value_that_is_no_number_decides_nothing(value: Any, final: bool) -> None:
    """Absent, NaN, infinite and non-numeric values break no limit."""
    criteria = parsed("model_size_kb<=5, model_size_kb>=1")
    for figures in ({}, {"model_size_kb": value}):
        judge = criteria.judge()
        assert judge.see(figures, final=final) is None
        assert judge.crossed(figures) is None
        assert criteria.violations(figures) == []


@pytest.mark.parametrize(
    ("text", "value", "error", "stops"),
    [
        pytest.param("mean_step_time_ms<=5", 5 + Z + 0.1, 1.0, True, id="above by more than Z errors"),
        pytest.param("mean_step_time_ms<=5", 5 + Z - 0.1, 1.0, False, id="above by less"),
        pytest.param("mean_step_time_ms>=5", 5 - Z - 0.1, 1.0, True, id="below by more than Z errors"),
        pytest.param("mean_step_time_ms>=5", 5 - Z + 0.1, 1.0, False, id="below by less"),
        pytest.param("mean_step_time_ms<=5", 5.1, 0.0, True, id="no error at all"),
        pytest.param("mean_step_time_ms<=5", 99.0, math.nan, False, id="unknown error"),
        pytest.param("mean_step_time_ms<=5", 99.0, math.inf, False, id="infinite error"),
        pytest.param("mean_step_time_ms<=5", 99.0, -1.0, False, id="impossible error"),
        pytest.param("peak_memory_mb<=5", 5.1, 1.0, True, id="an error of what is not a mean"),
    ],
)
def test_a_mean_stops_a_trial_only_on_evidence(text: str, value: float, error: float, stops: bool) -> None:
    """Before the end a mean has to be Z standard errors beyond its limit; other kinds have no errors."""
    (metric,) = parsed(text).metrics
    stop = parsed(text).judge().see({metric: value}, 1, errors={metric: error})
    assert stop == (Stop(text, metric, value, 5.0, 1) if stops else None)


def test_at_the_end_a_mean_is_judged_as_it_is() -> None:
    """The final mean is the figure itself, however large its error."""
    judge = parsed("mean_step_time_ms<=5").judge()
    assert judge.see({"mean_step_time_ms": 5.1}, errors={"mean_step_time_ms": 100.0}, final=True) is not None


NAN = math.nan


@pytest.mark.parametrize(
    ("text", "curve", "stops_at", "best"),
    [
        pytest.param("val_loss patience 2", [5, 4, 3, 2, 1], None, None, id="improves"),
        pytest.param("val_loss patience 2", [5, 4, 6, 6], 3, 4, id="worse twice"),
        pytest.param("val_loss patience 2", [5, 5, 5], 2, 5, id="equal is not better"),
        pytest.param("val_loss patience 1", [5, 6], 1, 5, id="patience of one"),
        pytest.param("val_loss patience 2", [5, 6, 4, 6, 3, 6], None, None, id="an improvement restarts the count"),
        pytest.param("val_loss patience 2", [5, 7, 6], 2, 5, id="better than the last is not better than the best"),
        pytest.param("val_loss patience 2 min_delta 1", [5, 4.5, 4], 2, 5, id="by min_delta is not by more"),
        pytest.param("val_loss patience 2 min_delta 1", [5, 4.5, 3.9, 3], None, None, id="slow gains add up"),
        pytest.param("val_accuracy patience 2", [0.1, 0.2, 0.3, 0.4], None, None, id="higher is better"),
        pytest.param("val_accuracy patience 2", [0.5, 0.4, 0.3], 2, 0.5, id="lower is worse"),
        pytest.param("val_accuracy patience 2 min_delta 0.1", [0.5, 0.55, 0.58], 2, 0.5, id="higher by too little"),
        pytest.param("val_loss patience 2", [5, 6, NAN, math.inf, None, 6], 5, 5, id="gaps between do not count"),
        pytest.param("val_loss patience 2", [5, 6, NAN, 4, 6], None, None, id="a gap does not keep the count"),
        pytest.param("val_loss patience 1", [NAN, NAN, NAN], None, None, id="only gaps"),
    ],
)
def test_patience_ends_after_reports_without_improvement(
    text: str, curve: Sequence[float | None], stops_at: int | None, best: float | None
) -> None:
    """The stop comes at the report with which patience runs out, and names the value to beat."""
    criteria = parsed(text)
    (metric,) = criteria.metrics
    judge = criteria.judge()
    stops = [judge.see({} if value is None else {metric: value}, step) for step, value in enumerate(curve)]
    first = next((stop for stop in stops if stop), None)
    assert first == (None if stops_at is None else Stop(text, metric, curve[stops_at], best, stops_at))  # type: ignore[arg-type]


def test_patience_stops_nothing_at_the_end() -> None:
    """A trial that has run to its end is not stopped by patience, though its last report was the last straw."""
    judge = parsed("val_loss patience 1").judge()
    judge.see({"val_loss": 1.0})
    assert judge.see({"val_loss": 2.0}, final=True) is None


def test_patience_counts_a_report_in_which_a_limit_breaks() -> None:
    """A limit is named before patience, but does not hide the report from it."""
    judge = parsed("val_loss patience 2, peak_memory_mb<=5").judge()
    seen = [judge.see({"val_loss": 1.0, "peak_memory_mb": peak}) for peak in (1.0, 6.0, 1.0, 6.0)]
    assert [stop and stop.metric for stop in seen] == [None, "peak_memory_mb", "val_loss", "peak_memory_mb"]


def test_each_judge_counts_for_itself() -> None:
    """Two trials under the same criteria do not share their curves."""
    criteria = parsed("val_loss patience 1")
    first, second = criteria.judge(), criteria.judge()
    assert first.see({"val_loss": 1.0}) is None
    assert second.see({"val_loss": 2.0}) is None


TIMES = (1.0, 2.0, 3.0, 4.0, 10.0)


@pytest.mark.parametrize(
    ("text", "values", "limit"),
    [
        pytest.param("training_time_s<=2x median", TIMES, 6, id="median"),
        pytest.param("training_time_s<=2x mean", TIMES, 8, id="mean"),
        pytest.param("training_time_s<=2x best", TIMES, 2, id="best of an upper limit is the smallest"),
        pytest.param("training_time_s<2x best", TIMES, 2, id="best of a strict upper limit"),
        pytest.param("training_time_s<=2x median", TIMES[:-1], None, id="too few"),
        pytest.param("training_time_s<=2x median", (), None, id="none"),
        pytest.param("training_time_s<=2x median after 3", TIMES[:3], 4, id="after three"),
        pytest.param("training_time_s<=2x median after 6", TIMES, None, id="after six"),
        pytest.param("training_time_s<=2x median", (*TIMES[:-1], NAN), None, id="NaN is not a figure"),
        pytest.param("training_time_s<=2x mean after 1", (1e308, 1e308), None, id="beyond all numbers"),
        pytest.param("training_time_s<=1.5x best", (-100, -99, -95, -90, -80), None, id="negative best"),
        pytest.param("training_time_s<=2x median", (-3, -2, -1, 4, 5), None, id="negative median"),
        pytest.param(
            "training_time_s<=2x median", (-3, -2, 1, 4, 5), 2, id="a negative figure above which the median is"
        ),
        pytest.param("training_time_s<=2x median", (0, 0, 0, 0, 0), 0, id="median of zero"),
    ],
)
def test_a_relative_limit_comes_from_finished_trials(text: str, values: Sequence[float], limit: float | None) -> None:
    """It is the factor times the statistic, active from the given number of trials on."""
    others = trials("val_loss", 1, 1, 1, 1, 1)  # finished, but without the metric
    judge = parsed(text).judge(iter([*trials("training_time_s", *values), *others]))
    stop = None if limit is None else Stop(text, "training_time_s", 11.0, limit)
    assert judge.see({"training_time_s": 11.0}) == judge.crossed({"training_time_s": 11.0}) == stop


def test_a_factor_of_negative_figures_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Half of a usual reward of -100 would be -50, which every usual trial breaks."""
    criteria, finished = Criteria.parse("reward>=0.5x median"), trials("reward", *[-100.0] * 5)
    for _ in range(2):
        assert criteria.violations({"reward": -100.0}, finished) == []
    (message,) = caplog.messages
    assert message.startswith('"reward>=0.5x median" is not judged: the median of reward is negative')


@pytest.mark.parametrize(("value", "broken"), [(0.44, True), (0.45, False)])
def test_best_of_a_lower_limit_is_the_largest(value: float, broken: bool) -> None:
    """Half the best accuracy is half the highest one."""
    finished = trials("val_accuracy", 0.9, 0.1, 0.2, 0.3, 0.4)
    assert bool(parsed("val_accuracy>=0.5x best").violations({"val_accuracy": value}, iter(finished))) is broken


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (Stop("peak_memory_mb<=300", "peak_memory_mb", 412.345, 300, 100), "peak_memory_mb 412.3 > 300 (step 100)"),
        (Stop("peak_memory_mb<=300", "peak_memory_mb", 412.345, 300), "peak_memory_mb 412.3 > 300"),
        (Stop("training_time_s<=10", "training_time_s", 10.0003, 10, 9), "training_time_s 10.0003 > 10 (step 9)"),
        (Stop("val_loss<1", "val_loss", 1.0, 1.0), "val_loss 1 >= 1"),
        (Stop("mean_cpu_percent>=50", "mean_cpu_percent", 49.0, 50.0), "mean_cpu_percent 49 < 50"),
        (Stop("mean_cpu_percent>50", "mean_cpu_percent", 50.0, 50.0), "mean_cpu_percent 50 <= 50"),
        (
            Stop("training_time_s<=2x median", "training_time_s", 4.1, 3.2, 100),
            "training_time_s 4.1 > 3.2 (2x median, step 100)",
        ),
        (
            Stop("training_time_s<=2x best after 8", "training_time_s", 4.1, 3.2, 0),
            "training_time_s 4.1 > 3.2 (2x best after 8, step 0)",
        ),
        (Stop("val_loss patience 3", "val_loss", 0.61, 0.58, 400), "val_loss 0.61, best 0.58 (patience 3, step 400)"),
        (
            Stop("val_loss patience 3 min_delta 0.1", "val_loss", 0.61, 0.58, 4),
            "val_loss 0.61, best 0.58 (patience 3 min_delta 0.1, step 4)",
        ),
        (Stop("patience<=3", "patience", 4, 3, 1), "patience 4 > 3 (step 1)"),
    ],
)
def test_a_stop_reads_as_a_reason(stop: Stop, text: str) -> None:
    """What was measured and its limit come first, told apart; then what the limit is of, and the step."""
    assert str(stop) == text


def test_a_finished_trial_shows_all_it_breaks() -> None:
    """Every broken limit in the text's order, relative ones included; patience is not a limit."""
    limits = "val_loss<1, peak_memory_mb<=300, training_time_s<=2x median, model_size_kb<9, model_size_kb>1"
    criteria = parsed(f"val_loss patience 1, {limits}")
    figures: Mapping[str, float] = {"val_loss": 2.0, "peak_memory_mb": 200.0, "training_time_s": 7.0}
    late, slow = Stop("val_loss<1", "val_loss", 2.0, 1.0), Stop("training_time_s<=2x median", "training_time_s", 7.0, 6)
    assert criteria.violations(figures, trials("training_time_s", *TIMES)) == [late, slow]
    assert criteria.violations(figures) == [late]


@pytest.mark.parametrize(
    ("figures", "excess"),
    [
        pytest.param({"peak_memory_mb": 300.0, "val_accuracy": 0.9}, 0.0, id="feasible"),
        pytest.param({"peak_memory_mb": 330.0, "val_accuracy": 0.9}, 0.1, id="a tenth above"),
        pytest.param({"peak_memory_mb": 330.0, "val_accuracy": 0.4}, 0.6, id="two broken limits add up"),
        pytest.param({"val_loss": 1.0}, 1.5, id="relative to a negative limit"),
        pytest.param({}, 0.0, id="unknown is not broken"),
        pytest.param({"training_time_s": 9.0}, 0.5, id="relative limit"),
    ],
)
def test_excess_is_the_sum_of_relative_distances(figures: Mapping[str, float], excess: float) -> None:
    """What is broken counts by its share of the limit, so that metrics of different units add up."""
    criteria = parsed("peak_memory_mb<=300, val_accuracy>=0.8, val_loss<=-2, training_time_s<=2x median")
    assert criteria.excess(figures, iter(trials("training_time_s", *TIMES))) == pytest.approx(excess)


def test_excess_orders_trials_by_a_limit_of_zero() -> None:
    """A limit of 0 divides by no zero, and the smaller violation is still the smaller excess."""
    criteria = parsed("val_loss<=0")
    assert 0 < criteria.excess({"val_loss": 1.0}) < criteria.excess({"val_loss": 2.0}) < math.inf


def test_crossed_leaves_patience_alone() -> None:
    """A reading of the monitor is not a report of the curve."""
    judge = parsed("val_loss patience 1, peak_memory_mb<=9").judge()
    judge.see({"val_loss": 1.0})
    for _ in range(5):
        assert judge.crossed({"val_loss": 2.0, "peak_memory_mb": 1.0}) is None
    assert judge.see({"val_loss": 0.5}) is None
    assert judge.see({"val_loss": 0.6}) is not None


def test_crossed_from_a_thread_agrees_while_see_goes_on() -> None:
    """Readings in a second thread are judged right, and disturb no count of the training thread."""
    judge = parsed("peak_memory_mb<=300, val_loss patience 2000").judge()
    running, enough = threading.Event(), threading.Event()
    verdicts: list[bool] = []

    def read() -> None:
        while not enough.is_set():
            verdicts.append(judge.crossed({"peak_memory_mb": 300.0, "val_loss": 0.0}) is None)
            verdicts.append(judge.crossed({"peak_memory_mb": 301.0, "val_loss": 0.0}) is not None)
            running.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert running.wait(LIMIT_S)
    stops = [judge.see({"val_loss": 1.0, "peak_memory_mb": 200.0}, step) for step in range(2001)]
    enough.set()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert [stop.step for stop in stops if stop] == [2000]
    assert all(verdicts)


NOISE = 0.1  # so that three standard deviations of a figure at a limit of 5 are 1.5


@pytest.mark.parametrize(
    ("text", "within", "beyond", "crossed"),
    [
        pytest.param("peak_memory_mb<=5", 6.4, 6.6, True, id="growing upper"),
        pytest.param("model_size_kb<=5", 6.4, 6.6, True, id="fact upper"),
        pytest.param("model_size_kb>=5", 3.6, 3.4, False, id="fact lower"),
        pytest.param("val_loss<=5", 6.4, None, False, id="curve upper"),
        pytest.param("peak_memory_mb>=5", 3.6, None, False, id="growing lower"),
    ],
)
def test_noise_has_to_be_exceeded_before_the_end(text: str, within: float, beyond: float | None, crossed: bool) -> None:
    """A limit broken by less stops nothing until the end, where the figure counts as it is."""
    (metric,) = parsed(text).metrics
    judge = parsed(text).judge(noise={metric: NOISE})
    assert judge.see({metric: within}) is judge.crossed({metric: within}) is None
    assert judge.see({metric: within}, final=True) == Stop(text, metric, within, 5.0)
    if beyond is not None:
        assert judge.see({metric: beyond}) == Stop(text, metric, beyond, 5.0)
        assert (judge.crossed({metric: beyond}) is not None) is crossed


@pytest.mark.parametrize(
    ("value", "stops"), [pytest.param(5 + 2.49, False, id="within"), pytest.param(5 + 2.51, True, id="beyond")]
)
def test_noise_and_the_error_of_a_mean_add_up_in_squares(value: float, stops: bool) -> None:
    """Three times an error of 2/3 and three times a noise of 1/2 are 2.5 together: they are independent."""
    judge = parsed("mean_step_time_ms<=5").judge(noise={"mean_step_time_ms": NOISE})
    figures = {"mean_step_time_ms": value}
    assert (judge.see(figures, errors={"mean_step_time_ms": 2 / 3}) is not None) is stops
    assert judge.see(figures) is None  # noise is not evidence


def test_noise_is_a_share_of_the_resolved_limit() -> None:
    """Of a relative limit of 6 it is 0.6, whatever the factor."""
    judge = parsed("training_time_s<=2x median").judge(trials("training_time_s", *TIMES), {"training_time_s": NOISE})
    assert judge.crossed({"training_time_s": 7.7}) is None
    stop = judge.crossed({"training_time_s": 7.9})
    assert stop is not None
    assert stop.limit == 6


def test_noise_of_a_negative_limit_widens_it() -> None:
    """Three standard deviations above -5, not below."""
    judge = parsed("model_size_kb<=-5").judge(noise={"model_size_kb": NOISE})
    assert judge.crossed({"model_size_kb": -3.6}) is None
    assert judge.crossed({"model_size_kb": -3.4}) is not None


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(None, id="none"),
        pytest.param({}, id="empty"),
        pytest.param({"training_time_s": 9.0}, id="of another metric"),
        pytest.param({"peak_memory_mb": 0.0}, id="zero"),
        pytest.param({"peak_memory_mb": NAN}, id="unknown"),
    ],
)
def test_without_noise_a_limit_is_exact(noise: Mapping[str, float] | None) -> None:
    """The least that is above it breaks it."""
    judge = parsed("peak_memory_mb<=5").judge(noise=noise)
    assert judge.see({"peak_memory_mb": 5.001}) is not None
    assert judge.crossed({"peak_memory_mb": 5.001}) is not None


def test_noise_does_not_change_patience() -> None:
    """A curve is judged by how it moves within one trial."""
    judge = parsed("val_loss patience 1").judge(noise={"val_loss": 9.0})
    judge.see({"val_loss": 1.0})
    assert judge.see({"val_loss": 1.001}) is not None


def test_resolved_criteria_judge_as_relative_ones_do() -> None:
    """Their numbers are those of the finished trials; a limit with too few of them is left out, patience stays."""
    criteria = Criteria.parse("cost<=2x median, other<=1x mean, loss patience 2, cost<=50")
    finished = [{"cost": cost} for cost in (1.0, 2.0, 3.0, 4.0, 50.0)]
    resolved = criteria.resolved(iter(finished))
    assert str(resolved) == "cost<=6, cost<=50, loss patience 2"
    for figures in ({"cost": 5.0}, {"cost": 6.5}, {"cost": 60.0, "other": 9.0}):
        relative = [(stop.metric, stop.value, stop.limit) for stop in criteria.violations(figures, finished)]
        assert [(stop.metric, stop.value, stop.limit) for stop in resolved.violations(figures)] == relative
        assert resolved.excess(figures) == pytest.approx(criteria.excess(figures, finished))
