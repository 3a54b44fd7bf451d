"""Trackers of experiments that a recipe asks for: Transformers' own callbacks, which here write to files only.

Each recipe has one store per tracker, beside its runs, so that the tracker's own page compares them:

    runs/quickstart/mlflow/     MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri runs/quickstart/mlflow
    runs/quickstart/trackio/    TRACKIO_DIR=runs/quickstart/trackio trackio show
    runs/quickstart/wandb/      wandb sync runs/quickstart/wandb/offline-run-*    sends them
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import MLflowCallback, TrackioCallback, WandbCallback

from pipeline import distributed
from pipeline.errors import Stop

_CALLBACKS: dict[str, Callable[[], Any]] = {
    "mlflow": MLflowCallback,
    "trackio": TrackioCallback,
    "wandb": WandbCallback,
}
# that send what is tracked, or are read instead of our own: dropped
_ELSEWHERE = ("MLFLOW_", "TRACKIO_", "WANDB_", "HF_MLFLOW_", "DATABRICKS_")


def folder(run: Path, tracker: str) -> Path:
    """Where a tracker keeps the runs of a recipe."""
    return run.parent / tracker


def need_installed(names: Sequence[str]) -> None:
    """Raise Stop unless the package of each tracker is installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            todo = "invoke build --image dev, then invoke train --image dev"
            raise Stop(f"the package {name}", "none in this environment", "training.trackers", todo)


class TrackersCallback(TrainerCallback):  # type: ignore[misc]
    """The trackers of a run, on rank 0. If one fails, training goes on without it, and a line says so.

    Args:
        names: keys of `_CALLBACKS`.
        run: the run's folder; its name is the run's in a tracker, its recipe the experiment's or project's.
    """

    def __init__(self, names: Sequence[str], run: Path) -> None:
        self._names, self._run = tuple(dict.fromkeys(names)), run
        self._tracking: dict[str, Any] = {}
        self._latest: tuple[Any, Any, Any] = (None, None, None)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **context: Any) -> None:
        self._latest = (args, state, control)
        args.run_name, args.project = self._run.name, self._run.parent.name
        _stay_here(self._names, self._run)
        for name in self._names if state.is_world_process_zero else ():
            with self._careful(name):
                store = folder(self._run, name)
                store.mkdir(parents=True, exist_ok=True)
                if name == "mlflow" and (begun := _mlflow_run(store, self._run)):
                    os.environ["MLFLOW_RUN_ID"] = begun  # of a run that is resumed
                tracker = _CALLBACKS[name]()
                tracker.on_train_begin(*self._latest, model=model)
                self._tracking[name] = tracker

    def write(self, line: Mapping[str, Any]) -> None:
        """Track the figures of a step, as metrics.jsonl has them."""
        figures = {name: value for name, value in line.items() if name != "step" and value is not None}
        for name, tracker in list(self._tracking.items()):
            with self._careful(name):
                tracker.on_log(*self._latest, logs=dict(figures))

    def close(self) -> None:
        """End the run in each tracker, however training ended."""
        for name, tracker in list(self._tracking.items()):
            with self._careful(name):
                tracker.on_train_end(*self._latest)
        self._tracking = {}

    @contextlib.contextmanager
    def _careful(self, name: str) -> Iterator[None]:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # Trackio prints how to open its page
                yield
        except Exception as error:  # a tracker raises what it likes, and is worth no training
            self._tracking.pop(name, None)
            distributed.print_once(f"train  {name} tracks no more: {type(error).__name__}: {error}")


def _stay_here(names: Sequence[str], run: Path) -> None:
    """Set the variables by which trackers write to folders, send nothing and ask nothing."""
    for variable in [each for each in os.environ if each.startswith(_ELSEWHERE)]:
        del os.environ[variable]
    os.environ["DO_NOT_TRACK"] = "1"
    stores = {name: folder(run, name).resolve() for name in names}
    if "mlflow" in names:  # whose file store is no longer its default
        os.environ |= dict.fromkeys(("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"), stores["mlflow"].as_uri())
        os.environ |= {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_EXPERIMENT_NAME": run.parent.name}
        os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_FLATTEN_PARAMS": "true"}
        os.environ["GIT_PYTHON_REFRESH"] = "quiet"  # the image has no git
    if "trackio" in names:
        os.environ["TRACKIO_DIR"] = str(stores["trackio"])
    if "wandb" in names:  # makes a folder wandb/ in its folder
        os.environ |= {"WANDB_MODE": "offline", "WANDB_DIR": str(stores["wandb"].parent), "WANDB_SILENT": "true"}
        os.environ |= {"WANDB_PROJECT": run.parent.name, "WANDB_RUN_ID": run.name, "WANDB_ERROR_REPORTING": "false"}
        os.environ |= {"WANDB_DISABLE_GIT": "true", "WANDB_DISABLE_CODE": "true"}
        own = dict.fromkeys(("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"), tempfile.gettempdir())
        os.environ |= own  # a container's home is read-only, and W&B then logs to the terminal


def _mlflow_run(store: Path, run: Path) -> str:
    """The ID that MLflow's store has for a run, or ""."""
    import mlflow  # only the image dev has it

    client = mlflow.MlflowClient(store.resolve().as_uri())
    experiment = client.get_experiment_by_name(run.parent.name)
    found = client.search_runs([experiment.experiment_id], f"run_name = '{run.name}'") if experiment else []
    return found[0].info.run_id if found else ""
