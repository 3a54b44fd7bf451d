"""What .devcontainer/devcontainer.json starts on the host before it opens the dev image: python -m images.devcontainer

Builds the image in the flavor that fits this machine, makes the folders that steps write to, and passes on what pip has been told
(index, certificates) and proxies, so that `invoke fetch` works inside as it does outside.
"""

from __future__ import annotations

import os
import sys

from invoke.exceptions import Exit

from images import matrix, pip_config
from images.building import build
from images.errors import plainly
from images.running import container, gpu, runner, user_files

WORKSPACE = "/workspaces/pintune"  # where devcontainer.json mounts the checkout
GIVEN = "devcontainer"  # folder under .pintune with what is passed on


def main() -> None:
    """Prepare the host's side."""
    known = matrix.load()
    flavor, why = runner.flavor(os.environ.get("PINTUNE_FLAVOR") or "auto", known)
    gpu.need(known, known.flavor(flavor), gpu.look())
    print(f"image dev, flavor {flavor} ({why})", flush=True)
    print(build.build("dev", flavor), flush=True)
    pass_on(pip_config.read())
    for name in user_files.FOLDERS:
        container.hand_over(matrix.ROOT / name)


def pass_on(settings: pip_config.Settings) -> None:
    """Write pip's configuration, the certificates and the environment that names them where the container finds them."""
    folder = matrix.ROOT / ".pintune" / GIVEN
    folder.mkdir(parents=True, exist_ok=True)
    there = f"{WORKSPACE}/.pintune/{GIVEN}"
    pip_config.private(folder / "pip.conf", pip_config.pip_conf(settings, f"{there}/certificates"))
    environment = {
        "PIP_CONFIG_FILE": f"{there}/pip.conf",
        **{name: os.environ[name] for name in pip_config.PROXIES if os.environ.get(name)},
    }
    if settings.certificates:
        pip_config.private(folder / "certificates", settings.certificates.read_text(encoding="utf-8"))
        environment["SSL_CERT_FILE"] = f"{there}/certificates"
    pip_config.private(folder / "environment", "".join(f"{name}={value}\n" for name, value in environment.items()))
    container.hand_over(folder)


if __name__ == "__main__":
    try:
        with plainly():
            main()
    except Exit as stop:
        print(stop.message, file=sys.stderr)
        sys.exit(stop.code)
