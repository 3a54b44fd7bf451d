"""Push a merged model to the Hugging Face hub.

HF_TOKEN=… python -m pipeline push_hub --repo OWNER/NAME

A step of its own: export has no network. The token comes from the environment alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import Stop, one_line
from pipeline.runs import manifest

# of an earlier push that these do not replace: Transformers would load them first
_WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def push(run: Path, made: dict[str, Any], repository: str, say: Callable[[str], None]) -> str:
    """Upload a run's merged/ in one commit, to a new private repository if there is none; returns the commit's address.

    Args:
        made: the run's manifest, which has the hash of every file.

    Raises:
        Stop: no token, no such merged model, a file that export did not leave so, or the hub refuses.
    """
    need_repository(repository)
    if not (token := os.environ.get("HF_TOKEN", "")):
        todo = f"HF_TOKEN=… invoke export --push-to-hub {repository}"
        raise Stop("a token of the Hugging Face hub that may write", "no HF_TOKEN", "the environment", todo)
    merged = run / "merged"
    manifest.need_merged(run, made)
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # plain HTTPS, by proxy and certificates that are set
    from httpx import HTTPError
    from huggingface_hub import HfApi

    where = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/{repository}"
    api = HfApi(token=token)
    say(f"push   {merged} to {where}")
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository,
            folder_path=merged,
            commit_message=f"Pintune run {made['recipe_name']}/{made['run']}",
            delete_patterns=_WEIGHTS,
        )
    except (HTTPError, OSError, ValueError) as error:
        found = one_line(error).replace(token, "…")
        todo = f"check the network and that HF_TOKEN may write to {repository}, then the same again"
        raise Stop("the hub to take the model", found, where, todo) from None
    return str(done.commit_url)


def need_repository(repository: str) -> None:
    """Raise Stop unless a name is OWNER/NAME."""
    if not _REPOSITORY.fullmatch(repository):
        todo = "invoke export --push-to-hub OWNER/NAME"
        raise Stop("a repository as OWNER/NAME", repr(repository), "--push-to-hub", todo)
