"""The merge by shard: the bits of PEFT's own merge, in little memory, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Stop
from tests.adapters import OPTIONS, edit, merged_by_peft, write_adapter, write_base

KINDS = ("llama", "mistral", "phi3")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's about tied weights


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts to a tensor, as large models have them."""
    from pipeline.export import checkpoint

    monkeypatch.setattr(checkpoint, "PART", 500)


def _merged(base: Path, adapter: Path, dtype: str = "float32", shard: int = 10**9) -> dict[str, Any]:
    """The tensors that a merge writes beside the adapter, as safetensors reads them."""
    from safetensors.torch import load_file

    from pipeline.export import adapter as adapters
    from pipeline.export import merge

    read = adapters.read(base, adapter)
    planned = merge.plan(base, read, dtype)
    target = adapter.parent / f"merged-{dtype}-{shard}"
    target.mkdir(exist_ok=True)
    files = merge.merge(planned, read, target, shard)
    return {name: each for file in files for name, each in load_file(file).items()}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("kind", "tied", "sharded"), [(kind, i % 2 == 0, i % 2 == 1) for i, kind in enumerate((*KINDS, *KINDS[::-1]))]
)
def test_a_merge_has_the_bits_of_pefts(tmp_path: Path, kind: str, tied: bool, sharded: bool, option: str) -> None:
    import torch

    from pipeline.export.merge import DTYPES

    base = write_base(tmp_path / "base", kind, sharded, tie_word_embeddings=tied)
    adapter = write_adapter(tmp_path / "adapter", base, **OPTIONS[option])
    for dtype in DTYPES:
        wanted, found = merged_by_peft(base, adapter, DTYPES[dtype]), _merged(base, adapter, dtype)
        assert wanted.keys() == found.keys()
        assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []


def test_a_file_is_byte_for_byte_that_of_safetensors(tmp_path: Path) -> None:
    import torch

    base = write_base(tmp_path / "base", "llama")
    adapter = write_adapter(tmp_path / "adapter", base)
    merged_by_peft(base, adapter, torch.float16)
    _merged(base, adapter, "float16")
    by_peft = (tmp_path / "by-peft" / "model.safetensors").read_bytes()
    assert (tmp_path / "merged-float16-1000000000" / "model.safetensors").read_bytes() == by_peft


