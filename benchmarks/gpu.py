"""Fine-tuning on one GPU: Pintune against TRL's packing with Liger kernels.

    pip install trl liger-kernel                            in the environment of a `train` image of a CUDA flavor
    PINTUNE_MIRROR=… python -m benchmarks.gpu               mistral-7b-instruct, or --model phi-4-mini-reasoning
    python -m benchmarks.gpu --table                        the tables in docs/benchmarks.md, from the stored results
    … python -m benchmarks.gpu --width 512 --contexts 1     a narrow model, also on a CPU: compares only the losses

The recipe's architecture with random weights, frozen in fp16, and LoRA r=16 on all linear layers, on contexts of
TAT-QA's dev. Both read the same questions in rows of up to 4,096 tokens, one row per forward pass and eight contexts
(or their questions) per optimizer step, with the same gradient checkpointing and no dropout; they alternate in one
process. The peer is trl.SFTTrainer with packing "bfd" (padding-free: each question with its context is a sequence,
and sequences do not attend to each other), Liger's kernels, and flash attention if it is installed, else
FlexAttention. The second epoch is timed; the first warms up. The matrix rate is that of torch.matmul on two 8192 x
8192 matrices in fp16. A training pass counts four operations per token and weight of a linear layer (two forward, two
for the gradient of its input; none for frozen weights, none for recomputation) and per answer token and weight of the
output head. Writes benchmarks/results/gpu-MODEL.json, or narrow-MODEL.json for a narrow model.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, encoded, facts, moments, tatqa
from benchmarks.machine import losses as losses_of

ROW_TOKENS, CONTEXTS, ROUNDS = 4096, 64, 2
MODELS = ("mistral-7b-instruct", "phi-4-mini-reasoning")
STEP_CONTEXTS = 8


def main() -> None:
    """Measure, write the result, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument(
        "--width",
        type=int,
        default=0,
        help="hidden size of a narrow model, whose losses count and whose speed does not",
    )
    parser.add_argument("--contexts", type=int, default=CONTEXTS)
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations")
    parser.add_argument("--table", action="store_true", help="only print the tables")
    given = parser.parse_args()
    if not (given.table or given.width or _cuda()):
        parser.error("torch sees no GPU: --width 512 --contexts 1 runs on a CPU")
    if not given.table:
        found = _measured(given.model, given.width, given.contexts, not given.no_checkpointing)
        packages = [
            name for name in ("trl", "liger-kernel", "flash-attn") if importlib.util.find_spec(name.replace("-", "_"))
        ]
        result = {**facts("gpu.py", "torch", "transformers", "peft", "accelerate", *packages), **found}
        (RESULTS / f"{'narrow' if given.width else 'gpu'}-{given.model}.json").write_text(
            json.dumps(result, indent=2) + "\n"
        )
        print(json.dumps(found["losses"]))
    for path in sorted(RESULTS.glob("gpu-*.json")):
        print(_table(json.loads(path.read_text())))


def _measured(name: str, width: int, count: int, checkpointing: bool) -> dict[str, Any]:
    chosen = [
        "model.random=true",
        f"model.width={width}",
        "lora.r=16",
        "lora.dropout=0.0",
        "training.precision=auto",
        "training.max_length=1024",
        f"training.row_tokens={ROW_TOKENS}",
        f"training.batch_contexts={STEP_CONTEXTS}",
        "training.accumulation=1",
        f"training.gradient_checkpointing={str(checkpointing).lower()}",
    ]
    with tatqa(*chosen, name=name) as job:
        import torch

        from pipeline.models import load

        cuda = _cuda()
        template, contexts = encoded(job)
        contexts = contexts[:count]
        questions = sum(len(context.questions) for context in contexts)
        seconds: dict[str, list[float]] = {"Pintune": [], "TRL": []}
        memory: dict[str, int] = {}
        losses: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for who, trainer_of in (("Pintune", _ours), ("TRL", _trl)):
                if cuda:
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                trainer = trainer_of(job, contexts, template)
                seen = moments(trainer, "on_epoch_begin", "on_epoch_end")
                losses[who] = losses_of(trainer)
                seconds[who].append(round(seen[3] - seen[2], 3))  # the second epoch
                memory[who] = torch.cuda.max_memory_allocated() if cuda else 0
                shape = _operations(trainer.model, contexts)
                del trainer
                gc.collect()
                print(who, seconds[who][-1], losses[who], memory[who], flush=True)
        rate = _matrix_rate() if cuda else 0.0
    best = {who: min(each) for who, each in seconds.items()}
    return {
        "model": name,
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "precision": load.precision(job.recipe.training.precision)[0],
        "width": width,
        "checkpointing": checkpointing,
        "contexts": len(contexts),
        "questions": questions,
        "row_tokens": ROW_TOKENS,
        "rounds": ROUNDS,
        "attention": _attention(),
        "liger": _liger(),
        "tokens": {
            "Pintune": sum(each.packed_length for each in contexts),
            "TRL": sum(each.separate_length for each in contexts),
        },
        "seconds": seconds,
        "losses": losses,
        "peak_memory_bytes": memory,
        "ratio": round(best["TRL"] / best["Pintune"], 2),
        "matrix_tflops": round(rate / 1e12, 1),
        "model_tflops": {who: round(shape[who] / best[who] / 1e12, 1) for who in best},
    }


