"""What became of the trials, in counts that add up."""

import re
from dataclasses import replace

from made_up_frames import stopped, study

from entrypoints.reporting.questions.counts import answer
from entrypoints.tags import BY_RACE


def test_diverged_trials_have_in_common_what_each_of_them_has():
    """A hyperparameter of another algorithm is not theirs."""
    frame = study(
        [{"algorithm": "linear", "learning_rate": rate, "n_estimators": None} for rate in (0.01, 0.1, 0.2)]
        + [{"algorithm": "forest", "learning_rate": None, "n_estimators": 100}],
        diverged=lambda row: row["learning_rate"] in (0.1, 0.2),
    )
    assert answer(frame).sentences == ("4 trials: 2 ran to the end, 2 diverged (all with algorithm linear).",)


def test_counts_with_repeated_and_stopped_trials_add_up():
    """A trial that diverged counts as such, also where the limits ended it."""
    frame = study({"batch_size": [8, 16, 32, 64, 128]}, repeats=2, diverged=lambda row: row["batch_size"] >= 64)
    frame = stopped(replace(frame, studies=frame.studies.assign(planned=9)), 8, 64)
    frame = stopped(frame, 16, stopped_by=BY_RACE)
    found = answer(frame)
    (said,) = found.sentences
    assert said.startswith("9 trials (2 of them again, to measure noise): ")
    counts = [int(count) for count in re.findall(r"(?:: |, )(\d+) ", said)]
    assert sorted(counts) == sorted(found.table["trials"])
    assert sum(counts) == 9
    assert "1 stopped by the limits, 1 ended by racing, 2 diverged" in said
