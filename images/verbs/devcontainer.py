"""What .devcontainer runs on the host before it opens the dev image: python -m images.verbs.devcontainer

Builds the image in the flavor that fits this machine, makes the folders that steps write to, and passes on pip's
settings (index, certificates) and proxies, so that `invoke fetch` works inside as it does on the host.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from invoke.exceptions import Exit

from images import matrix, pip_config
from images.building import build
from images.errors import reported
from images.running import container, environment, gpu, user_files
from images.running import flavor as flavors
from images.running.choices import choose_flavor
from images.verbs import workspace

WORKSPACE = "/workspaces/pintune"  # where devcontainer.json mounts the checkout
FOLDER = "devcontainer"  # under .pintune: the files that are passed on


def main() -> None:
    """Prepare the host."""
    known = matrix.load()
    flavor, why = choose_flavor(os.environ.get("PINTUNE_FLAVOR") or "auto", known)
    flavors.need(known, known.flavor(flavor), gpu.look())
    print(f"image dev, flavor {flavor} ({why})", flush=True)
    print(build.build("dev", flavor), flush=True)
    pass_on(pip_config.read(), environment.provenance(build.tag("dev", flavor)))
    workspace.share(matrix.ROOT)
    for name in user_files.FOLDERS:
        container.hand_over(matrix.ROOT / name)


def pass_on(settings: pip_config.Settings, provenance: Mapping[str, str]) -> None:
    """Write pip's configuration, certificates, and the container's environment file, which names them and the image."""
    folder = matrix.ROOT / ".pintune" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    inside = f"{WORKSPACE}/.pintune/{FOLDER}"
    pip_config.private(folder / "pip.conf", pip_config.pip_conf(settings, f"{inside}/certificates"))
    variables = {
        **provenance,  # for manifests: the image does not know its own ID
        "PIP_CONFIG_FILE": f"{inside}/pip.conf",
        **workspace.git_settings(WORKSPACE),
        **{name: os.environ[name] for name in pip_config.PROXIES if os.environ.get(name)},
    }
    if settings.certificates:
        pip_config.private(folder / "certificates", settings.certificates.read_text(encoding="utf-8"))
        variables["SSL_CERT_FILE"] = f"{inside}/certificates"
    pip_config.private(folder / "environment", "".join(f"{name}={value}\n" for name, value in variables.items()))
    container.hand_over(folder)


if __name__ == "__main__":
    try:
        with reported():
            main()
    except Exit as stop:
        print(stop.message, file=sys.stderr)
        sys.exit(stop.code)
