"""The host's pip settings, for uv and pip inside a build, a container or a virtual environment.

Behind a company proxy or mirror, pip is configured already. Its settings (index, extra indexes, certificate bundle and
find-links, from its configuration files and PIP_*) are written into files, which a build gets as BuildKit secrets and a
container as read-only mounts, so that no layer contains them. Local folders of wheels become a wheelhouse
(images/building/wheelhouse.py).
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from images import disk_space
from images.errors import Stop
from images.matrix import ROOT

SECRETS = ROOT / ".pintune" / "secrets"  # where a command that a dry call prints looks for the files

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Settings:
    """Where packages come from. Local folders are separate, since a container does not see them."""

    index: str = ""  # "" is the package index itself
    extra_indexes: tuple[str, ...] = ()
    links: tuple[str, ...] = ()  # find-links pages on the network
    trusted_hosts: tuple[str, ...] = ()
    certificates: Path | None = None  # bundle of certificate authorities, PEM
    folders: tuple[Path, ...] = ()  # find-links folders
    local_indexes: tuple[Path, ...] = ()  # simple indexes on this machine, file://


def read() -> Settings:
    """The settings that `pip config list` reports; as for pip itself, environment variables override files.

    Raises:
        Stop: pip fails, or its certificate bundle does not exist.
    """
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    if done.returncode:
        raise Stop(
            "pip's settings",
            done.stderr.strip()[-200:],
            f"{sys.executable} -m pip config list",
            f"{sys.executable} -m ensurepip",
        )
    return parse(done.stdout, os.environ)


def parse(listing: str, environment: Mapping[str, str]) -> Settings:
    """Settings from the lines of `pip config list` (`global.index-url='https://…'`) and the environment.

    Raises:
        Stop: the certificate bundle does not exist.
    """
    found: dict[str, str] = {}
    ranks = {"global": 0, "install": 1, ":env:": 2}
    rank_of: dict[str, int] = {}
    for line in listing.splitlines():
        section, _, rest = line.partition(".")
        key, equals, value = rest.partition("=")
        if equals and section in ranks and ranks[section] >= rank_of.get(key, 0):
            found[key], rank_of[key] = str(ast.literal_eval(value)), ranks[section]
    indexes = [url for url in found.get("extra-index-url", "").split() if url]
    links = found.get("find-links", "").split()
    main = found.get("index-url", "")
    bundle = found.get("cert") or environment.get("REQUESTS_CA_BUNDLE") or environment.get("SSL_CERT_FILE") or ""
    if bundle and not Path(bundle).is_file():
        raise Stop(
            "the certificate bundle that pip is configured with",
            "no such file",
            bundle,
            "correct `pip config get global.cert` or SSL_CERT_FILE",
        )
    return Settings(
        index="" if _local(main) else main,
        extra_indexes=tuple(url for url in indexes if not _local(url)),
        links=tuple(url for url in links if not _local(url)),
        trusted_hosts=tuple(found.get("trusted-host", "").split()),
        certificates=Path(bundle) if bundle else None,
        folders=tuple(path for url in links if (path := _local(url)) and path.is_dir()),
        local_indexes=tuple(path for url in (main, *indexes) if (path := _local(url)) and path.is_dir()),
    )


def torch_backend(settings: Settings, wheels: Sequence[str], backend: str) -> str:
    """The PyTorch index that uv gets torch from, "" for none.

    None where a folder has its wheel, or where pip has indexes of its own: uv would ignore these for torch, and a
    company mirror has torch.
    """
    configured = settings.index or settings.extra_indexes or settings.links
    return "" if configured or any(name.startswith("torch-") for name in wheels) else backend


def _local(url: str) -> Path | None:
    if url.startswith("file://"):
        return Path(urllib.parse.unquote(urllib.parse.urlparse(url).path))
    return Path(url).expanduser() if url and "://" not in url else None


def uv_toml(settings: Settings, folders: Sequence[Path | str], torch_backend: str = "", offline: bool = False) -> str:
    """uv's configuration file for these settings; `folders` have wheels, with `offline` the only ones that uv sees."""
    lines = ["no-index = true", "offline = true"] if offline else []
    if settings.index:
        lines.append(f"index-url = {json.dumps(settings.index)}")
    if settings.extra_indexes:
        # as pip does: query all indexes; safe, since only locked hashes are accepted
        lines += [
            f"extra-index-url = {json.dumps(list(settings.extra_indexes))}",
            'index-strategy = "unsafe-best-match"',
        ]
    links = [*settings.links, *map(str, folders)]
    if links:
        lines.append(f"find-links = {json.dumps(links)}")
    if settings.trusted_hosts:
        lines.append(f"allow-insecure-host = {json.dumps(list(settings.trusted_hosts))}")
    if torch_backend:
        lines += ["[pip]", f'torch-backend = "{torch_backend}"']
    return "".join(line + "\n" for line in lines)


