"""A checkout of root's in the devcontainer, whose user is another: it may write to it and use git in it.

The devcontainer CLI gives its user the uid of the host's user, except where that is root. Files stay root's, so that
git on the host works as before; the container's user gets them by its group.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from images.running import container, user_files

_OTHERS = (".venv", ".pintune", "node_modules", *user_files.FOLDERS)  # environments; what belongs to the user already


def share(root: Path) -> None:
    """Where the caller is root, let the container's user write to a checkout, and to what is made in it later."""
    if os.getuid():
        return
    _, group = container.user()
    for path in _shared(root):
        is_folder = path.is_dir()
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = mode | stat.S_IRGRP | stat.S_IWGRP
        if is_folder or mode & stat.S_IXUSR:
            wanted |= stat.S_IXGRP
        if is_folder:
            wanted |= stat.S_ISGID  # what is made in it gets its group
        if path.stat().st_gid != group:
            os.chown(path, -1, group)
        if wanted != mode:
            path.chmod(wanted)


def git_settings(folder: str) -> dict[str, str]:
    """The variables with which git works in a folder of another user's; none where the caller is not root."""
    if os.getuid():
        return {}
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": folder}


def _shared(root: Path) -> Iterator[Path]:
    """The checkout's files and folders, without links; of .pintune only the folders that verbs write to."""
    yield root
    yield from (path for path in (root / ".pintune", root / ".pintune" / "venv") if _is_own(path))
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in _OTHERS and _is_own(Path(folder, name))]
        yield from (path for name in (*names, *files) if _is_own(path := Path(folder, name)))


def _is_own(path: Path) -> bool:
    return path.exists() and not path.is_symlink() and (path.is_dir() or path.is_file())
