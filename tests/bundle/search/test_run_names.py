"""What trials are called in the UI's lists and legends."""

from cases import cases, tables
from records import spaces_around

from entrypoints.models.configuration import Configuration
from entrypoints.runs.tags import TRAINING_STEP
from entrypoints.search.run_names import RunNames


@cases("trials, names", tables(__file__, "search.yaml")["names of runs"])
def test_name_holds_what_differs_and_little_else(trials, names):
    """A value that all trials share, or a word that all repeat, would only widen the UI's legends."""
    usual = {"algorithm": "linear", "batch_size": 16}
    tried = [Configuration(usual | values, TRAINING_STEP, seed=0) for values in trials]
    named = RunNames(spaces_around(tried), {})
    assert [named.of(each) for each in tried] == names
