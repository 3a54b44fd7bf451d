"""Whether what a stage reads is there, complete and current: raw splits, formatted rows, base model."""

from __future__ import annotations

from pathlib import Path

from pipeline.data import formatted_rows, import_file
from pipeline.errors import Stop
from pipeline.files import git_blob_id
from pipeline.job import Job
from pipeline.recipe import formatting_flags
from pipeline.sources import TATQA_BLOBS


def missing(job: Job) -> list[str]:
    """What `fetch` has to bring, in words; empty when it has nothing to do."""
    base, source = job.base_model, job.recipe.data.source
    needed = [(f"model {base.name}", base / name) for name in ("config.json", "tokenizer_config.json")]
    needed += [(f"split {split.name} of {source}", split.raw) for split in job.splits]
    lacking = list(dict.fromkeys(what for what, path in needed if not path.exists()))
    file = job.source.file
    if not lacking and file and not import_file.is_current(file, job.recipe.data.columns, job.raw):
        lacking.append(f"{file} as it is now")
    return lacking


def missing_steps(job: Job) -> list[str]:
    """The steps that must run before train can."""
    if missing(job):
        return ["fetch", "format"]
    return ["format"] if formatted_rows.stale(job) else []


def need_raw(job: Job) -> None:
    """Raise Stop if a raw split is not TAT-QA's at the pinned commit, or of another file than data.source."""
    if job.source.file:
        import_file.need_imported(job.source.file, job.raw)
    for split in job.splits if job.source.name == "tatqa" else ():
        if split.raw.exists():
            blob = TATQA_BLOBS[split.name]
            need_hash(f"git blob id {blob}", blob, git_blob_id(split.raw), split.raw)


def need_formatted(job: Job, todo: str = "") -> None:
    """Raise Stop unless the rows of both splits are there and current.

    Args:
        todo: the next command; by default `invoke data` with the flags of this recipe.
    """
    if names := formatted_rows.stale(job):
        found = f"missing, or not as format left it: {', '.join(names)}"
        flags = formatting_flags(job.recipe)
        raise Stop("formatted data", found, str(job.formatted), todo or f"invoke data {flags}")


def need_all(job: Job) -> None:
    """Raise Stop unless data and model are there and the rows are current."""
    if lacking := missing(job):
        raise Stop("data and model", f"missing: {', '.join(lacking)}", "data/ and models/", "invoke fetch data")
    need_formatted(job, "invoke data")


def need_hash(wanted: str, expected: str, found: str, file: Path) -> None:
    """Raise Stop unless a file's hash is the expected one."""
    if found != expected:
        todo = "move that file away and run invoke fetch again; if it differs again, do not trust its source"
        raise Stop(wanted, found, str(file), todo)
