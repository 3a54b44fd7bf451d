"""A model from the Hugging Face hub at a pinned commit; every file is checked by the hash in that commit's tree.

The tree has the SHA-256 of large files (Git LFS) and the git blob id of small ones. Downloaded files stay for the next
attempt.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from pipeline.errors import Stop, need_space, one_line
from pipeline.files import fsync_tree, git_blob_id, sha256
from pipeline.models import record

_WANTED = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template*",
    "LICENSE*",
)
_NOT = ("consolidated*", "*/*")  # the publisher's own format; subfolders


@dataclass(frozen=True)
class HubModel:
    """A repository on the hub and its pinned commit."""

    repository: str
    commit: str


def fetch(model: HubModel, target: Path, say: Callable[[str], None]) -> None:
    """Download into a staging folder beside `target`, check, record the origin, and rename.

    Raises:
        Stop: no network, terms that were not accepted, a file that is not the commit's, no disk space.
    """
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # plain HTTPS, by proxy and certificates that are set
    from httpx import HTTPError
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    where = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/{model.repository}"
    staging = target.with_name(f".{target.name}.{model.commit[:12]}")
    try:
        tree = HfApi().list_repo_tree(model.repository, revision=model.commit, recursive=True)
        files = [each for each in tree if isinstance(each, RepoFile) and _taken(each.path)]
        need_space(target, sum(each.size for each in files))
        for each in files:
            say(f"model  {each.path}: {each.size / 2**20:,.1f} MiB")
            path = Path(hf_hub_download(model.repository, each.path, revision=model.commit, local_dir=staging))
            wanted, found = (each.lfs.sha256, sha256(path)) if each.lfs else (each.blob_id, git_blob_id(path))
            if found != wanted:
                path.unlink()
                raise Stop(
                    f"{each.path} with hash {wanted}, as in commit {model.commit[:12]}",
                    found,
                    where,
                    "invoke fetch again; if it differs again, do not trust its source",
                )
    except GatedRepoError:
        raise Stop(
            f"access to {model.repository}",
            "its terms have not been accepted by this account, or no HF_TOKEN is set",
            where,
            f"accept them at {where}, then: HF_TOKEN=… invoke fetch",
        ) from None
    except (HTTPError, LocalEntryNotFoundError, OSError) as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, HTTPError | ConnectionError):
            raise  # the disk, not the network
        raise Stop(
            f"{model.repository} at {model.commit[:12]}",
            one_line(error),
            where,
            "check network and proxy, then invoke fetch again: it resumes the download; "
            f"or put the folder into {target}, or --set model.random=true",
        ) from None
    shutil.rmtree(staging / ".cache", ignore_errors=True)
    record.write(staging, source=f"{model.repository}@{model.commit}")
    fsync_tree(staging)
    staging.rename(target)
    origin = f"{model.repository} at {model.commit[:12]}"
    say(f"model  {target}: {len(files)} files of {origin}, every hash as that commit has it")


def _taken(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in _WANTED) and not any(fnmatch(path, pattern) for pattern in _NOT)