def pip_conf(settings: Settings, certificates: str, offline: bool = False) -> str:
    """pip's configuration file for these settings; `certificates` is the bundle's path where pip will run."""
    pairs = {
        "no-index": "true" if offline else "",
        "index-url": settings.index,
        "extra-index-url": " ".join(settings.extra_indexes),
        "find-links": " ".join(settings.links),
        "trusted-host": " ".join(settings.trusted_hosts),
        "cert": certificates if settings.certificates else "",
    }
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in pairs.items() if value)


def uv() -> str:
    """Path of uv: beside this Python, else on the PATH.

    Raises:
        Stop: uv is not installed.
    """
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise Stop(
            "uv", "none beside this Python nor on the PATH", sys.executable, f"{sys.executable} -m pip install -e ."
        )
    return found


def uv_environment(
    settings: Settings, scratch: Path, folders: Sequence[Path | str], torch_backend: str = ""
) -> dict[str, str]:
    """This process's environment with settings for uv, whose configuration file is written into `scratch`.

    Without settings of pip, uv's own configuration is used.
    """
    env = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    if text := uv_toml(settings, []):
        env["UV_CONFIG_FILE"] = str(private(scratch / "uv.toml", text))
    if folders:
        # as addresses, in which a comma of a path is quoted: uv would split there
        env["UV_FIND_LINKS"] = ",".join(Path(folder).absolute().as_uri() for folder in folders)
    if torch_backend:
        env["UV_TORCH_BACKEND"] = torch_backend
    if settings.certificates:
        env["SSL_CERT_FILE"] = str(settings.certificates)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"
    if not disk_space.writable(cache):  # such as in a HOME that cannot be written
        env.setdefault("UV_CACHE_DIR", str(ROOT / ".pintune" / "uv"))
    return env


def with_torch_index(settings: Settings, backend: str) -> Settings:
    """The settings, and the PyTorch index that uv knows for a backend, which pip does not."""
    if not backend:
        return settings
    with tempfile.TemporaryDirectory() as scratch:
        words = [uv(), "pip", "compile", "-", "--no-deps", "--no-header", "--emit-index-annotation", "--quiet"]
        done = subprocess.run(
            words,
            input="torch",
            capture_output=True,
            text=True,
            env=uv_environment(settings, Path(scratch), [], backend),
        )
    found = re.search(r"# from (\S+)", done.stdout)
    return replace(settings, extra_indexes=(*settings.extra_indexes, found.group(1))) if found else settings


@contextlib.contextmanager
def secrets(dry: bool) -> Iterator[Path]:
    """A folder that only its owner can read, removed afterwards; for a dry call, which writes nothing, its path."""
    if dry:
        yield SECRETS
        return
    with tempfile.TemporaryDirectory(prefix="pintune-") as name:
        yield Path(name)


def private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read: an index address may hold a token."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path
