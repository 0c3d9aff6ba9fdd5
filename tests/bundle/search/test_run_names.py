"""What trials are called in the UI's lists and legends."""

from dataclasses import replace

from cases import cases

from entrypoints.models.configuration import Configuration
from entrypoints.search.run_names import run_names

MLP = "sklearn.neural_network.MLPClassifier"


def _named(algorithm="linear", **hyperparameters):
    return Configuration({"algorithm": algorithm, "batch_size": 16, **hyperparameters}, True, seed=0)


def _own(**values):
    """Two trials of an algorithm of the user's own, which differ in each of these hyperparameters."""
    return [_named(MLP, **{name: pair[number] for name, pair in values.items()}) for number in (0, 1)]


SOME = [_named(learning_rate=rate, alpha=alpha) for rate in (0.1, 0.2) for alpha in (1e-5, 0.01)]


@cases(
    "trials, names",
    {
        "varied": (SOME, ["lr0.1 a1e-05", "lr0.1 a0.01", "lr0.2 a1e-05", "lr0.2 a0.01"]),
        "only-trial": (SOME[:1], ["linear b16 lr0.1 a1e-05"]),
        "repeated": ([SOME[0], SOME[1], replace(SOME[1], repeat=1)], ["a1e-05", "a0.01", "#2 a0.01"]),
        "class-of-a-path": ([_named("svm", alpha=0.1), _named(MLP, alpha=1)], ["svm a0.1", "MLPClassifier a1"]),
        "four-digits": (_own(learning_rate_init=(0.000123456, 123456.789)), ["lri0.0001235", "lri1.235e+05"]),
        "initials-and-lists": (_own(hidden_layer_sizes=([4], [8, 8])), ["hls[4]", "hls[8,8]"]),
        "words-and-signs": (_own(solver=("sgd", "adam"), max_iter=(-1, None)), ["s=sgd mi=-1", "s=adam mi=None"]),
        "initials-that-mean-something-else-elsewhere": (
            _own(activation=("relu", "tanh"), beta_1=(0.9, 1)),
            ["activation=relu beta_1=0.9", "activation=tanh beta_1=1"],
        ),
    },
)
def test_name_holds_what_differs_and_little_else(trials, names):
    """A value that all trials share, or a word that all repeat, would only widen the UI's legends."""
    assert list(run_names(trials).values()) == names
