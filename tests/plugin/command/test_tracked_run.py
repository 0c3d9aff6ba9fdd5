"""In which run a program belongs, after what it has done with MLflow."""

from __future__ import annotations

import pytest

from mlflow_sysmetrics.command.tracked_run import State, TrackedRun
from mlflow_sysmetrics.delivery import RunRef

HOME = RunRef("a", "1")
ONE, TWO = RunRef("a", "2", "one"), RunRef("a", "3", "two")
ADOPTED, OWN = State.ADOPTED, State.OWN
WAITED = None


@pytest.mark.parametrize(
    ("home", "steps", "state", "run"),
    [
        pytest.param(HOME, [WAITED], OWN, HOME, id="none"),
        pytest.param(HOME, [ONE, ONE, "two", WAITED], ADOPTED, ONE, id="one, resumed, another deleted"),
        pytest.param(HOME, [ONE, TWO, ONE], OWN, ONE._replace(run_id=None), id="two"),
        pytest.param(HOME, [WAITED, ONE], ADOPTED, ONE, id="one, late"),
        pytest.param(HOME, [WAITED, ONE, TWO], OWN, ONE._replace(run_id=None), id="two, late"),
        pytest.param(HOME, [ONE, "one"], OWN, ONE._replace(run_id=None), id="one, deleted"),
        pytest.param(HOME, [ONE, "one", TWO], ADOPTED, TWO, id="one after a deleted one"),
        pytest.param(ONE, [WAITED, TWO, "one"], ADOPTED, ONE, id="given"),
    ],
)
def test_run_in_which_a_program_belongs(
    home: RunRef, steps: list[RunRef | str | None], state: State, run: RunRef
) -> None:
    """After each run that it has opened, each id that it has deleted, and the end of waiting."""
    tracked = TrackedRun(home)
    for step in steps:
        if step is WAITED:
            tracked.stop_waiting()
        elif isinstance(step, str):
            tracked.deleted(step)
        else:
            tracked.opened(step)
    assert (tracked.state, tracked.run) == (state, run)
