"""Whatever fails, in whatever order: each point is in the store once, each run too, and the last end counts."""

import itertools
import os
import shutil
import tempfile
from collections import defaultdict, deque
from pathlib import Path
from unittest import mock

from faults import Kept, ScriptedStore
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mlflow_sysmetrics.delivery import run, sync
from mlflow_sysmetrics.delivery.operations import Batch, Create, Point, Status
from mlflow_sysmetrics.delivery.run import Run
from mlflow_sysmetrics.delivery.send import send
from mlflow_sysmetrics.delivery.writer import Writer
from mlflow_sysmetrics.recording.tags import RUN_KEY, STOP_REASON

FATES = st.lists(st.sampled_from(["", "", "", "before", "after"]), max_size=12).map(deque)
TRIALS = st.sampled_from(["trial 0", "trial 1"])
STATUSES = st.sampled_from(["FINISHED", "KILLED"])
LOGGER, START_MS = "recorded", 1_000
OPERATIONS = 6  # of a journal that `sync` has in memory


class Deliveries(RuleBasedStateMachine):
    """Trials of a study whose driver ends and begins again, a logger whose process is killed, a store, and `sync`.

    A trial's operations wait in memory, and are kept on disk when its driver ends; a logger has a journal at all times.
    """

    def __init__(self):
        super().__init__()
        self.store, self.folder = ScriptedStore(), Path(tempfile.mkdtemp())
        self.writer = Writer(self.store)
        self.clock = itertools.count(2_000, 100)
        self.live = {}  # of the driver that runs now, by key
        self.open = set()  # those whose run has not ended
        self.points = defaultdict(list)  # what each run is to have
        self.tags = defaultdict(dict)
        self.ends = {}
        self.summary = {}  # of a run, what it had used in the end
        self.next_step = defaultdict(int)
        self.recorder = None
        self.began_ms = 0
        self.patches = [
            mock.patch.multiple(sync, _OPERATIONS=OPERATIONS, Store=lambda *_: self.store),
            mock.patch.dict(os.environ, {"MLFLOW_SYSMETRICS_SPOOL": str(self.folder)}),
        ]
        for patch in self.patches:
            patch.start()

    @initialize()
    def begin(self):
        self.store.runs[LOGGER] = Kept(START_MS, {RUN_KEY: LOGGER}, LOGGER)
        self._create("study", None)

    def _create(self, key, parent):
        made = self.live[key] = Run(self.writer, key=key)
        made.created = Create(key, "0", next(self.clock), key, "", parent)
        made.add([made.created])
        self.open.add(key)

    # --- trials ------------------------------------------------------------------------------------------

    def _open_trial(self, key):
        """A trial begins, or goes on in this driver or another one, which knows its run. Whether it is open then."""
        known = next((i for i, run in self.store.runs.items() if run.tags[RUN_KEY] == key), None)
        if known and key not in self.live:
            self.live[key] = Run(self.writer, known, key=key)
        if key not in self.live and key not in self.points and "study" in self.live:
            self._create(key, "study")
        elif key in self.live and key not in self.open:
            self.open.add(key)
            self.live[key].add([Status("RUNNING", next(self.clock), dict(self.tags[key]))])
        return key in self.live

    def _sample(self, key):
        time_ms = next(self.clock)
        self.points[key].append(Point("sample", float(time_ms), time_ms))
        self.live[key].add([Batch(time_ms, self.points[key][-1:])])

    @rule(key=TRIALS, refused=st.booleans(), samples=st.booleans(), number=st.integers(1, 3), back=st.integers(0, 3))
    def log_points(self, key, refused, samples, number, back):
        """Points of a trial at steps that go on, or again from an earlier one; samples have none; some are refused."""
        if not self._open_trial(key):
            return
        if back:
            self.next_step[key] = max(0, self.next_step[key] - back)
        for _ in range(number):
            if samples:
                self._sample(key)
            step, time_ms = self.next_step[key], next(self.clock)
            self.next_step[key] += 1
            self.points[key].append(Point("loss", float(time_ms), time_ms, step))
            odd = [Point("odd@", 1.0, time_ms, step)] if refused else []
            self.live[key].add([Batch(time_ms, [self.points[key][-1], *odd])])

    @rule(key=TRIALS, name=st.sampled_from("abc"))
    def tag(self, key, name):
        """A tag is set."""
        if self._open_trial(key):
            self.tags[key][name] = key
            self.live[key].add([Batch(next(self.clock), tags={name: key})])

    @rule(key=TRIALS, status=STATUSES)
    def end(self, key, status):
        """A trial ends."""
        if self._open_trial(key):
            self._end(key, status)

    def _end(self, key, status):
        tags, end_ms = {STOP_REASON: "limit"} if status == "KILLED" else {}, next(self.clock)
        self.ends[key] = status, end_ms, tags
        self.live[key].add([Status(status, end_ms, tags)])
        self.open.remove(key)

    @rule(fates=FATES)
    def deliver_live(self, fates):
        """The writer's turn."""
        self.store.fates = fates
        for box in filter(None, [*self.live.values(), self.recorder]):
            try:
                send(box, self.store)
            except (ConnectionError, LookupError):
                box.failures += 1
        self.store.fates = deque()

    @rule(status=STATUSES)
    def end_driver(self, status):
        """All that is open ends, and what waits is kept, as a writer does."""
        for key, box in self.live.items():
            if key in self.open:
                self._end(key, status)
            if not box.is_empty:
                box.leave_on_disk()
        self.live = {}

    # --- a logger ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.recorder is None)
    @rule()
    def start_logger(self):
        """What an earlier one has left stays."""
        self.recorder = self.writer.open(LOGGER)
        self.recorder.keep_journal("system/")
        self.began_ms = next(self.clock)

    @precondition(lambda self: self.recorder is not None)
    @rule(number=st.integers(1, 3))
    def record(self, number):
        """Readings, and what a killed process would have used."""
        for _ in range(number):
            time_ms = next(self.clock)
            self.points[LOGGER].append(Point("system/x", float(time_ms), time_ms))
            self.recorder.add([Batch(time_ms, self.points[LOGGER][-1:])])
        self.summary[LOGGER] = float(time_ms)
        with mock.patch.object(run, "now_ms", return_value=time_ms):
            self.recorder.checkpoint({"cpu_seconds": float(time_ms)}, self.began_ms)

    @precondition(lambda self: self.recorder is not None)
    @rule(killed=st.booleans())
    def stop_logger(self, killed):
        """By itself, with its summary; or all memory is gone."""
        if killed:
            self.recorder._journal.close()
        else:
            time_ms = next(self.clock)
            self.summary[LOGGER] = float(time_ms)
            summary = {"cpu_seconds": float(time_ms)}
            self.recorder.add([Batch(time_ms, summary=summary, unless_logged_since_ms=self.began_ms)])
            self.recorder.leave_on_disk()
        self.recorder = None

    # --- others ------------------------------------------------------------------------------------------

    @rule(fates=FATES)
    def sync(self, fates):
        """Of whatever is on disk by now."""
        self.store.fates = fates
        sync.deliver(self.folder)
        self.store.fates = deque()

    def teardown(self):
        try:
            if self.store.runs:
                self._all_comes_to_its_end()
        finally:
            for patch in self.patches:
                patch.stop()
            shutil.rmtree(self.folder)

    def _all_comes_to_its_end(self):
        self.end_driver("FINISHED")
        if self.recorder:
            self.stop_logger(False)
        for _ in range(2):  # trials whose study has to be created first
            delivered = sync.deliver(self.folder)
        assert not delivered.left
        assert not list(self.folder.iterdir())
        by_key = {kept.tags[RUN_KEY]: kept for kept in self.store.runs.values()}
        assert len(by_key) == len(self.store.runs), "a run was created twice"
        for key, kept in by_key.items():
            self._check(kept, key)

    def _check(self, run, key):
        """A run has what it was to get, each point once."""
        found = [point for point in run.points if point[0] != "cpu_seconds"]
        assert len(found) == len(set(found)), "a point is there twice"
        wanted = {
            (name, value, time_ms, (time_ms - run.start_ms) // 100 if step is None else step)
            for name, value, time_ms, step in self.points[key]
        }
        assert wanted == set(found)
        if key in self.ends:
            status, end_ms, tags = self.ends[key]
            assert (run.status, run.end_ms) == (status, end_ms)
            assert {name: text for name, text in run.tags.items() if name == STOP_REASON} == tags
        assert run.tags.items() >= self.tags[key].items()
        assert run.stored().values.get("cpu_seconds") == self.summary.get(key)
        if key.startswith("trial"):
            assert self.store.runs[run.tags["mlflow.parentRunId"]].tags[RUN_KEY] == "study"


Deliveries.TestCase.settings = settings(max_examples=75, stateful_step_count=40, deadline=None)
TestDeliveries = Deliveries.TestCase
