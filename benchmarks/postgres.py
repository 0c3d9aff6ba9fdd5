"""Two studies at once on an `mlflow server`, with PostgreSQL and with SQLite as its database.

    python benchmarks/postgres.py [--dataset red_wine] [--pairs 2] [--cpus 0]

Needs Debian's package postgresql, and psycopg2-binary. Both sides run the same two studies, in turn, ``pairs`` times;
the ratio of the medians counts. *Lost* are points of the curves that a study has not and another one has, in whichever
store: all of them train the same. The PostgreSQL server is new each time, with its default settings.
"""

import contextlib
import sys
import tempfile
from pathlib import Path
from statistics import median

import click

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from postgres_server import postgres  # noqa: E402
from two_studies import two_studies  # noqa: E402

from entrypoints.compute.workers import usable_cpus  # noqa: E402

TITLES = ("store", "time", "trials", "runs by status", "curve points", "lost", "twice", "series points", "deadlocks")
WIDTHS = (12, 10, 8, 22, 14, 6, 7, 15, 10)


def row(*cells):
    click.echo("".join(f"{cell!s:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip())


def lost(left, all_points):
    """Points that a study of these two lacks."""
    return sum(len(all_points - points(study)) for study in left.curves)


def points(study):
    return {(*key, step, value) for key, values in study.items() for step, value in values.items()}


@click.command(help=__doc__)
@click.option("--dataset", default="red_wine", show_default=True)
@click.option("--pairs", default=2, show_default=True)
@click.option("--cpus", default=0, show_default=True, help="of each study; 0: half of the usable CPU cores")
def main(dataset, pairs, cpus):
    """Run both sides in turn and print the table."""
    params = {"dataset": dataset, "cpus": str(cpus or max(1, usable_cpus() // 2))}
    seen = []
    for _ in range(pairs):
        for name in ("SQLite", "PostgreSQL"):
            with contextlib.ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                server = stack.enter_context(postgres()) if name == "PostgreSQL" else None
                left = two_studies(folder, server and server.uri, **params)
                deadlocks = server.ask("select sum(deadlocks) from pg_stat_database") if server else "-"
                seen.append((name, left, deadlocks))
                click.echo(f"{name}: {left.seconds:.0f} s, exit codes {left.exit_codes}", err=True)
    everything = set().union(*(points(study) for _, left, _ in seen for study in left.curves))
    row(*TITLES)
    for name, left, deadlocks in seen:
        statuses = ", ".join(f"{count} {status}" for status, count in left.statuses.items())
        curve_points = sum(len(points(study)) for study in left.curves)
        counts = (curve_points, lost(left, everything), left.twice, left.series_points)
        row(name, f"{left.seconds:.1f} s", left.trials, statuses, *counts, deadlocks)
        for error in left.server_errors:
            click.echo(f"  the server's log: {error}")
    times = {name: median(left.seconds for each, left, _ in seen if each == name) for name, _, _ in seen}
    click.echo(f"PostgreSQL takes {times['PostgreSQL'] / times['SQLite']:.2f} times as long as SQLite (target <= 1.3)")


if __name__ == "__main__":
    main()
