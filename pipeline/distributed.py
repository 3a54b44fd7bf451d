"""Processes that train together: which this one is, starting them as torchrun does, and what is said when one of them is lost.

Every process takes its share of each batch and all average their gradients (DistributedDataParallel), so that a run makes the same
steps with any number of them. They find each other by torchrun's variables (RANK, WORLD_SIZE, MASTER_ADDR, …): `torchrun -m pipeline
train` does just as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import PAUSED, OwnStop, Stop

_PATIENCE = 60  # seconds that a process has to end its step and save
_SILENCE = datetime.timedelta(minutes=10)  # after which the others count as lost, where no connection was closed


class Lost(OwnStop):
    """Another process that trains along has ended, or cannot be reached."""


def number() -> int:
    """This process among all of them, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def say(line: str) -> None:
    """Print a line, once for all processes."""
    if number() == 0:
        print(line, flush=True)


def join() -> None:
    """Find the other processes, by NCCL on GPUs and gloo on CPUs; nothing to do for one alone.

    Raises:
        Lost: they do not come.
    """
    import torch

    if count() == 1 or torch.distributed.is_initialized():
        return
    ctypes.CDLL(None).prctl(
        1, signal.SIGKILL
    )  # PR_SET_PDEATHSIG, prctl(2): none trains on when the launcher has been killed
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with others_there():
        torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=_SILENCE)


def of_all(value: Any) -> list[Any]:
    """Every process's value, in their order, on all of them."""
    if count() == 1:
        return [value]
    import torch

    held = [None] * count()
    with others_there():
        torch.distributed.all_gather_object(held, value)
    return held


def each(make: Callable[[], Any]) -> Any:
    """What every process makes for itself.

    Raises:
        Stop: one of them could not make it; on all of them, so that none waits for it.
    """
    if count() == 1:
        return make()
    made, stopped = None, None
    try:
        made = make()
    except Stop as stop:
        stopped = (stop.wanted, stop.found, stop.where, stop.todo)
    for process, parts in enumerate(of_all(stopped)):
        if parts:
            wanted, found, where, todo = parts
            raise Stop(wanted, found, where if process == 0 else f"{where}, on process {process}", todo)
    return made


def of_first(make: Callable[[], Any]) -> Any:
    """What the first process makes, on all of them.

    Raises:
        Stop: it could not make it; on all of them.
    """
    return of_all(each(lambda: make() if number() == 0 else None))[0]


def here() -> int:
    """How many of them this machine, or container, has."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if count() > 1 else 1


def least(value: int) -> int:
    """The smallest of all processes' values, on all of them, so that they decide alike."""
    return int(min(of_all(value)))


@contextlib.contextmanager
def others_there() -> Iterator[None]:
    """Turns a broken connection to another process into a message."""
    try:
        yield
    except (RuntimeError, ConnectionError) as error:
        if count() == 1 or not of_connection(error):
            raise
        shown = re.sub(r"^\[\S+:\d+\] ", "", str(error).strip().splitlines()[0]).partition(". This is")[0][:160]
        raise Lost(
            f"all {count()} processes to the end of the run",
            f"another one ended, or cannot be reached: {shown}",
            f"process {number()}, which trained with it",
            "look at what that one said, then the same command, with --resume if a checkpoint had been saved",
        ) from None


def of_connection(error: Exception) -> bool:
    """Whether an error says that another process is gone."""
    import torch

    marks = r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed out"
    return isinstance(error, ConnectionError | torch.distributed.DistError) or bool(
        re.search(marks, str(error), re.IGNORECASE)
    )


def start(processes: int, nodes: int, node: int, master: str, words: Sequence[str]) -> int:
    """Run `python -m pipeline WORDS` as `processes` processes of this node, by torchrun's own launcher; returns the exit status of the one that failed first.

    Args:
        node: this node's number, from 0.
        master: HOST:PORT at which node 0 listens, of several.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("multiprocessing.api", "agent.server.api"):  # a process says itself why it ended
        logging.getLogger(f"torch.distributed.elastic.{name}").setLevel(logging.CRITICAL)
    alone = nodes == 1  # then any port that is free will do
    settings = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex if alone else "pintune",
        max_restarts=0,
        monitor_interval=0.2,
        rdzv_backend="c10d" if alone else "static",
        rdzv_endpoint="localhost:0" if alone else master,
        rdzv_configs={"timeout": _SILENCE.total_seconds()} | ({} if alone else {"rank": node}),
        **(
            {"shutdown_timeout": _PATIENCE} if "shutdown_timeout" in LaunchConfig.__dataclass_fields__ else {}
        ),  # newer than torch 2.10
    )
    paused = Path(tempfile.mkdtemp(prefix="pintune-")) / "paused"
    os.environ["PINTUNE_PAUSED"] = str(paused)
    try:
        elastic_launch(settings, sys.executable)("-m", "pipeline", *words)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return int(first.exitcode if first.exitcode > 0 else 128 - first.exitcode)
    except SignalException as told:  # the processes were told too
        return PAUSED if paused.exists() else 128 + int(told.sigval)
    finally:
        shutil.rmtree(paused.parent, ignore_errors=True)
    return 0
