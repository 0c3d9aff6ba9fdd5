"""Say whether a study costs more, or finds worse models, than it does with the code of another commit.

A small study of the dataset runs in pairs with the code of both, as `mlflow-sysmetrics check` does it. The exit code is
0 if nothing is worse, 1 if something is, 3 if it cannot be judged.
"""

from __future__ import annotations

import os
import sys

import click

_STUDY = "python -m entrypoints.tune --cpus 1 --seed {pair}"
_SPACE = "{batch_size: [64, 512], learning_rate: [0.01, 0.001], alpha: 0.001}"


@click.command(help=__doc__)
@click.option("--baseline_commit", metavar="REV", default="HEAD", show_default=True, help="A branch, a tag or a hash.")
@click.option("--dataset", metavar="NAME", default="red_wine", show_default=True, help="What the small study is of.")
@click.option("--lower", metavar="METRIC", default="test_loss", show_default=True, help="Of which lower is better.")
@click.option("--higher", metavar="METRIC", default="none", help="Of which higher is better.")
@click.option("--tolerate", metavar="CHANGES", default="none", help='Changes that pass, such as "cpu_seconds=10%".')
def check(baseline_commit: str, dataset: str, lower: str, higher: str, tolerate: str) -> None:
    given = {"--baseline-commit": baseline_commit, "--lower": lower, "--higher": higher, "--tolerate": tolerate}
    options = [word for option, value in given.items() if value != "none" for word in (option, value)]
    study = [*_STUDY.split(), "--dataset", dataset, "--space", _SPACE]
    os.environ.setdefault("PYTHONPATH", ".")
    sysmetrics = [sys.executable, "-m", "mlflow_sysmetrics.command.cli", "check", *options, "--"]
    os.execv(sys.executable, [*sysmetrics, *study])


if __name__ == "__main__":
    check()
