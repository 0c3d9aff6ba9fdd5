"""Parameters of trials that change while they go on."""

from __future__ import annotations

from mlflow_sysmetrics.ray_tune.changes import Changes


def test_first_parameters_are_new_and_nothing_has_changed() -> None:
    """MLflow keeps these."""
    change = Changes().see("t", {"rate": 0.1, "kind": "a"}, 0)
    assert (change.params, change.tags, change.points) == ({"rate": 0.1, "kind": "a"}, {}, [])


def test_changed_parameters_are_tags_and_curves() -> None:
    """Numbers have a point at the step of the change, text has none; what is new is a parameter."""
    changes = Changes()
    changes.see("t", {"rate": 0.1, "kind": "a", "same": 1}, 0)
    change = changes.see("t", {"rate": 0.2, "kind": "b", "same": 1, "more": 5}, 7)
    assert change.params == {"more": 5}
    assert change.tags == {"sysmetrics.changed.rate": 0.2, "sysmetrics.changed.kind": "b"}
    assert [(point.name, point.value, point.step) for point in change.points] == [("perturbed/rate", 0.2, 7)]
    assert changes.see("t", {"rate": 0.2, "kind": "b", "same": 1}, 8).tags == {}


def test_trials_are_apart_and_forgotten_at_their_end() -> None:
    """An id that comes again is a new trial."""
    changes = Changes()
    changes.see("t", {"rate": 0.1}, 0)
    assert changes.see("other", {"rate": 0.3}, 0).tags == {}
    changes.forget("t")
    assert changes.see("t", {"rate": 0.9}, 0).params == {"rate": 0.9}
