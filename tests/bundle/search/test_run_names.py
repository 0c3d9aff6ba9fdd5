"""What trials are called in the UI's lists and legends."""

from cases import cases, tables

from entrypoints.models.configuration import Configuration
from entrypoints.search.run_names import run_names


@cases("trials, names", tables(__file__, "search.yaml")["names of runs"])
def test_name_holds_what_differs_and_little_else(trials, names):
    """A value that all trials share, or a word that all repeat, would only widen the UI's legends."""
    usual = {"algorithm": "linear", "batch_size": 16}
    configurations = []
    for values in trials:
        repeat = values.get("repeat", 0)
        searched = {name: value for name, value in values.items() if name != "repeat"}
        configurations.append(Configuration(usual | searched, True, seed=0, repeat=repeat))
    assert list(run_names(configurations).values()) == names
