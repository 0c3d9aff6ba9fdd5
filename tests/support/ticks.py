"""Readings with numbers, to be counted in the store."""

import threading
from collections import Counter


class Ticks:
    """A sample whose readings are numbered, so that the maxima of a window are its first, negative, and its last."""

    def __init__(self):
        self.taken = 0
        self._another = threading.Condition()

    def __call__(self):
        with self._another:
            self.taken += 1
            self._another.notify_all()
            return {"tick": float(-self.taken), "last": float(self.taken)}

    def wait_for(self, number, timeout_s=20.0):
        """Wait until this number of readings has been taken."""
        with self._another:
            assert self._another.wait_for(lambda: self.taken >= number, timeout_s), self.taken


def covered(run_id):
    """How many readings the store's windows hold, how many windows it has twice, and whether they are in order."""
    from mlflow import MlflowClient  # not for all that need another part of a machine

    client = MlflowClient()
    history = [client.get_metric_history(run_id, f"system/{name}_max") for name in ("tick", "last")]
    firsts, lasts = (sorted(points, key=lambda point: point.timestamp) for points in history)
    readings = Counter()
    for first, last in zip(firsts, lasts, strict=True):
        readings.update(range(-round(first.value), round(last.value) + 1))
    steps = [point.step for point in firsts]
    return len(readings), sum(number > 1 for number in readings.values()), steps == sorted(steps)
