"""Run Tune scripts as they are but with few samples: `python ray_examples.py SAMPLES FOLDER SCRIPT [ARGUMENT...] ...`.

Scripts end in .py. They share one Ray with two CPU cores, as cells of a notebook do. For each there is a folder of its
name in FOLDER, with an empty store, which is its home. The last line of the output has the error of each that failed.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

import mlflow
import ray
from observations import start_ray
from ray import tune


def with_few_samples(samples: int) -> type[tune.TuneConfig]:
    """Tune's settings, with at most ``samples`` samples whatever a script asks for."""

    class Few(tune.TuneConfig):
        """As Tune's own."""

        def __init__(self, *settings: Any, num_samples: int = 1, **more: Any) -> None:
            super().__init__(*settings, num_samples=min(num_samples, samples), **more)

    return Few


def run(script: Path, arguments: list[str], folder: Path) -> str | None:
    """Run it as its own main; its error, if it has one."""
    os.chdir(folder)
    os.environ |= {"HOME": str(folder), "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    sys.argv = [str(script), *arguments]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except Exception:
        return traceback.format_exc()
    return None


def main(samples: int, folder: Path, words: list[str]) -> None:
    """Run all, one after the other."""
    tune.TuneConfig = with_few_samples(samples)
    start_ray()
    ray.init = lambda *_, **__: None  # a script's own: it is up
    errors: dict[str, str] = {}
    while words:
        script = Path(words.pop(0))
        end = next((place for place, word in enumerate(words) if word.endswith(".py")), len(words))
        arguments, words = words[:end], words[end:]
        if error := run(script, arguments, folder / script.stem):
            errors[script.stem] = error
    print("\n" + json.dumps(errors), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
