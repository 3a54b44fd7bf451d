"""What listens: a service as it is asked for, and as it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from images.running.container import Container


@dataclass(frozen=True)
class Service:
    """A service to start."""

    name: str  # as in `invoke down --name NAME`
    of: str  # what it is of, in words: a second start with the same finds the first
    host: str  # address of this machine
    port: int  # a free one
    path: str  # of its link, such as /v1
    health: str  # path that answers with status 200 once it is ready
    patience: int  # seconds until then, at most
    container: Container | None = None  # else a process:
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    link_token: str = ""  # variable of its environment that holds the token of its link; "" for a link without


@dataclass(frozen=True)
class Running:
    """A service that runs."""

    name: str
    of: str
    url: str  # without a token
    handle: str  # ID of its container, or of its process and when that started
    link_token: str = ""  # as in Service; the token itself is in no label, record or command line
    token: str = field(default="", repr=False, compare=False)  # "" if there is none, or it is another user's

    @property
    def link(self) -> str:
        """What a browser opens."""
        return f"{self.url}?token={self.token}" if self.token else self.url


def url(host: str, port: int, path: str = "") -> str:
    """The link to a port of this machine: every address of it is reached by loopback too."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}{path}"
