"""The services of the workbench, both in the image `dev`: Jupyter Lab and TensorBoard."""

from __future__ import annotations

import os
from pathlib import Path

from images import matrix
from images.errors import Stop
from images.running import user_files
from images.services import program
from images.services.program import Program

NOTEBOOKS = "notebooks"
_SETTINGS = "images/jupyter"  # of Jupyter Lab: it loads no news and looks for no updates
_TOKEN = "JUPYTER_TOKEN"  # Jupyter's own variable
_HOME = {"HOME": "/tmp", "HF_HOME": "/tmp/huggingface", "XDG_CACHE_HOME": "/tmp/.cache"}  # the root is read-only


def notebook(in_container: bool) -> Program:
    """Jupyter Lab over the checkout. Its container sees the code read-only, and may write to notebooks/ and runs/."""
    mounts = (program.inside("pipeline"), program.inside(_SETTINGS), program.inside(NOTEBOOKS, writable=True))
    settings = {"JUPYTER_CONFIG_PATH": str(user_files.WORKDIR / _SETTINGS if in_container else matrix.ROOT / _SETTINGS)}
    return Program(
        name="notebook",
        image="dev",
        command=(
            *("python", "-m", "jupyterlab", "--no-browser", "--ip={host}", "--port={port}"),
            "--ServerApp.port_retries=0",  # the link names this port
            "--ServerApp.root_dir=.",
            "--ServerApp.allow_root=True",  # a process of root's, as every other step
            "--LabApp.extension_manager=readonly",  # asks no package index; nor do the settings in images/jupyter
            "--KernelManager.transport=ipc",  # on TCP, other users of the machine could read what a kernel prints
        ),
        port=8888,
        health="/api",
        path=f"/lab/tree/{NOTEBOOKS}",
        token=_TOKEN,
        always_token=True,  # it runs code, and other users of the machine reach its port too
        writes=("runs",),
        mounts=mounts if in_container else (),
        environment=settings | (_HOME if in_container else {}),
        gpu=True,
    )


def tensorboard(in_container: bool) -> Program:
    """TensorBoard over all runs, with their reports. It has no token, and answers requests to this machine alone."""
    return Program(
        name="tensorboard",
        image="dev",
        command=("python", "-m", "pipeline.runs.board", "--host={host}", "--port={port}"),
        port=6006,
        health="/data/environment",
        mounts=(program.inside("pipeline"),) if in_container else (),
        environment=_HOME if in_container else {},
    )


def need_writable(folder: Path, uid: int, gid: int) -> None:
    """Raise Stop unless a user may write to a folder and the notebooks in it."""
    if not folder.is_dir():
        todo = f"git checkout {folder.relative_to(matrix.ROOT)}"
        raise Stop("the folder with the notebooks", "no such folder", str(folder), todo)
    for path in (folder, *folder.glob("*.ipynb")):
        if not _may_write(path, uid, gid):
            found = f"one that the user {uid}:{gid} may not write to"
            todo = f"chown -R {uid}:{gid} {folder}; if its file system is read-only, work in another checkout"
            raise Stop("notebooks that can be saved", found, str(path), todo)


def _may_write(path: Path, uid: int, gid: int) -> bool:
    if not os.access(path, os.W_OK):  # by the caller: a read-only file system refuses root too
        return False
    found = path.stat()
    if uid in (0, os.getuid()):
        return True
    bit = 0o200 if found.st_uid == uid else 0o020 if found.st_gid == gid else 0o002
    return bool(found.st_mode & bit)
