"""What is said of hyperparameters holds for what was planted, and for another draw of the data."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_up_frames import study

from entrypoints.limits.noise import noise_of
from entrypoints.reporting.questions.effects import answer, noise_of_score, of_costs, of_score

Row = Mapping[str, Any]
ALGORITHMS = ["logistic", "svm"]
SIZES = {
    8: {"batch_size": [8, 64], "learning_rate": [0.01, 0.001], "algorithm": ALGORITHMS},
    24: {"batch_size": [8, 32, 128, 512], "learning_rate": [0.1, 0.01, 0.001], "algorithm": ALGORITHMS},
    108: {
        "batch_size": [2**i for i in range(1, 10)],
        "learning_rate": [10.0**-i for i in range(6)],
        "algorithm": ALGORITHMS,
    },
}


def seconds(row):
    """A cost that bends in the logarithm of the batch size."""
    return float(0.05 + 8 / row["batch_size"])


def svm(planted):
    """A cost of 2, and more with one algorithm."""
    return lambda row: 2 + (planted if row["algorithm"] == "svm" else 0)


def effect(frame, hyperparameter, metric=None):
    """The row of a hyperparameter's main effect on a cost, or else on the score."""
    table = of_costs(frame) if metric else of_score(frame)
    found = table[(table["hyperparameter"] == hyperparameter) & (table["metric"] == (metric or frame.score))]
    return dict(found.iloc[0])


@pytest.mark.parametrize("trials", SIZES)
@pytest.mark.parametrize("factor", [1.1, 8.0])
def test_planted_factor_of_a_cost_is_found_with_an_interval_that_holds_it(trials, factor):
    """In eight trials as in 108; a batch size that changes the cost more, a place that does not, stand beside it."""
    costs = {"training_time_s": lambda row: seconds(row) * (factor if row["algorithm"] == "svm" else 1)}
    frames = [study(SIZES[trials], costs, noise=0.005, seed=seed) for seed in range(20)]
    rows = [effect(frame, "algorithm", "training_time_s") for frame in frames]
    assert sum(row["reported"] for row in rows) >= 19
    assert sum(row["low"] <= factor <= row["high"] for row in rows) >= 17
    assert all(row["from"] == "logistic" and row["to"] == "svm" for row in rows)


@pytest.mark.parametrize(
    ("metric", "planted", "words"),
    [
        ("training_time_s", 16.0, "rises to 9 times"),
        ("training_time_s", -0.3, "falls by 15 %"),
        ("peak_memory_mb", -1.9, "falls by 1.9 MB"),
    ],
)
def test_change_is_said_in_words_that_fit_its_size(metric, planted, words):
    """Halves and doubles as factors, less in percent, memory in MB."""
    frame = study(SIZES[24], {metric: svm(planted)}, noise=1e-6)
    assert answer(frame).sentences[0] == f"`algorithm` logistic -> svm: `{metric}` {words}."


@pytest.mark.parametrize(("metric", "planted"), [("training_time_s", 0.08), ("peak_memory_mb", 0.9)])
def test_what_is_too_small_for_a_sentence_is_in_the_table_alone(metric, planted):
    """Less than 5 %, and of memory than 2 % and 1 MB."""
    frame = study(SIZES[24], {metric: svm(planted)}, noise=1e-6)
    row = effect(frame, "algorithm", metric)
    assert row["p_holm"] < 1e-6
    assert not row["reported"]
    assert f"No effect on `{metric}` is shown, beyond noise and 5 % (memory: 2 %)." in answer(frame).sentences


