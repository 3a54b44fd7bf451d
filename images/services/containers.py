"""Services as containers: found by labels, on a network that no packet leaves through.

The network translates no addresses, so an outgoing connection gets no answer, while a published port works. An internal
network would be stricter, but publishes no ports. The engine's DNS server still answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Iterator
from typing import Any

import docker.errors

from images import engine, matrix
from images.errors import Stop, line
from images.running import container
from images.running.container import Container
from images.services.service import Running, Service, url

LABEL = "dev.pintune.service"  # its name
_OF, _URL, _CHECKOUT = "dev.pintune.service.of", "dev.pintune.service.url", "dev.pintune.checkout"
_TOKEN = "dev.pintune.service.token"  # the name of the variable that has it
_OPTIONS = {
    "com.docker.network.bridge.enable_ip_masquerade": "false",
    "com.docker.network.bridge.enable_icc": "false",
}
_ALIVE = ("running", "paused", "restarting")  # only an ended container is replaced by a start
_GRACE = 40  # seconds from SIGTERM to SIGKILL: requests in progress get 30


def network(name: str) -> str:
    """The name of a service's network, another one in another checkout."""
    return f"pintune-{name}-{hashlib.sha256(str(matrix.ROOT).encode()).hexdigest()[:8]}"


def network_argv(name: str) -> list[str]:
    """The command that makes a service's network."""
    options = [word for key, value in _OPTIONS.items() for word in ("--opt", f"{key}={value}")]
    return ["docker", "network", "create", "--label", f"{LABEL}={name}", *options, network(name)]


def of(service: Service) -> Container:
    """The container of a service, with its labels and its network.

    Raises:
        ValueError: the service is a process.
    """
    if service.container is None:
        raise ValueError(f"{service.name} is a process")
    link = url(service.host, service.port, service.path)
    labels = [(LABEL, service.name), (_CHECKOUT, str(matrix.ROOT)), (_OF, service.of), (_URL, link)]
    labels += [(_TOKEN, service.link_token)] if service.link_token else []
    return dataclasses.replace(service.container, network=network(service.name), labels=tuple(labels), detach=True)


def start(service: Service) -> Running:
    """Start a service's container.

    Raises:
        Stop: the engine cannot start it.
    """
    asked = of(service)
    with _engine():
        _remove(service.name)  # one that has ended, and the network of a start that was killed
    try:
        labels = {LABEL: service.name, _CHECKOUT: str(matrix.ROOT)}
        engine.client().networks.create(asked.network, driver="bridge", options=_OPTIONS, labels=labels)
        made = engine.client().containers.create(**container.settings(asked))
        made.start()
        made.reload()
        return _running(made)
    except (docker.errors.DockerException, OSError) as error:
        with _engine():
            _remove(service.name)
        taken = re.search("port is already allocated|address already in use", line(error))
        todo = "the same command again, which takes the next free port" if taken else "invoke doctor"
        raise Stop(f"a container for {service.name}", line(error), asked.image, todo) from None


def found() -> list[Running]:
    """The services of this checkout that run.

    Raises:
        Stop: the engine has ended; so do the functions below.
    """
    with _engine():
        return [_running(each) for each in _listed() if each.status in _ALIVE]


def is_alive(running: Running) -> bool:
    """Whether a service's container runs."""
    with _engine():
        try:
            return str(engine.client().containers.get(running.handle).status) in _ALIVE
        except docker.errors.NotFound:
            return False


def log(running: Running) -> str:
    """What a service has written."""
    with _engine():
        try:
            return str(engine.client().containers.get(running.handle).logs().decode(errors="replace"))
        except docker.errors.NotFound:
            return ""


def stop(running: Running) -> None:
    """End a service, and remove its container and network."""
    with _engine():
        with contextlib.suppress(docker.errors.NotFound):
            engine.client().containers.get(running.handle).stop(timeout=_GRACE)
        _remove(running.name)


@contextlib.contextmanager
def _engine() -> Iterator[None]:
    """Report an engine that has ended, or fails."""
    try:
        yield
    except (docker.errors.DockerException, OSError) as error:  # requests' exceptions are OSErrors
        where, todo = str(engine.client().api.base_url), "start Docker, then invoke down, then the same command again"
        raise Stop("a Docker engine that answers", line(error), where, todo) from None


def _remove(name: str) -> None:
    for each in _listed(name):
        with contextlib.suppress(docker.errors.NotFound):
            each.remove(force=True, v=True)
    for each in engine.client().networks.list(names=[network(name)]):
        with contextlib.suppress(docker.errors.NotFound):
            each.remove()


def _listed(name: str = "") -> list[Any]:
    labels = [f"{LABEL}={name}" if name else LABEL, f"{_CHECKOUT}={matrix.ROOT}"]
    return list(engine.client().containers.list(all=True, filters={"label": labels}, ignore_removed=True))


def _running(each: Any) -> Running:
    variable = str(each.labels.get(_TOKEN, ""))
    own = dict(line.partition("=")[::2] for line in each.attrs["Config"]["Env"] or ())
    found = (each.labels[LABEL], each.labels[_OF], each.labels[_URL], str(each.id))
    return Running(*found, variable, own.get(variable, ""))
