"""The bundle: an MLflow Project that tunes a model and records what each trial costs."""

from importlib.util import find_spec

_absent = [name for name in ("matplotlib", "optuna", "ray", "sklearn", "skops") if find_spec(name) is None]
if _absent:
    raise SystemExit(f"Error: the bundle needs {', '.join(_absent)}; in its checkout type: pip install -e '.[bundle]'")
