"""The script of a job whose machine is lost with its disk: it copies runs to a mounted bucket, and back at its start.

A mounted bucket has no locks, links and atomic renames, so nothing trains in it. A checkpoint is sealed with the hash
of every file: one whose copy was cut off is set aside, and the run resumes from the one before it, which is removed
from the bucket only once all later ones are copied. Ranks on several machines would need a runs/ that they share.
"""

from __future__ import annotations

import re
import shlex
import textwrap

from images.cloud import job as jobs
from images.cloud.job import Job
from images.errors import Stop

EVERY = 60  # seconds between copies


def need_one_node(job: Job) -> None:
    """Raise Stop if several nodes are to share a bucket."""
    if job.nodes > 1:
        todo = "--gpus-per-node 8 on one machine; or launch.kubernetes or launch.slurm"
        raise Stop("one node, or nodes that share runs/ by a file system", f"{job.nodes} nodes", "--nodes", todo)


def need_address(storage: str, pattern: str, example: str) -> None:
    """Raise Stop unless the storage has the form that an engine takes."""
    if not re.fullmatch(pattern, storage):
        todo = f"--storage {example}"
        raise Stop(f"a bucket such as {example}", repr(storage), "--storage", todo)


def script(
    job: Job, storage: str, owner: str, workdir: str = jobs.WORKDIR, python: str = "python", every: int = EVERY
) -> str:
    """The script, for bash.

    Args:
        storage: where the bucket is mounted; may be a variable of the shell in double quotes.
        owner: a variable of the engine with the job's number, which stays the same when its machine is replaced.
    """
    return (
        textwrap.dedent(_SCRIPT)
        .lstrip()
        .format(
            name=job.name,
            check=jobs.need_flavor(job),
            told="\n".join(f"export {key}={shlex.quote(value)}" for key, value in jobs.environment(job).items()),
            workdir=workdir,
            storage=storage,
            runs=jobs.shell([job.runs]),
            every=every,
            owner=owner,
            fetch=jobs.shell(jobs.step(job, "fetch", python)),
            format=jobs.shell(jobs.step(job, "format", python)),
            train=jobs.shell(jobs.train(job, python=python)),
        )
    )


_SCRIPT = """
    #!/bin/bash
    # {name}: made by invoke launch. Trains on this machine's disk, and keeps a copy of its unfinished and new runs.
    {check}
    {told}
    cd {workdir} || exit 1
    storage={storage}
    runs={runs}
    [ -d "$storage" ] || {{ echo "wanted: the bucket; found: nothing mounted; where: $storage" >&2; exit 1; }}

    # Two jobs must not train one run. Each writes its number and a time again and again; no clocks are compared.
    owner="${{{owner}:-$(hostname)-$$}}"
    alive="$storage/$runs/.job"
    seen=$(cat "$alive" 2>/dev/null)
    if [ -n "$seen" ] && [ "${{seen% *}}" != "$owner" ]; then
        echo "waiting to see whether job ${{seen% *}}, which has used this bucket, still does"
        sleep $((3 * {every}))
        if [ "$(cat "$alive" 2>/dev/null)" != "$seen" ]; then
            echo "wanted: a bucket for this job alone; found: job ${{seen% *}} trains; where: $storage/$runs" >&2
            exit 1
        fi
    fi

    copy() {{ # removes nothing in the bucket before all is copied
        local run each
        echo "$owner $(date +%s%N)" >"$alive" || return 1
        for run in "$runs"/[0-9]*/; do
            [ -d "$run" ] || continue
            mkdir -p "$storage/$run" && cp -ru "$run/." "$storage/$run/" || return 1
            for each in "$storage/$run"checkpoints/*/ "$storage/$run"unfinished.json "$storage/$run"process.json; do
                if [ -e "$each" ] && [ ! -e "${{each#"$storage"/}}" ]; then rm -r "$each"; fi
            done
        done
    }}

    mkdir -p "$runs" "$storage/$runs" || exit 1
    for mark in "$storage/$runs"/[0-9]*/unfinished.json; do # what a lost machine had not finished
        [ -e "$mark" ] || continue
        cp -r "${{mark%/*}}" "$runs/" || exit 1
        echo "copied  ${{mark%/*}}"
    done
    copy || exit 1
    if [ -d "$storage/data" ]; then cp -ru "$storage/data/." data/ || exit 1; fi

    {fetch} && {format} || exit

    trap 'kill -TERM "$training" 2>/dev/null' TERM INT
    {train} &
    training=$!
    (while sleep {every}; do copy 2>/dev/null; done) &
    copying=$!
    while kill -0 "$training" 2>/dev/null; do wait "$training"; done
    wait "$training"
    status=$?
    kill "$copying" 2>/dev/null
    wait "$copying" 2>/dev/null
    if ! copy; then
        echo "wanted: a copy of the run in the bucket; found: it failed; where: $storage/$runs" >&2
        exit 1
    fi
    rm "$alive"
    exit "$status"
"""
