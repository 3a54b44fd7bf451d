"""Starting a service, finding it again, and stopping it: as a container, or without an engine as a process."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import shlex
import socket
import time
import urllib.parse
from collections.abc import Iterator
from types import ModuleType

from images import engine, matrix
from images.errors import Stop
from images.running import container
from images.services import containers, processes
from images.services.service import Running, Service

_LAST = 15  # lines of a log that a failure shows
_ANSWER = 10  # seconds that one that runs already has to answer
_PORTS = 100  # how many are tried after the one that is wanted


def free_port(host: str, wanted: int) -> int:
    """The wanted port, or the next one that is free.

    Raises:
        Stop: no number of a port, none of a hundred is free, or the address is not this machine's.
    """
    if not 0 < wanted < 2**16:
        raise Stop("a port from 1 to 65535", str(wanted), "--port", "give another one, or leave it out")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(wanted, min(wanted + _PORTS, 2**16)):
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((host, port))
                return port
            except (OSError, OverflowError) as error:
                reason = str(error)
    raise Stop(f"a free port of {host} from {wanted} on", reason, "--host and --port", "give another one")


def found(name: str = "") -> list[Running]:
    """The services that run, or the one of a name."""
    running = [*processes.found(), *(containers.found() if engine.answers() else [])]
    return [each for each in running if name in ("", each.name)]


def start(service: Service) -> tuple[Running, float]:
    """Start a service and wait until it is ready; returns it, and after how many seconds it was, 0 if it ran already.

    Raises:
        Stop: it runs already and is of something else, another user's, or does not answer; or it ends before it is
            ready, and its log's last lines are shown.
    """
    with _alone():
        if running := found(service.name):
            _need_same(service, running[0])
            _need_answer(service, running[0])
            return running[0], 0.0
        kind = _kind(service)
        begun = time.monotonic()
        started: Running = kind.start(service)
        try:
            _wait(service, started, kind, begun)
        except BaseException:
            with contextlib.suppress(Stop):  # the engine may be what failed
                kind.stop(started)
            raise
    return started, time.monotonic() - begun


def stop(name: str = "") -> list[Running]:
    """Stop the service of a name, or all; returns those that ran."""
    with _alone():
        running = found(name)
        for each in running:
            (processes if " " in each.handle else containers).stop(each)
    return running


def shown(service: Service) -> list[str]:
    """The commands that start a service, as a person could paste them."""
    if service.container:
        commands = containers.network_argv(service.name), container.argv(containers.of(service))
        return [engine.shown(command) for command in commands]
    file = processes.folder().relative_to(matrix.ROOT) / f"{service.name}.log"
    return [f"mkdir -p {file.parent} && {shlex.join(service.command)} >{file} 2>&1 &"]


def _kind(service: Service) -> ModuleType:
    return containers if service.container else processes


def _need_same(service: Service, running: Running) -> None:
    if running.of != service.of:
        wanted, todo = f"{service.name} of {service.of}", f"invoke down --name {service.name}"
        raise Stop(wanted, f"one of {running.of} runs", running.url, todo)


def _need_answer(service: Service, running: Running) -> None:
    """Raise Stop if a service that runs is not to be used: a link without its token, or one that nothing answers."""
    if running.link_token and not running.token:
        todo = f"ask them to stop it, or use a checkout of your own; its log: .pintune/services/{running.name}.log"
        raise Stop(f"{service.name} of yours", "one that another user started", running.url, todo)
    end = time.monotonic() + _ANSWER
    while not _is_healthy(running.url, service.health):
        if time.monotonic() > end:
            todo = f"invoke down --name {service.name}, then again"
            found = f"it runs, but has not answered at {service.health} for {_ANSWER} s"
            raise Stop(f"{service.name} that answers", found, running.url, todo)
        time.sleep(0.1)


def _wait(service: Service, started: Running, kind: ModuleType, begun: float) -> None:
    """Wait until a service is ready.

    Raises:
        Stop: it ends before, or takes too long.
    """
    while not _is_healthy(started.url, service.health):
        if not kind.is_alive(started):
            found = "it ended; its last lines:\n" + _last(kind.log(started))
            raise Stop(f"{service.name} to start", found, _where(service), "correct what they name, then again")
        if time.monotonic() - begun > service.patience:
            found = f"it was not ready after {service.patience} s; its last lines:\n" + _last(kind.log(started))
            raise Stop(f"{service.name} to be ready", found, _where(service), "free the machine, then again")
        time.sleep(0.1)


def _last(log: str) -> str:
    return "\n".join(f"        {line}" for line in log.strip().splitlines()[-_LAST:]) or "        (none)"


def _where(service: Service) -> str:
    return service.container.image if service.container else shlex.join(service.command[:4])


def _is_healthy(link: str, path: str) -> bool:
    """Whether the service of a link answers; no proxy is asked."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(link).netloc, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let no other verb of this checkout start or stop a service meanwhile."""
    handle = os.open(matrix.ROOT / "images", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
