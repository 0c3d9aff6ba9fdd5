"""What a search that learns has Tune run: how many at once, repetitions, and what an earlier command began."""

from __future__ import annotations

from collections import Counter
from typing import Any

from records import recorded, trial
from reference import bundled
from study_settings import study_settings

from entrypoints.models import scores
from entrypoints.models.algorithms import find_all
from entrypoints.models.configuration import Configuration
from entrypoints.search.earlier import NOTHING, Earlier
from entrypoints.search.grid import configurations
from entrypoints.search.plan import Plan
from entrypoints.search.record import Record
from entrypoints.search.suggestions import Suggestions

SPACE = {"batch_size": [8, 64], "learning_rate": [0.1, 0.01, 0.001], "alpha": [0.1, 0.01]}


def _plan(**settings: Any) -> Plan:
    """Of twelve configurations."""
    asked, data, unused = study_settings(search="tpe", space=SPACE, **settings), bundled("red_wine", 3), None
    tried = configurations(asked, data.split, find_all(data.task, "linear"), 0)
    nowhere: Any = unused
    return Plan(asked, None, None, nowhere, nowhere, nowhere, tried, nowhere, scores.find(None, "regression"), [])


def _suggested(searcher: Suggestions) -> Configuration:
    """The next configuration, where one more may run."""
    config = searcher.suggest("any id")
    assert isinstance(config, dict)
    configuration: Configuration = config["configuration"]
    return configuration


def _end(record: Record, configuration: Configuration) -> None:
    ended = trial(configuration.place, configuration.searched["learning_rate"], configuration)
    record.trials[ended.trial_id] = ended


def test_as_many_run_as_may_and_each_place_is_taken_once() -> None:
    """The next begins when any has ended; what runs several times does so within the trials that there are."""
    plan, record = _plan(max_trials=8, repeats=3), recorded()
    searcher = Suggestions(plan, record, NOTHING, None, at_once=2)
    handed_out = [_suggested(searcher), _suggested(searcher)]
    for _ in range(plan.size - 2):
        assert searcher.suggest("any id") is None
        _end(record, handed_out[-2])
        handed_out.append(_suggested(searcher))
    assert [each.place for each in handed_out] == list(range(1, 11))
    assert len({each.id for each in handed_out}) == 10
    assert sorted(Counter(each.key for each in handed_out).values()) == [1] * 7 + [3]


def test_what_an_earlier_command_began_comes_first() -> None:
    """Then what was neither done nor begun; nothing is left when all was tried."""
    plan = _plan(max_trials=12)
    done = [trial(place, 0.5, each) for place, each in zip((1, 3), plan.trials[:2], strict=True)]
    begun = plan.trials[5]
    searcher = Suggestions(plan, recorded(done), Earlier(tuple(done), {begun.id: "a run"}), None, at_once=99)
    handed_out = [_suggested(searcher) for _ in range(10)]
    assert [each.place for each in handed_out] == [2, *range(4, 13)]
    assert handed_out[0].id == begun.id
    assert {each.id for each in handed_out} == {each.id for each in plan.trials[2:]}
    assert searcher.suggest("any id") == Suggestions.FINISHED
