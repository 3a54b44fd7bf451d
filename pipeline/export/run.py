"""Export a run: merge its adapter into the base model, check the result, and only then name it merged/.

python -m pipeline export       # runs/RECIPE/latest/merged/
"""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import Any

from pipeline.data.formatted_rows import answer_limit, read_rows
from pipeline.errors import need_space
from pipeline.export import adapter, card, gate, merge
from pipeline.files import atomic_folder, sha256, tree_sha256, write_text
from pipeline.job import Job
from pipeline.models import chat_template, load
from pipeline.recipe import as_values
from pipeline.runs import manifest
from pipeline.runs.store import MANIFEST

SUMS = "SHA256SUMS"
CARD = "README.md"


def export(job: Job, run: Path, trained: dict[str, Any]) -> dict[str, Any]:
    """Write merged/: weights, tokenizer, chat template and generation config, checked against base + adapter.

    Args:
        trained: the run's manifest.

    Returns:
        question, answer, and the largest difference of a logit between the merged model and base + adapter.

    Raises:
        Stop: something is missing, no disk space, or a check fails; an earlier merged/ is kept then.
    """
    base, dtype, where = job.base_model, job.recipe.export.dtype, str(run / "merged")
    manifest.need_trained_adapter(run, trained)
    template = chat_template.load(base)
    rows, limit = _rows(job), answer_limit(job)
    read = adapter.read(base, run / "adapter")
    planned = merge.plan(base, read, dtype)
    need_space(run, planned.size)
    with atomic_folder(run / "merged") as staging:
        merge.merge(planned, read, staging)
        merge.copy_files(base, staging)
        merge.write_configs(base, staging, dtype, read.untied, template.ends)
        gate.need_same_files(base, staging)
        changed, small = gate.need_merged(base, staging, read, dtype, where)
        prompts, computing = template.prompts(rows), gate.computing(base, planned.size // merge.DTYPES[dtype].itemsize)
        # on the CPU: float32 takes twice the memory of the GPU that it was trained on, and gives the same bits on
        # every machine
        model = load.load_base(base, computing, "cpu")
        load.need_vocabulary(model, template.tokenizer)
        wanted = gate.ask_tuned(model, run / "adapter", prompts, template.ends, limit)
        del model  # before a second model is loaded
        gc.collect()
        found = gate.ask_merged(staging, prompts, wanted, computing, limit, where)
        difference, ties = gate.compare(wanted, found, dtype, where)
        answers = gate.need_answer(found, staging, where)
        shutil.copyfile(run / MANIFEST, staging / MANIFEST)  # as it is before this export's section
        card.write(staging / CARD, job.recipe, trained, sha256(staging / MANIFEST), run / "evaluation.json")
        write_text(staging / SUMS, "".join(f"{hash_}  {name}\n" for name, hash_ in tree_sha256(staging).items()))
    checked = {
        "dtype": dtype,
        "question": rows[0]["input"].rpartition("\n")[2],
        "answer": answers[0],
        "gold": rows[0]["output"],
        "prompts": len(rows),
        "answers_decided_by_rounding": ties,
        "largest_logit_difference": round(difference, 6),
        "computed_in": str(computing).removeprefix("torch."),
        "changed_tensors": changed,
        "targets": len(read.updates),
        "targets_too_small_to_change": small,
    }
    manifest.add(run, trained, "export", {**checked, "recipe": as_values(job.recipe)})
    return checked


def _rows(job: Job) -> list[dict[str, Any]]:
    """The first row of each of the first contexts of the evaluation split."""
    by_context: dict[Any, dict[str, Any]] = {}
    for row in read_rows(job.evaluation.rows, gate.PROMPTS):
        by_context.setdefault(row["context"], row)
    return list(by_context.values())
