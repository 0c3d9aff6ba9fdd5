"""What is said of hyperparameters holds for what was planted, and for another draw of the data."""

from dataclasses import replace

import numpy as np
import pytest
from cases import cases
from frames import study

from entrypoints.limits.noise import noise_of
from entrypoints.reporting.questions import algorithms
from entrypoints.reporting.questions.effects import answer, noise_of_score, of_costs, of_score

ALGORITHMS = ["logistic", "svm"]
FEW = {"batch_size": [8, 64], "learning_rate": [0.01, 0.001], "algorithm": ALGORITHMS}
MANY = {"batch_size": [8, 32, 128, 512], "learning_rate": [0.1, 0.01, 0.001], "algorithm": ALGORITHMS}
TIME, MEMORY = "training_time_s", "peak_memory_mb"


def svm(planted):
    """A cost of 2, and more with one algorithm."""
    return lambda row: 2 + planted * (row["algorithm"] == "svm")


def effect(table, hyperparameter):
    """The row of a hyperparameter's main effect on the score, or on the one cost."""
    return table.set_index("hyperparameter").loc[hyperparameter]


@cases("levels", {"8 trials": FEW, "24 trials": MANY})
@cases("factor", [1.1, 8.0])
def test_planted_factor_of_a_cost_is_found_with_an_interval_that_holds_it(levels, factor):
    """A batch size that changes the cost more, and a rate that does not, stand beside it."""

    def seconds(row):
        return (0.05 + 8 / row["batch_size"]) * (factor if row["algorithm"] == "svm" else 1)

    row = effect(of_costs(study(levels, {TIME: seconds}, noise=0.005, seed=1)), "algorithm")
    assert (row["reported"], row["from"], row["to"]) == (True, "logistic", "svm")
    assert row["low"] <= factor <= row["high"]


@cases(
    "metric, planted, words",
    [
        (TIME, 16.0, "rises to 9 times"),
        (TIME, -0.3, "falls by 15 %"),
        (MEMORY, -1.9, "falls by 1.9 MB"),
    ],
)
def test_change_is_said_in_words_that_fit_its_size(metric, planted, words):
    """Halves and doubles as factors, less in percent, memory in MB."""
    frame = study(MANY, {metric: svm(planted)}, noise=1e-6)
    assert answer(frame).sentences[0] == f"`algorithm` logistic -> svm: `{metric}` {words}."


@cases("metric, planted", [(TIME, 0.08), (MEMORY, 0.9)])
def test_what_is_too_small_for_a_sentence_is_in_the_table_alone(metric, planted):
    """Less than 5 %, and of memory than 2 % and 1 MB."""
    row = effect(of_costs(study(MANY, {metric: svm(planted)}, noise=1e-6)), "algorithm")
    assert row["p_holm"] < 1e-6
    assert not row["reported"]


def test_memory_that_follows_the_order_of_starts_is_no_effect():
    """By chance most trials of one batch size started later; studies of so few have no term for the order."""
    frame = study({"batch_size": [8, 64], "alpha": [10.0**-power for power in range(10)]})
    late = frame.trials.sort_values("batch_size", kind="stable", ignore_index=True)
    late.loc[[3, 10]] = late.loc[[10, 3]].to_numpy()
    late[MEMORY] = 5 + 0.6 * np.linspace(0, 1, len(late))
    row = effect(of_costs(replace(frame, trials=late)), "batch_size")
    assert row["change"] > 0.2
    assert not row["reported"]


def test_hyperparameter_that_says_the_same_as_another_is_not_called_a_cause():
    """Each algorithm has a solver of its own, so the trials do not tell the two apart."""
    levels = []
    for name in ALGORITHMS:
        levels += [{"algorithm": name, "batch_size": 2**power, "solver": f"of {name}"} for power in range(1, 6)]
    frame = study(levels, {TIME: svm(5.0)})
    assert not set(of_costs(frame)["hyperparameter"]) & {"algorithm", "solver"}
    assert "What changes with `solver`: " in answer(frame).open_question


def made_alike(lower=0.0):
    """Models of two algorithms that err each in its own way on the same folds; one may be worse on average."""
    errors = dict(zip(ALGORITHMS, np.random.default_rng(0).normal(0, 0.01, (2, 10)), strict=True))
    return study(
        MANY,
        score=lambda row: 0.77 - lower * (row["algorithm"] == "svm") + errors[row["algorithm"]],
        metric="val_accuracy",
        model_sd=0.002,
    )


