"""The stop tag over a store that fails. Tests of the callback for Tune and of the commands hold what it ends."""

import itertools
from unittest.mock import Mock

from commands import wait_until

from mlflow_sysmetrics.limits import StopTag, stop_tag
from mlflow_sysmetrics.recording.tags import STOP_REASON

LIMIT_S = 10.0


def test_tag_ends_a_run_once_the_store_answers_again(monkeypatch):
    """A request that fails is made again; a run whose tag could not be removed is not ended twice."""
    monkeypatch.setattr(stop_tag, "ASK_EVERY_S", 0.005)
    answers = [ConnectionError("away"), {"a": "now"}, {"a": "now"}]
    ask = Mock(side_effect=itertools.chain(answers, itertools.repeat({})))
    end = Mock(side_effect=RuntimeError("whatever it raises is logged"))
    clear = Mock(side_effect=[ConnectionError("away"), None])
    tag = StopTag(ask, end, clear).start()
    wait_until(lambda: ask.call_count > 4, LIMIT_S, "the answers and one more")
    tag.release()
    ((run_id, outcome),) = (call.args for call in end.call_args_list)
    assert run_id == "a"
    assert outcome.tags[STOP_REASON] == "the tag sysmetrics.stop was set to 'now'"
    assert clear.call_count == 2
