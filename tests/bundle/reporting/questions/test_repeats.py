"""What repeated studies without shared configurations or a score say; the others are golden pages."""

from __future__ import annotations

from made_up_frames import study, together

from entrypoints.reporting.questions.repeats import answer

LEVELS = {"batch_size": [8, 64, 512], "learning_rate": [0.1, 0.01, 0.001]}


def test_studies_that_share_nothing_say_so() -> None:
    """No configuration ran to its end in all."""
    other = study({"batch_size": [9], "learning_rate": [0.5]}, seed=1)
    assert "no configuration ran to its end in all studies" in answer(together(study(LEVELS), other)).open_question


def test_safest_configuration_is_compared_with_the_best_of_each_study_and_the_baseline() -> None:
    """Two random searches may share nothing but a poor one."""
    one, other = (
        study(
            [{"alpha": alpha} for alpha in (*own, 0.2)],
            score=lambda row: 0.6 + row["alpha"],
            model_sd=0.0,
            seed=seed,
            of_study={"baseline": [0.7] * 10},
        )
        for seed, own in enumerate([(0.001, 0.002), (0.004, 0.005)])
    )
    first, *_, last = answer(together(one, other)).sentences
    assert first.startswith(
        "**Take alpha=0.2**: it is at most 0.2 worse in val_rmse than the best in each of 2 studies;"
    )
    assert "in all: 1. **But in seed 0 and seed 1 it does not beat the baseline**" in first
    assert last == "The best of a study differs: alpha=0.001 (seed 0); alpha=0.004 (seed 1)."
