"""The watchdog over a store that fails. Tests of the logger and of the commands hold what it and limits end."""

import queue
import threading

from mlflow_sysmetrics.limits import Watchdog, process_limits, watchdog
from mlflow_sysmetrics.tags import STOP_REASON

LIMIT_S = 10.0


def test_tag_ends_a_run_once_the_store_answers_again(monkeypatch):
    """While the store is known to be unreachable, it is not asked; a request that fails is made again."""
    monkeypatch.setattr(watchdog, "ASK_EVERY_S", 0.005)
    unreachable, looked = threading.Event(), threading.Semaphore(0)
    ended, cleared = queue.SimpleQueue(), queue.SimpleQueue()
    answers = [ConnectionError("away"), {"a": "now"}, {"a": "now"}]

    def is_unreachable():
        looked.release()
        return unreachable.is_set()

    def stop_tags():
        answer = answers.pop(0) if answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(run_id, outcome):
        ended.put((run_id, outcome))
        raise RuntimeError("whatever `end` raises is logged")

    unreachable.set()
    dog = Watchdog(end, stop_tags=stop_tags, clear=cleared.put, is_unreachable=is_unreachable).start()
    for _ in range(3):
        assert looked.acquire(timeout=LIMIT_S)
    assert len(answers) == 3
    unreachable.clear()
    run_id, outcome = ended.get(timeout=LIMIT_S)
    assert (run_id, outcome.status) == ("a", "KILLED")
    assert outcome.tags[STOP_REASON] == "the tag sysmetrics.stop was set to 'now'"
    assert cleared.get(timeout=LIMIT_S) == "a"
    for _ in range(3):
        assert looked.acquire(timeout=LIMIT_S)
    dog.release()
    assert (ended.empty(), cleared.empty(), answers) == (True, True, [])


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
