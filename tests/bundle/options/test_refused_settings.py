"""Settings that no study can have, each answered in one sentence: what was given, what is allowed, and what to do."""

import shlex
from pathlib import Path

from cases import check_answers
from records import parsed, study_settings
from reference import bundled

from entrypoints.errors import UserError
from entrypoints.models.algorithms import find_all
from entrypoints.options.settings import main_options, report_options, tune_options
from entrypoints.search.grid import grid
from entrypoints.search.spaces import spaces_of

OPTIONS = {"main": main_options, "report": report_options, "tune": tune_options}
FILES = {
    "broken.yaml": "alpha: [1]\nbeta: [2\nx: 3",
    "object.yaml": "alpha: !!python/object/apply:os.getcwd []",
    "many.yaml": f"alpha: {[*range(300)]}\nbatch_size: {[*range(1, 401)]}\nlearning_rate: 0.1",
}


def _refusal(line):
    """What is said of a command's options, or of the configurations that they ask for."""
    command, *options = shlex.split(line)
    try:
        parsed(*options, options=OPTIONS[command])
        settings = study_settings(*options)
        data = bundled(settings.dataset, 10)
        algorithms = find_all(data.task, settings.algorithm)
        spaces = spaces_of(settings, algorithms, data.split.max_batch_size, data.n_classes)
        grid(spaces, settings.max_trials, settings.seed)
    except UserError as error:
        return error.message
    return "It is taken."


def test_settings_that_do_not_fit_are_refused_in_one_sentence(tmp_path, monkeypatch):
    """The files of spaces are in the user's folder."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)
    check_answers(Path(__file__).parents[1] / "golden" / "settings.txt", _refusal)
