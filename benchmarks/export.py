"""Merging by shard, against PEFT's merge_and_unload and a plain copy of the files.

    python -m benchmarks.export                 a 7B model of random weights: 14.5 GB twice on disk, see --layers
    python -m benchmarks.export --table         the table in docs/export.md, from the stored result

The model has the shape of Mistral-7B in float16, written shard by shard with random weights; the adapter has rank 16 on
all linear layers. Each merge is a process of its own, whose peak is VmHWM of proc(5). Times are until the files are
synced. PEFT loads the model in float16, and only if the memory holds it one and a half times. Writes
benchmarks/results/export.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, ROOT, facts

FILE = RESULTS / "export.json"
ROUNDS = 2


def main() -> None:
    """Measure, write the result, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--layers", type=int, default=32, help="layers of the model, for less disk")
    parser.add_argument("--folder", default=None, help="where to write; default: the folder for temporary files")
    parser.add_argument("--merge", nargs=4, metavar=("WHO", "BASE", "ADAPTER", "TARGET"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.merge:
        print(json.dumps(_merge(*args.merge)))
        return
    if not args.table:
        found = _measured(args.layers, args.folder)
        made = {**facts("export.py", "torch", "transformers", "peft", "safetensors"), **found}
        FILE.write_text(json.dumps(made, indent=2) + "\n")
    print(_table(json.loads(FILE.read_text())))


def _measured(layers: int, folder: str | None) -> dict[str, Any]:
    from pipeline.models.load import machine_memory

    with tempfile.TemporaryDirectory(prefix="pintune-benchmark-", dir=folder) as scratch:
        base, adapter, target = (Path(scratch) / name for name in ("base", "adapter", "merged"))
        _write(base, adapter, layers)
        size = sum(file.stat().st_size for file in base.glob("*.safetensors"))
        print(f"base  {size / 1e9:.1f} GB", flush=True)
        runs: dict[str, list[dict[str, float]]] = {"copy": [], "Pintune": [], "PEFT": []}
        fits = machine_memory() > 1.5 * size
        for _ in range(ROUNDS):
            for who in ("copy", "Pintune", "PEFT"):
                if who == "PEFT" and not fits:
                    continue
                words = ["--merge", who, str(base), str(adapter), str(target)]
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.export", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE
                )
                runs[who].append(json.loads(done.stdout.splitlines()[-1]))
                print(who, runs[who][-1], flush=True)
                shutil.rmtree(target)
    return {"layers": layers, "bytes": size, "rank": 16, "runs": runs}


def _write(base: Path, adapter: Path, layers: int) -> None:
    """A base model and an adapter of random weights."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    from pipeline.export import checkpoint
    from pipeline.models.random_init import shape

    values = {**shape("mistral-7b-instruct"), "num_hidden_layers": layers}
    config = AutoConfig.for_model(values.pop("model_type"), **values, dtype=torch.float16)
    config.architectures = ["MistralForCausalLM"]
    config.save_pretrained(base)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = {name: (tuple(weight.shape), torch.float16) for name, weight in model.state_dict().items()}
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randn(checkpoint.PART, generator=draw).mul_(0.02).half()

    def random(name: str) -> Iterator[torch.Tensor]:
        left = torch.Size(shapes[name][0]).numel()
        while left > 0:  # the same numbers in each part, turned: drawing seven thousand million takes minutes
            part = drawn.roll(left % 1009)[: min(left, len(drawn))]
            left -= len(part)
            yield part

    checkpoint.write(base, shapes, random)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(model, lora, low_cpu_mem_usage=True)
    lora.base_model_name_or_path = str(base)
    tensors = {name: 0.02 * torch.randn(each.shape) for name, each in get_peft_model_state_dict(tuned).items()}
    lora.target_modules = sorted(lora.target_modules or ())
    lora.inference_mode = True
    lora.save_pretrained(adapter)
    save_file(tensors, adapter / "adapter_model.safetensors")


def _merge(who: str, base: str, adapter: str, target: str) -> dict[str, float]:
    """One merge or copy: its seconds, those of all processors, its peak of memory and that after imports, in bytes."""
    import pipeline.export.merge as merges
    from pipeline.export import adapter as adapters
    from pipeline.files import fsync_tree

    imported = _memory("VmRSS")
    Path(target).mkdir()
    started, used = time.monotonic(), time.process_time()
    if who == "copy":
        for file in Path(base).glob("*.safetensors"):
            shutil.copyfile(file, Path(target) / file.name)
    elif who == "Pintune":
        read = adapters.read(Path(base), Path(adapter))
        merges.merge(merges.plan(Path(base), read, "float16"), read, Path(target))
    else:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float16)
        merged = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
        merged.save_pretrained(target, max_shard_size="5GB")
    fsync_tree(Path(target))
    seconds, used = round(time.monotonic() - started, 2), round(time.process_time() - used, 2)
    return {"seconds": seconds, "processor_seconds": used, "peak_bytes": _memory("VmHWM"), "imported_bytes": imported}


def _memory(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def _table(found: dict[str, Any]) -> str:
    lines = ["| | seconds | processor seconds | peak memory, MB |", "|---|---:|---:|---:|"]
    for who, runs in found["runs"].items():
        if runs:
            best = min(runs, key=lambda run: float(run["seconds"]))
            used, peak = best["processor_seconds"], max(run["peak_bytes"] for run in runs) / 1e6
            lines.append(f"| {who} | {best['seconds']:.1f} | {used:.1f} | {peak:,.0f} |")
    imported = found["runs"]["Pintune"][0]["imported_bytes"] / 1e6
    size = f"{found['layers']} layers, {found['bytes'] / 1e9:.1f} GB in float16"
    return "\n".join([*lines, "", f"{size}; {imported:,.0f} MB are imports"])


if __name__ == "__main__":
    main()
