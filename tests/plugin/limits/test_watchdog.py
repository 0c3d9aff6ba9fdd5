"""The watchdog over a store that fails. Tests of the logger and of the commands hold what it and limits end."""

import itertools
import threading
from unittest.mock import Mock

from commands import wait_until

from mlflow_sysmetrics.limits import Watchdog, process_limits, watchdog
from mlflow_sysmetrics.limits.watchdog import stopped_by_person
from mlflow_sysmetrics.recording.tags import STOP_REASON

LIMIT_S = 10.0


def test_tag_ends_a_run_once_the_store_answers_again(monkeypatch):
    """While the store is known to be unreachable, it is not asked; a request that fails is made again."""
    monkeypatch.setattr(watchdog, "ASK_EVERY_S", 0.005)
    is_away = Mock(return_value=True)
    answers = [ConnectionError("away"), {"a": "now"}, {"a": "now"}]
    stop_tags = Mock(side_effect=itertools.chain(answers, itertools.repeat({})))
    end, clear = Mock(side_effect=RuntimeError("whatever it raises is logged")), Mock()
    dog = Watchdog(end, stop_tags=stop_tags, clear=clear, is_unreachable=is_away).start()
    wait_until(lambda: is_away.call_count > 2, LIMIT_S, "three looks")
    stop_tags.assert_not_called()
    is_away.return_value = False
    wait_until(lambda: stop_tags.call_count > 4, LIMIT_S, "the answers and one more")
    dog.release()
    dog.join(LIMIT_S)
    end.assert_called_once_with("a", stopped_by_person("now"))
    assert dog.outcome.tags[STOP_REASON] == "the tag sysmetrics.stop was set to 'now'"
    clear.assert_called_once_with("a")


def test_limit_that_stays_broken_ends_a_run_once_and_without_holding_the_reading():
    """`end` takes its time in a thread of its own. After the release nothing is ended."""
    may_end, calls = threading.Event(), []

    def end(run_id, outcome):
        assert may_end.wait(LIMIT_S)
        calls.append(outcome.tags[STOP_REASON])

    dog = Watchdog(end, process_limits("peak_memory_mb<=5"))
    for peak_mb in (4.0, 7.0, 8.0):
        dog.see({"peak_memory_mb": peak_mb})
    may_end.set()
    dog.join(LIMIT_S)
    assert calls == ["peak_memory_mb 7 > 5"]
    released = Watchdog(end, process_limits("peak_memory_mb<=5"))
    released.release()
    released.see({"peak_memory_mb": 6.0})
    assert released.outcome is None