def _common(job: Any) -> dict[str, Any]:
    """The arguments that TrainingArguments and SFTConfig share."""
    from pipeline.models import load

    kind = load.precision(job.recipe.training.precision)[0]
    return {
        "output_dir": "out",
        "seed": 42,
        "use_cpu": load.device() == "cpu",
        "fp16": kind == "fp16",
        "bf16": False,
        "num_train_epochs": 2,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "gradient_checkpointing": job.recipe.training.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    }


def _ours(job: Any, contexts: list[Any], template: Any) -> Any:
    from transformers import TrainingArguments

    from pipeline.models import load
    from pipeline.training.callbacks.metrics import MetricsCallback
    from pipeline.training.collator import Collator
    from pipeline.training.loop import prepared
    from pipeline.training.trainer import AnswerTrainer

    load.use_deterministic_kernels()
    return AnswerTrainer(
        model=prepared(job.recipe, job.base_model, load.precision(job.recipe.training.precision)[0], contexts)[0],
        train_dataset=contexts,
        args=TrainingArguments(per_device_train_batch_size=STEP_CONTEXTS, remove_unused_columns=False, **_common(job)),
        data_collator=Collator("shared", template.tokenizer.pad_token_id or 0, ROW_TOKENS),
        metrics=MetricsCallback(Path("runs/none"), resumed=False),
        settings=job.recipe.training,
    )


def _trl(job: Any, contexts: list[Any], template: Any) -> Any:
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]  # not a dependency: the peer

    from pipeline.models import load, lora

    rows = [
        {
            "input_ids": context.prefix + rest + answer,
            "completion_mask": [0] * len(context.prefix + rest) + [1] * len(answer),
        }
        for context in contexts
        for rest, answer in context.questions
    ]
    torch.use_deterministic_algorithms(False)  # only Pintune pays for determinism
    base = load.load_base(job.base_model, load.DTYPES[load.precision(job.recipe.training.precision)[0]])
    if _attention() != "sdpa":
        base.set_attn_implementation(_attention())
    # as many rows per step as the questions of its contexts fill
    tokens = sum(len(row["input_ids"]) for row in rows)
    filled = max(1, round(tokens / ROW_TOKENS * STEP_CONTEXTS / len(contexts)))
    return SFTTrainer(
        model=lora.new_adapter(base, job.recipe.lora, job.recipe.training.seed, job.base_model),
        train_dataset=Dataset.from_list(rows),
        processing_class=template.tokenizer,
        args=SFTConfig(
            per_device_train_batch_size=1,
            gradient_accumulation_steps=filled,
            max_length=ROW_TOKENS,
            packing=True,
            packing_strategy="bfd",
            completion_only_loss=True,
            use_liger_kernel=_liger(),
            **_common(job),
        ),
    )


def _cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _attention() -> str:
    """The peer's attention: the fastest one that keeps the sequences of a row apart."""
    if importlib.util.find_spec("flash_attn"):
        return "flash_attention_2"
    return "flex_attention" if _cuda() else "sdpa"


def _liger() -> bool:
    return _cuda() and importlib.util.find_spec("liger_kernel") is not None


def _operations(adapted: Any, contexts: list[Any]) -> dict[str, int]:
    """Operations per epoch: of the frozen linear layers, and of the output head for answer tokens alone."""
    import torch

    head = adapted.get_base_model().get_output_embeddings()
    linear = sum(
        each.weight.numel()
        for each in adapted.modules()
        if isinstance(each, torch.nn.Linear)
        and each is not head
        and each.weight.shape[0] > 16
        and each.weight.shape[1] > 16
    )
    answers = sum(len(answer) for context in contexts for _, answer in context.questions)
    return {
        who: 4 * (linear * sum(getattr(each, length) for each in contexts) + head.weight.numel() * answers)
        for who, length in (("Pintune", "packed_length"), ("TRL", "separate_length"))
    }


def _matrix_rate(size: int = 8192, times: int = 50) -> float:
    """Operations per second of torch.matmul in fp16."""
    import torch

    one, other = (torch.randn(size, size, device="cuda", dtype=torch.float16) for _ in range(2))
    for _ in range(5):
        one @ other
    torch.cuda.synchronize()
    started = time.monotonic()
    for _ in range(times):
        one @ other
    torch.cuda.synchronize()
    return 2 * size**3 * times / (time.monotonic() - started)


def _table(found: dict[str, Any]) -> str:
    lines = [
        f"{found['model']} on {found['gpu']}, {found['precision']}, attention of the peer: {found['attention']}",
        "",
        "| | questions/s | peak memory | matrix rate |",
        "|---|---:|---:|---:|",
    ]
    for who, each in found["seconds"].items():
        share = found["model_tflops"][who] / found["matrix_tflops"]
        memory = f"{found['peak_memory_bytes'][who] / 2**30:.1f} GiB"
        lines.append(f"| {who} | {found['questions'] / min(each):.1f} | {memory} | {share:.0%} |")
    return "\n".join([*lines, "", f"{found['ratio']:.1f} times as fast"])


if __name__ == "__main__":
    main()
