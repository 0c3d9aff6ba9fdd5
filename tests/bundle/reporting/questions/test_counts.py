"""What became of the trials, in counts that add up."""

from frames import study
from records import BY_TIME, of_every_end, study_of, trial

from entrypoints.reporting.questions.counts import answer
from entrypoints.search.racing import Lost


def test_diverged_trials_have_in_common_what_each_of_them_has():
    """A hyperparameter of another algorithm is not theirs."""
    frame = study(
        [{"algorithm": "linear", "learning_rate": rate, "n_estimators": None} for rate in (0.01, 0.1, 0.2)]
        + [{"algorithm": "forest", "learning_rate": None, "n_estimators": 100}],
        diverged=lambda row: row["learning_rate"] in (0.1, 0.2),
    )
    assert answer(frame).sentences == ("4 trials: 2 ran to the end, 2 diverged (all with algorithm linear).",)


def test_each_trial_is_in_one_of_the_counts():
    """One that diverged counts as such, also where a limit ended it."""
    trials = [*of_every_end(), trial(11, diverged=True, ending=BY_TIME), trial(12, ending=Lost(0.9, "why").tags)]
    found = answer(study_of(trials, planned=13).frame)
    assert found.sentences[0].startswith("13 trials: ")
    assert found.table.set_index("ending")["trials"].to_dict() == {
        "ran to the end": 2,
        "stopped by the limits": 2,
        "ended by racing": 1,
        "stopped by a person": 2,
        "cut off by time_limit_s": 1,
        "diverged": 3,
        "failed": 1,
        "not started": 1,
    }
