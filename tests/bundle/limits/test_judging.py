"""What a study adds to criteria: noise and errors, what is broken at the end, what can be read."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from entrypoints.limits.judging import NoisyJudge, Z, check_readable, excess, resolved, violations
from mlflow_sysmetrics.limits import Criteria, CriteriaError, Kind, Metric, Stop

METRICS = (
    Metric("peak_memory_mb", Kind.GROWING),
    Metric("training_time_s", Kind.GROWING),
    Metric("mean_step_time_ms", Kind.MEAN),
    Metric("model_size_kb", Kind.FACT),
    Metric("val_loss", Kind.CURVE),
    Metric("val_accuracy", Kind.CURVE, higher_is_better=True),
)
NAN = math.nan
TIMES = (1.0, 2.0, 3.0, 4.0, 10.0)


def parsed(text: str) -> Criteria:
    return Criteria.parse(text, METRICS)


def trials(name: str, *values: float) -> list[dict[str, float]]:
    """Finished trials with these values."""
    return [{name: value} for value in values]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        pytest.param("peak_memory_mb<=1.2x median", 4.0, id="of-little-memory"),
        pytest.param("peak_memory_mb<=2x mean", 8.0, id="of-more"),
        pytest.param("peak_memory_mb<=0.5x median", 4.0, id="less-than-the-median"),
        pytest.param("peak_memory_mb<=3.5", 3.5, id="absolute"),
        pytest.param("peak_memory_mb>=0.5x median", 1.5, id="lower"),
    ],
)
def test_relative_limit_on_memory_lies_a_megabyte_above_its_statistic(text: str, number: float) -> None:
    """Less is not worth a trial: small models differ by a few pages."""
    (limit,) = resolved(parsed(text), trials("peak_memory_mb", 1.0, 2.0, 3.0, 4.0, 10.0)).limits
    assert limit.number == number


def test_a_criterion_on_an_unreadable_metric_is_an_error() -> None:
    """Check points at the criterion that would never fire, and is silent when all can be read."""
    criteria = parsed("val_loss<1,peak_memory_mb<=3")
    check_readable(criteria, iter(["peak_memory_mb", "val_loss", "more"]))
    with pytest.raises(CriteriaError, match=r'"peak_memory_mb" cannot be read .* use one of a, val_loss') as caught:
        check_readable(criteria, ["val_loss", "a"])
    assert caught.value.text[caught.value.position :] == "peak_memory_mb<=3"


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
    judge, stop = NoisyJudge(criteria), Stop(text, metric, value, 5.0, 7)
    assert judge.see({metric: value}, 7) == (stop if before_the_end else None)
    assert judge.crossed({metric: value}, 7) == (stop if crossed else None)
    assert judge.see({metric: value}, 7, final=True) == stop


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
    stop = NoisyJudge(parsed(text)).see({metric: value}, 1, errors={metric: error})
    assert stop == (Stop(text, metric, value, 5.0, 1) if stops else None)


def test_a_finished_trial_shows_all_it_breaks() -> None:
    """Every broken limit in the text's order, relative ones included; patience is not a limit."""
    limits = "val_loss<1, peak_memory_mb<=300, training_time_s<=2x median, model_size_kb<9, model_size_kb>1"
    criteria = parsed(f"val_loss patience 1, {limits}")
    figures: Mapping[str, float] = {"val_loss": 2.0, "peak_memory_mb": 200.0, "training_time_s": 7.0}
    late, slow = Stop("val_loss<1", "val_loss", 2.0, 1.0), Stop("training_time_s<=2x median", "training_time_s", 7.0, 6)
    assert violations(criteria, figures, trials("training_time_s", *TIMES)) == [late, slow]
    assert violations(criteria, figures) == [late]


@pytest.mark.parametrize(
    ("figures", "sum_of"),
    [
        pytest.param({"peak_memory_mb": 300.0, "val_accuracy": 0.9}, 0.0, id="feasible"),
        pytest.param({"peak_memory_mb": 330.0, "val_accuracy": 0.9}, 0.1, id="a tenth above"),
        pytest.param({"peak_memory_mb": 330.0, "val_accuracy": 0.4}, 0.6, id="two broken limits add up"),
        pytest.param({"val_loss": 1.0}, 1.5, id="relative to a negative limit"),
        pytest.param({}, 0.0, id="unknown is not broken"),
        pytest.param({"training_time_s": 9.0}, 0.5, id="relative limit"),
    ],
)
def test_excess_is_the_sum_of_relative_distances(figures: Mapping[str, float], sum_of: float) -> None:
    """What is broken counts by its share of the limit, so that metrics of different units add up."""
    criteria = parsed("peak_memory_mb<=300, val_accuracy>=0.8, val_loss<=-2, training_time_s<=2x median")
    assert excess(criteria, figures, iter(trials("training_time_s", *TIMES))) == pytest.approx(sum_of)


def test_excess_orders_trials_by_a_limit_of_zero() -> None:
    """A limit of 0 divides by no zero, and the smaller violation is still the smaller excess."""
    criteria = parsed("val_loss<=0")
    assert 0 < excess(criteria, {"val_loss": 1.0}) < excess(criteria, {"val_loss": 2.0}) < math.inf


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
    judge = NoisyJudge(parsed(text), noise={metric: NOISE})
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
    judge = NoisyJudge(parsed("mean_step_time_ms<=5"), noise={"mean_step_time_ms": NOISE})
    figures = {"mean_step_time_ms": value}
    assert (judge.see(figures, errors={"mean_step_time_ms": 2 / 3}) is not None) is stops
    assert judge.see(figures) is None  # noise is not evidence


def test_resolved_criteria_judge_as_relative_ones_do() -> None:
    """Their numbers are those of the finished trials; a limit with too few of them is left out, patience stays."""
    criteria = Criteria.parse("cost<=2x median, other<=1x mean, loss patience 2, cost<=50")
    finished = [{"cost": cost} for cost in (1.0, 2.0, 3.0, 4.0, 50.0)]
    numbers = resolved(criteria, iter(finished))
    assert str(numbers) == "cost<=6, cost<=50, loss patience 2"
    for figures in ({"cost": 5.0}, {"cost": 6.5}, {"cost": 60.0, "other": 9.0}):
        relative = [(stop.metric, stop.value, stop.limit) for stop in violations(criteria, figures, finished)]
        assert [(stop.metric, stop.value, stop.limit) for stop in violations(numbers, figures)] == relative
        assert excess(numbers, figures) == pytest.approx(excess(criteria, figures, finished))
