"""What a build reads besides the checkout: pip's settings as secret files, and the wheels of local folders.

A dry call writes none of it, and prints this command before the build command that needs it:

    python -m images.building.inputs train cpu
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from images import matrix, pip_config
from images.building import lock, wheelhouse
from images.building.lock import Pin


def pins(image: str, flavor: str) -> list[Pin]:
    """The pins of everything that a build of the image installs.

    Raises:
        Stop: a lock that does not match the matrix.
    """
    names = [name for name in (matrix.load().image(image, flavor).extends, image) if name]
    return [pin for row in (*(lock.row(name, flavor) for name in names), lock.tools()) for pin in lock.read(row)]


def folders(image: str, flavor: str, offline: Path | None) -> tuple[Path, Path]:
    """The folders that a build takes wheels and Debian packages from before it uses a network."""
    if offline:
        return offline / "wheels", offline / "debs"
    home = matrix.ROOT / ".pintune"
    return home / "wheelhouse" / f"{image}-{flavor}", home / "debs"


def need(image: str, flavor: str, offline: Path) -> None:
    """Raise Stop unless a folder that replaces the network has all wheels and Debian packages."""
    wheels, debs = folders(image, flavor, offline)
    wheelhouse.need(pins(image, flavor), wheels)
    wheelhouse.need_debs(debs)


def write(secrets: Path, image: str, flavor: str, offline: Path | None = None, downloads: bool = False) -> None:
    """Write the secret files into the folder `secrets`, and gather wheels.

    Args:
        offline: a folder that replaces the network.
        downloads: pip downloads wheels in the build, and needs PyTorch's index, which uv knows by itself.

    Raises:
        Stop: a lock that does not match the matrix, or pip's certificates cannot be read.
    """
    wheels, debs = folders(image, flavor, offline)
    settings = pip_config.Settings() if offline else pip_config.read()
    taken: list[str] = []
    if not offline:
        taken = wheelhouse.gather(pins(image, flavor), settings, wheels)
        debs.mkdir(parents=True, exist_ok=True)
    backend = pip_config.torch_backend(settings, taken, matrix.load().flavor(flavor).torch_backend)
    with_index = pip_config.with_torch_index(settings, backend) if downloads else settings
    pip_conf = pip_config.pip_conf(with_index, "/run/secrets/certificates", offline=bool(offline))
    uv_toml = pip_config.uv_toml(settings, ["/wheelhouse"], "" if offline else backend, offline=bool(offline))
    certificates = settings.certificates.read_text(encoding="utf-8") if settings.certificates else ""
    for name, text in (("pip.conf", pip_conf), ("uv.toml", uv_toml), ("certificates", certificates)):
        pip_config.private(secrets / name, text)


def argv(image: str, flavor: str, offline: Path | None = None, downloads: bool = False) -> list[str]:
    """The command that writes them where a printed build command looks for them."""
    words = ["python", "-m", "images.building.inputs", image, flavor]
    words += ["--offline", str(offline)] if offline else []
    return words + (["--downloads"] if downloads else [])


def main(words: Sequence[str] | None = None) -> None:
    """Write the inputs of a printed build command."""
    parser = argparse.ArgumentParser(prog="python -m images.building.inputs", description=__doc__)
    parser.add_argument("image")
    parser.add_argument("flavor")
    parser.add_argument("--offline", type=Path, help="the folder that `invoke wheelhouse` filled")
    parser.add_argument("--downloads", action="store_true", help="the build downloads wheels")
    args = parser.parse_args(words)
    pip_config.SECRETS.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(pip_config.SECRETS, args.image, args.flavor, args.offline, args.downloads)


if __name__ == "__main__":
    main()