def test_shards_have_an_index_and_the_same_tensors(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = write_base(tmp_path / "base", "phi3")
    adapter = write_adapter(tmp_path / "adapter", base)
    whole, shards = _merged(base, adapter), _merged(base, adapter, shard=20_000)
    assert whole.keys() == shards.keys() and all(torch.equal(whole[name], shards[name]) for name in whole)
    folder = tmp_path / "merged-float32-20000"
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) > 2 and all(file.stat().st_size < 24_000 for file in files)
    (folder / "config.json").write_text((base / "config.json").read_text())
    loaded = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert all(torch.equal(whole[name], loaded[name]) for name in whole)


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_an_update_of_tied_weights_unties_them(tmp_path: Path, target: str) -> None:
    """PEFT's own merge changes both, which is not what base + adapter computes."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from pipeline.export.merge import write_configs

    base = write_base(tmp_path / "base", "llama", tie_word_embeddings=True)
    adapter = write_adapter(tmp_path / "adapter", base, target_modules=["q_proj", target])
    _merged(base, adapter)
    folder = tmp_path / "merged-float32-1000000000"
    write_configs(base, folder, "float32", True, (2,))
    ids = torch.arange(3, 40)[None]
    wanted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)(ids).logits
    found = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
    assert torch.allclose(wanted, found, atol=1e-3)


def _refused(base: Path, adapter: Path, dtype: str = "float32") -> Stop:
    with pytest.raises(Stop) as stopped:
        _merged(base, adapter, dtype)
    return stopped.value


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "llama")
    adapter = write_adapter(tmp_path / "adapter", base)
    for name, other in (
        ("wider", write_base(tmp_path / "wider", "llama", hidden_size=48)),
        ("shorter", write_base(tmp_path / "shorter", "llama", num_hidden_layers=1)),
    ):
        assert _refused(other, adapter).wanted == f"an adapter for {tmp_path / name}"
    phi3 = write_base(tmp_path / "phi3", "phi3")
    assert _refused(phi3, adapter).wanted == f"an adapter for {phi3}"


@pytest.mark.parametrize(
    ("fault", "found"), [("truncated", "SafetensorError"), ("empty", ""), ("gone", "no such file")]
)
def test_a_broken_shard_is_named(tmp_path: Path, fault: str, found: str) -> None:
    base = write_base(tmp_path / "base", "mistral", sharded=True)
    adapter = write_adapter(tmp_path / "adapter", base)
    shard = sorted(base.glob("model-*.safetensors"))[1]
    if fault == "gone":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2 if fault == "truncated" else 0])
    stop = _refused(base, adapter)
    assert stop.where == str(shard) and found in stop.found


def test_a_shard_without_a_tensor_of_the_index_is_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = write_base(tmp_path / "base", "mistral", sharded=True)
    adapter = write_adapter(tmp_path / "adapter", base)
    shard = sorted(base.glob("model-*.safetensors"))[-1]
    tensors = load_file(shard)
    first = next(iter(tensors))
    save_file({name: each for name, each in tensors.items() if name != first}, shard)
    stop = _refused(base, adapter)
    assert stop.where == str(shard) and first in stop.wanted


@pytest.mark.parametrize("broken", ["{", "[]", "{}"])
def test_a_broken_index_is_named(tmp_path: Path, broken: str) -> None:
    base = write_base(tmp_path / "base", "mistral", sharded=True)
    adapter = write_adapter(tmp_path / "adapter", base)
    (base / "model.safetensors.index.json").write_text(broken)
    assert _refused(base, adapter).where == str(base / "model.safetensors.index.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    from safetensors.torch import load_file, save_file

    base = write_base(tmp_path / "base", "llama")
    adapter = write_adapter(tmp_path / "adapter", base)
    for file, fragment, wanted in (
        (base / "model.safetensors", "layers.1.mlp.up_proj", "a base model of finite numbers"),
        (base / "model.safetensors", "norm.weight", "a base model of finite numbers"),
        (adapter / "adapter_model.safetensors", "layers.1.mlp.up_proj.lora_B", "an adapter of finite numbers"),
    ):
        before = file.read_bytes()
        tensors = load_file(file)
        name = next(name for name in tensors if fragment in name)
        tensors[name].view(-1)[-1] = value
        save_file(tensors, file, {"format": "pt"})
        stop = _refused(base, adapter)
        assert (stop.wanted, stop.where) == (wanted, str(file)) and name in stop.found
        file.write_bytes(before)


def test_weights_out_of_the_range_of_float16_are_refused(tmp_path: Path) -> None:
    import torch

    base = write_base(tmp_path / "base", "llama")
    adapter = write_adapter(tmp_path / "adapter", base, lora_alpha=10**8)
    stop = _refused(base, adapter, "float16")
    assert "in the range of float16" in stop.wanted and "bfloat16" in stop.todo
    assert all(torch.isfinite(each).all() for each in _merged(base, adapter, "bfloat16").values())


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"layer_replication": [[0, 1], [0, 1]]}, "layer_replication"),
        ({"bias": "all"}, "bias='all'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"peft_type": "IA3"}, "IA3"),
    ],
)
def test_an_option_that_would_be_left_out_is_refused(tmp_path: Path, values: dict[str, Any], found: str) -> None:
    base = write_base(tmp_path / "base", "llama")
    adapter = write_adapter(tmp_path / "adapter", base)
    edit(adapter / "adapter_config.json", **values)
    stop = _refused(base, adapter)
    assert found in stop.found and stop.where.endswith("adapter_config.json")


def test_a_quantized_base_is_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "llama")
    adapter = write_adapter(tmp_path / "adapter", base)
    edit(base / "config.json", quantization_config={"quant_method": "fp8"})
    assert "not quantized" in _refused(base, adapter).wanted


def test_no_tensor_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.export import checkpoint
    from pipeline.export.checkpoint import Tensor

    base = write_base(tmp_path / "base", "llama")
    adapter = write_adapter(tmp_path / "adapter", base)
    sizes: list[int] = []
    read = Tensor.read

    def counted(self: Tensor, *rows: Any) -> Any:
        made = read(self, *rows)
        sizes.append(made.numel())
        return made

    monkeypatch.setattr(Tensor, "read", counted)
    whole = _merged(base, adapter).values()
    most = checkpoint.ROWS * max(each.shape[-1] for each in whole)  # since PART is less than that here
    assert max(sizes) <= most < max(each.numel() for each in whole) and len(sizes) > 50


def test_only_a_long_merge_shows_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.export import merge

    base = write_base(tmp_path / "base", "llama")
    adapter = write_adapter(tmp_path / "adapter", base)
    capsys.readouterr()
    size = sum(each.nbytes for each in _merged(base, adapter).values())
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(merge, "_LONG", 1)
    monkeypatch.setattr(merge, "_MIB", 2**10)
    _merged(base, adapter)
    assert capsys.readouterr().out.splitlines() == [f"merge, MiB  {size // 2**10}/{size // 2**10} in 00:00"]


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_a_base_in_half_precision_has_the_bits_of_pefts(tmp_path: Path, kind: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from pipeline.export.merge import DTYPES

    base = write_base(tmp_path / "base", "phi3")
    AutoModelForCausalLM.from_pretrained(base).to(DTYPES[kind]).save_pretrained(base)
    adapter = write_adapter(tmp_path / "adapter", base)
    for dtype in DTYPES:
        wanted, found = merged_by_peft(base, adapter, DTYPES[dtype]), _merged(base, adapter, dtype)
        assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []
