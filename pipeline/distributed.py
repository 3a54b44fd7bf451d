"""Ranks: which one this process is, launching them as torchrun does, and the message when one of them is lost.

Every rank takes its share of each batch and all average their gradients (DistributedDataParallel), so that a run makes
the same steps with any world size. Ranks find each other by torchrun's variables (RANK, WORLD_SIZE, MASTER_ADDR, …), so
`torchrun -m pipeline train` works as well.
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

from pipeline.errors import OwnStop, Stop
from pipeline.steps import EXIT_STATUS

_GRACE = 60  # seconds that a rank has to end its step and save
_TIMEOUT = datetime.timedelta(minutes=10)  # after which the others count as lost, where no connection was closed
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Lost(OwnStop):
    """Another rank has ended, or cannot be reached."""


def rank() -> int:
    """This process among all ranks, from 0."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def world_size() -> int:
    """The number of ranks that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world_size() -> int:
    """The number of ranks on this machine, or in this container."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world_size() > 1 else 1


def print_once(line: str) -> None:
    """Print a line on rank 0."""
    if rank() == 0:
        print(line, flush=True)


def init() -> None:
    """Join the process group, by NCCL on GPUs and gloo on CPUs; does nothing for a single process.

    Raises:
        Lost: the other ranks do not come.
    """
    import torch

    if world_size() == 1 or torch.distributed.is_initialized():
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # no rank survives a launcher that was killed
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with reporting_lost_ranks():
        torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=_TIMEOUT)


def leave() -> None:
    """End this rank after success on all ranks; does nothing for a single process.

    It ends without the interpreter's clean-up: what still holds a group there (a sharded model, its mesh) is destroyed
    with gloo's threads running, and about one rank in fifty aborted so, after all its work was done.
    """
    if world_size() == 1:
        return
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def all_gather(value: Any) -> list[Any]:
    """Every rank's value, in rank order, on all ranks."""
    if world_size() == 1:
        return [value]
    import torch

    gathered = [None] * world_size()
    with reporting_lost_ranks():
        torch.distributed.all_gather_object(gathered, value)
    return gathered


def barrier() -> None:
    """Wait until every rank has come here."""
    if world_size() == 1:
        return
    import torch

    with reporting_lost_ranks():
        torch.distributed.barrier()


def any_rank(flag: bool, device: Any) -> bool:
    """Whether the flag is set on any rank, by one all-reduce on `device`."""
    if world_size() == 1:
        return flag
    import torch

    flags = torch.tensor(int(flag), device=device)
    torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX)
    return bool(flags)


def all_reduce_min(value: int) -> int:
    """The smallest of all ranks' values, on all ranks, so that they decide alike."""
    return int(min(all_gather(value)))


def raise_together(make: Callable[[], Any]) -> Any:
    """What each rank makes for itself.

    Raises:
        Stop: one rank could not make it; on all ranks, so that none waits for it.
    """
    if world_size() == 1:
        return make()
    made, stopped = None, None
    try:
        made = make()
    except Stop as stop:
        stopped = (stop.wanted, stop.found, stop.where, stop.todo)
    for number, parts in enumerate(all_gather(stopped)):
        if parts:
            wanted, found, where, todo = parts
            raise Stop(wanted, found, where if number == 0 else f"{where}, on rank {number}", todo)
    return made


def on_rank_zero(make: Callable[[], Any]) -> Any:
    """What rank 0 makes, on all ranks.

    Raises:
        Stop: rank 0 could not make it; on all ranks.
    """
    return all_gather(raise_together(lambda: make() if rank() == 0 else None))[0]


@contextlib.contextmanager
def reporting_lost_ranks() -> Iterator[None]:
    """Turn a broken connection to another rank into a message."""
    try:
        yield
    except (RuntimeError, ConnectionError) as error:
        if world_size() == 1 or not is_connection_error(error):
            raise
        first = str(error).strip().splitlines()[0]
        shown = re.sub(r"^\[\S+:\d+\] ", "", first).partition(". This is")[0][:160]
        raise Lost(
            f"all {world_size()} ranks until the end of the run",
            f"another one ended, or cannot be reached: {shown}",
            f"rank {rank()}, which trained with it",
            "read that rank's message, then the same command, with --resume if a checkpoint had been saved",
        ) from None


def is_connection_error(error: Exception) -> bool:
    """Whether an error says that another rank is gone."""
    import torch

    marks = r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed out"
    is_distributed = isinstance(error, ConnectionError | torch.distributed.DistError)
    return is_distributed or bool(re.search(marks, str(error), re.IGNORECASE))


def launch(processes: int, nodes: int, node: int, master: str, words: Sequence[str]) -> int:
    """Run `python -m pipeline WORDS` as `processes` ranks of this node, by torchrun's launcher.

    Args:
        node: this node's number, from 0.
        master: HOST:PORT at which node 0 listens, if there are several nodes.

    Returns:
        The exit status of the rank that failed first, else 0.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("multiprocessing.api", "agent.server.api"):  # a rank says itself why it ended
        logging.getLogger(f"torch.distributed.elastic.{name}").setLevel(logging.CRITICAL)
    timeout = {"timeout": _TIMEOUT.total_seconds()}
    if nodes == 1:  # any free port will do
        rendezvous = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "rdzv_configs": timeout}
    else:
        rendezvous = {"rdzv_backend": "static", "rdzv_endpoint": master, "rdzv_configs": timeout | {"rank": node}}
    newer_than_torch_2_10 = "shutdown_timeout" in LaunchConfig.__dataclass_fields__
    settings = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex if nodes == 1 else "pintune",
        max_restarts=0,
        monitor_interval=0.2,
        **rendezvous,
        **({"shutdown_timeout": _GRACE} if newer_than_torch_2_10 else {}),
    )
    paused = Path(tempfile.mkdtemp(prefix="pintune-")) / "paused"
    os.environ["PINTUNE_PAUSED"] = str(paused)
    try:
        elastic_launch(settings, sys.executable)("-m", "pipeline", *words)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return int(first.exitcode if first.exitcode > 0 else 128 - first.exitcode)
    except SignalException as received:  # the ranks received it too
        return EXIT_STATUS["paused"] if paused.exists() else 128 + int(received.sigval)
    finally:
        shutil.rmtree(paused.parent, ignore_errors=True)
    return 0
