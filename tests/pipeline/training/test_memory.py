"""The memory estimate against parameter counts of real models and the measured peak of the quickstart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import job, recipe
from pipeline.data.formatted_rows import answer_limit
from pipeline.errors import Stop
from pipeline.training import memory

ROOT = Path(__file__).resolve().parents[3]
SMOLLM2 = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "vocab_size": 49152,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


def _config(where: Path, source: str, values: dict[str, Any]) -> None:
    path = where / "models" / source / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def _estimate(*positional: Any) -> memory.Estimate | None:
    chosen = job.resolve(recipe.load(*positional))
    return memory.estimate(chosen.recipe, chosen.base_model, answer_limit(chosen))


def _parameters(kind: str) -> tuple[dict[str, Any], int, int]:
    """A small model's config, its parameter count, and that of LoRA r=8 on all its linear layers."""
    import transformers
    from peft import LoraConfig, get_peft_model

    common = {
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
    }
    config = getattr(transformers, f"{kind}Config")(**common)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    count = sum(each.numel() for each in model.parameters())
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    return config.to_dict(), count, sum(each.numel() for each in adapted.parameters() if each.requires_grad)


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Phi3"])
def test_parameter_counts_equal_those_of_the_model(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config, parameters, trained = _parameters(kind)
    _config(tmp_path, "tiny", config)
    estimated = _estimate("quickstart", ["model.source=tiny", "lora.r=8"])
    assert estimated is not None
    assert (estimated["parameters"], estimated["trained"]) == (parameters, trained)
    for precision in ("fp16", "fp32"):
        assert estimated[precision]["total"] == sum(
            size for part, size in estimated[precision].items() if part != "total"
        )
    assert estimated["fp32"]["weights"] == 2 * estimated["fp16"]["weights"] == 4 * parameters


def test_the_estimate_of_the_quickstart_is_near_the_measured_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _config(tmp_path, "smollm2-135m-instruct", SMOLLM2)
    estimated = _estimate("quickstart")
    assert estimated is not None
    measured = json.loads((ROOT / "benchmarks" / "results" / "quickstart-docker.json").read_text())["peak_memory_bytes"]
    # glibc holds on to what was freed: with MALLOC_MMAP_THRESHOLD_=65536 the peak is 2.3 GiB instead of 3.1
    assert 0.7 < estimated["fp32"]["total"] / measured < 1.4


def test_there_is_no_estimate_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _estimate("quickstart") is None


def test_an_unknown_config_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kinds: list[Any] = [
        {"hidden_size": 576},
        {**SMOLLM2, "num_attention_heads": 0},
        {**SMOLLM2, "vocab_size": "many"},
        [],
    ]
    for broken in kinds:
        _config(tmp_path, "smollm2-135m-instruct", broken)
        with pytest.raises(Stop, match=r"config\.json"):
            _estimate("quickstart")


def test_separate_questions_need_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _config(tmp_path, "smollm2-135m-instruct", SMOLLM2)
    shared, alone = (
        _estimate("quickstart", [f"training.packing={packing}", "evaluation.max_new_tokens=32"])
        for packing in ("shared", "none")
    )
    assert shared is not None
    assert alone is not None
    assert alone["fp16"]["activations"] > 3 * shared["fp16"]["activations"]


def test_gradient_checkpointing_and_a_row_budget_need_less_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _config(tmp_path, "smollm2-135m-instruct", SMOLLM2)

    def activations(*words: str) -> int:
        estimated = _estimate("quickstart", [*words, "evaluation.max_new_tokens=32"])
        assert estimated is not None
        return int(estimated["fp16"]["activations"])

    assert activations("training.gradient_checkpointing=true") < activations() / 3
    assert (
        activations("training.batch_contexts=64", "training.row_tokens=4096")
        < activations("training.batch_contexts=64") / 8
    )


def test_a_sharded_model_needs_only_its_shard_on_each_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _config(tmp_path, "smollm2-135m-instruct", SMOLLM2)
    sharded = recipe.load("quickstart", ["training.fsdp=true"])
    available = 400 * 2**20  # SmolLM2's weights in fp32 have 513 MiB
    for chosen, processes in ((sharded, 1), (recipe.load("quickstart"), 2)):
        with pytest.raises(Stop, match=r"training\.fsdp=true --gpus-per-node N"):
            memory.need_memory(chosen, Path("models/smollm2-135m-instruct"), "fp32", available, processes)
    memory.need_memory(sharded, Path("models/smollm2-135m-instruct"), "fp32", available, 2)


@pytest.mark.parametrize(("kind", "dropout"), [("phi3", 0.0), ("mistral", 0.0), ("mistral", 0.05)])
def test_activations_in_half_precision_are_near_the_estimate(kind: str, dropout: float) -> None:
    """What autograd keeps of a layer for the backward pass, in bf16 under autocast, for narrow models."""
    import torch
    from peft import LoraConfig, get_peft_model

    from pipeline.data import packing
    from pipeline.models import norms
    from pipeline.training.loss import give_answer_loss
    from tests.models import random_context, random_model

    batch = packing.collate([random_context(1, 450, [(25, 10)] * 6)], "shared", 1)
    shape = {"hidden_size": 192, "intermediate_size": 512, "num_attention_heads": 6, "num_key_value_heads": 2}

    def kept(layers: int) -> int:
        base = random_model(kind, num_hidden_layers=layers, **shape).to(torch.bfloat16)
        norms.replace_rms_norms(base)
        give_answer_loss(base)
        adapted = get_peft_model(
            base, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=dropout)
        ).train()
        own = {weight.untyped_storage().data_ptr() for weight in adapted.parameters()}
        held: dict[int, torch.UntypedStorage] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                held[storage.data_ptr()] = storage
            return tensor

        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16),
        ):
            adapted(**batch)
        return sum(storage.nbytes() for storage in held.values())

    measured = (kept(3) - kept(1)) / 2 / batch["input_ids"].shape[1]  # bytes per layer and token
    of = memory.Shape({**shape, "model_type": kind, "num_hidden_layers": 1, "vocab_size": 96})
    copies = of.inputs(("all-linear",)) * (2 + (4 if dropout else 0))
    assert 0.85 < (of.kept_per_token * 2 + copies) / measured < 1.15