def test_levels_that_differ_on_these_folds_alone_are_not_called_different():
    """All trials share the folds: with trials as replication nearly each of these studies would claim an effect."""
    row = effect(of_score(made_alike()), "algorithm")
    assert abs(row["change"]) > 0.002  # the standard deviation of what a model does on a fold
    assert not row["reported"]


def test_levels_that_differ_on_other_folds_as_well_are_found():
    """By eight standard errors of the difference."""
    row = effect(of_score(made_alike(lower=0.052)), "algorithm")
    assert row["reported"]
    assert row["low"] <= -0.052 <= row["high"]


@cases(
    "lower, says", [(0.0, "; svm does not differ from logistic"), (0.08, "; svm is worse than logistic beyond noise")]
)
def test_best_models_of_algorithms_differ_by_more_than_their_folds_tell(lower, says):
    """Models of one algorithm err alike, and the best of each were chosen among several."""
    assert says in algorithms.answer(made_alike(lower)).sentences[0]


def test_p_value_of_many_levels_allows_for_the_choice_of_two():
    """As the interval does: the two of nine places that differ most by chance are called different by neither."""
    errors = np.random.default_rng(11).normal(0, 0.01, (9, 10))
    levels = {"place": range(9), "alpha": [0.1, 0.01]}
    frame = study(levels, score=lambda row: 0.7 + errors[row["place"]], model_sd=0.0)
    row = effect(of_score(frame), "place")
    assert 0.05 < row["p_value"] < 0.1
    assert row["low"] < 0 < row["high"]


def test_equal_models_count_once():
    """Batch sizes that make the same model of a configuration change neither an effect nor the noise."""
    frame = study(MANY, same_model=["batch_size"])
    frame.folds["val_rmse"] += 1e-15 * (np.arange(len(frame.folds)) % 7)  # as sums in another order differ
    is_first = frame.trials["batch_size"] == 8
    one = replace(frame, trials=frame.trials[is_first])
    # One rate ran with a single batch size only, so that by trials it weighs less.
    many = replace(frame, trials=frame.trials[is_first | (frame.trials["learning_rate"] < 0.1)])
    few, more = of_score(one), of_score(many)
    for name in ("algorithm", "learning_rate"):
        for figure in ("change", "p_holm"):
            assert effect(few, name)[figure] == pytest.approx(effect(more, name)[figure])
    assert noise_of_score(one) == pytest.approx(noise_of_score(many))
    same = more.set_index("hyperparameter")["same"]
    assert same.to_dict() == {"batch_size": True, "learning_rate": False, "algorithm": False}


def test_losses_and_test_scores_are_not_compared():
    """The losses of two algorithms are different functions, and what is tested may not choose."""
    names = ("train_loss", "val_loss", "test_loss", "test_rmse", "val_rmse_sd", "steps", "memory_mb", TIME)
    frame = study(MANY, dict.fromkeys(names, svm(5.0)))
    assert set(answer(frame).table["metric"]) == {"val_rmse", TIME}


@cases("noise, least, most, reported", [(0.1, 0.001, 0.01, True), (0.12, 0.01, 0.05, False)])
def test_effects_are_reported_from_one_percent_on(noise, least, most, reported):
    """After Holm's correction within a cost, of a paired t-test."""
    row = effect(of_costs(study(MANY, {TIME: svm(0.24)}, noise=noise, seed=2)), "algorithm")
    assert row["low"] > 1.03  # not too small for a sentence
    assert least < row["p_holm"] < most
    assert row["reported"] == reported


def test_noise_of_a_study_of_several_algorithms_is_that_of_equal_work():
    """Of which some have no batch size; a rate changes no cost of the built-in ones."""
    levels = [{"algorithm": "logistic", "batch_size": 8, "learning_rate": rate / 100} for rate in range(1, 9)]
    levels.append({"algorithm": "forest", "batch_size": None, "learning_rate": None})
    noise = noise_of(study(levels, {TIME: lambda row: 2.0}, noise=0.1), TIME)
    assert (noise.degrees, noise.is_measured) == (7, True)
    assert 0.04 < noise.share < 0.2