def test_memory_that_follows_the_order_of_starts_is_no_effect():
    """By chance most trials of one batch size started later; studies of so few have no term for the order."""
    said, levels = 0, {"batch_size": [8, 64], "alpha": [10.0**-power for power in range(10)]}
    for seed in range(20):
        frame = study(levels, {}, seed=seed)
        late = frame.trials.sort_values("batch_size", kind="stable", ignore_index=True)
        late.loc[[3, len(late) // 2]] = late.loc[[len(late) // 2, 3]].to_numpy()
        noise_mb = np.random.default_rng(seed).normal(0, 0.005, len(late))
        late["peak_memory_mb"] = 5 + 0.6 * np.linspace(0, 1, len(late)) + noise_mb
        said += effect(replace(frame, trials=late), "batch_size", "peak_memory_mb")["reported"]
    assert said <= 1


def test_hyperparameter_that_says_the_same_as_another_is_not_called_a_cause():
    """Only one algorithm has a tol, so the trials do not tell the two apart."""
    levels = [
        {"algorithm": name, "batch_size": size, "solver": f"of {name}"}
        for name in ALGORITHMS
        for size in (2, 4, 8, 16, 32)
    ]
    frame = study(levels, {"training_time_s": svm(5.0)})
    table = of_costs(frame)
    assert not set(table["hyperparameter"]) & {"algorithm", "solver"}
    assert answer(frame).open_question.startswith(
        "What `algorithm` and `solver` change: no trials differ in one of them"
    )


def made_alike(seed, lower=0.0, **changes):
    """Models of two algorithms that err each in its own way on the same folds; one may be worse on average."""
    random = np.random.default_rng(seed)
    errors = {name: random.normal(0, 0.01, 10) for name in ALGORITHMS}
    return study(
        SIZES[24],
        score=lambda row: 0.77 - lower * (row["algorithm"] == "svm") + errors[row["algorithm"]],
        metric="val_accuracy",
        model_sd=0.002,
        seed=seed,
        **changes,
    )


def test_levels_that_differ_on_these_folds_alone_are_not_called_different():
    """All trials share the folds: with trials as replication nearly each of these studies would claim an effect."""
    told = [effect(made_alike(seed), "algorithm")["reported"] for seed in range(40)]
    assert sum(told) <= 2


def made_of_places(seed):
    """Nine places, of which each errs in its own way on the same folds."""
    errors = np.random.default_rng(seed).normal(0, 0.01, (9, 10))
    return study({"place": range(9), "alpha": [0.1, 0.01]}, score=lambda row: 0.7 + errors[row["place"]], model_sd=0.0)


def test_p_value_of_many_levels_allows_for_the_choice_of_two():
    """As the interval does. Of 36 pairs, one differs by chance in some of these studies, if it is looked at alone."""
    for seed in range(20):
        row = effect(made_of_places(seed), "place")
        assert (row["p_value"] < 0.05) == (row["low"] > 0 or row["high"] < 0)


def test_levels_that_differ_on_other_folds_as_well_are_found():
    """By eight standard errors of the difference."""
    told = [effect(made_alike(seed, lower=0.052), "algorithm") for seed in range(20)]
    assert sum(row["reported"] for row in told) >= 19
    assert sum(row["low"] <= -0.052 <= row["high"] for row in told) >= 18


def test_equal_models_count_once():
    """Batch sizes that make the same model of a configuration change neither an effect nor the noise."""
    levels = {"learning_rate": [0.1, 0.01, 0.001], "algorithm": ALGORITHMS}
    configurations = itertools.product(levels["learning_rate"], levels["algorithm"])
    known = dict(zip(configurations, np.random.default_rng(0).normal(0.7, 0.02, (6, 10)), strict=True))

    def made(batch_sizes):
        of = {"batch_size": batch_sizes, **levels}
        frame = study(of, score=lambda row: known[row["learning_rate"], row["algorithm"]], model_sd=0, fold_sd=0)
        frame.folds["val_rmse"] += 1e-15 * (np.arange(len(frame.folds)) % 7)  # as sums in another order differ
        # One rate ran with a single batch size only, so that by trials it weighs less.
        return replace(
            frame, trials=frame.trials[(frame.trials["learning_rate"] < 0.1) | (frame.trials["batch_size"] == 8)]
        )

    one, many = made([8]), made([8, 64, 512])
    for name in ("algorithm", "learning_rate"):
        few, more = effect(one, name), effect(many, name)
        assert (few["change"], few["p_holm"]) == pytest.approx((more["change"], more["p_holm"]))
    assert noise_of_score(one) == pytest.approx(noise_of_score(many))
    same = of_score(many).set_index("hyperparameter")["same"]
    assert same.to_dict() == {"batch_size": True, "learning_rate": False, "algorithm": False}


def test_losses_and_test_scores_are_not_compared():
    """The losses of two algorithms are different functions, and what is tested may not choose."""
    others = {name: svm(5.0) for name in ("train_loss", "val_loss", "test_loss", "test_accuracy", "val_accuracy_sd")}
    frame = study(
        SIZES[24], {**others, "steps": svm(5.0), "memory_mb": svm(5.0), "training_time_s": seconds}, metric="val_rmse"
    )
    found = answer(frame)
    assert set(found.table["metric"]) == {"val_rmse", "training_time_s"}
    assert not any(name in " ".join(found.sentences) for name in ("loss", "test_", "steps"))


def test_effects_are_reported_from_one_percent_on():
    """After Holm's correction within a cost, of a paired t-test."""
    reported, others = [], []
    for seed in range(60):
        frame = study(SIZES[24], {"training_time_s": svm(0.24)}, noise=0.1, seed=seed)
        row = effect(frame, "algorithm", "training_time_s")
        if row["low"] > 1.03 and row["change"] > 1.06:  # not too small for a sentence
            (reported if row["reported"] else others).append(row["p_holm"])
    assert 0.003 < max(reported) < 0.01 < min(others) < 0.02


def test_noise_of_a_study_of_several_algorithms_is_that_of_equal_work():
    """Of which some have no batch size; a rate changes no cost of the built-in ones."""
    levels = [{"algorithm": "logistic", "batch_size": 8, "learning_rate": rate / 100} for rate in range(1, 9)]
    levels += [{"algorithm": "forest", "batch_size": None, "learning_rate": None}]
    noise = noise_of(study(levels, {"training_time_s": lambda row: 2.0}, noise=0.1), "training_time_s")
    assert (noise.degrees, noise.is_measured) == (7, True)
    assert 0.04 < noise.share < 0.2
