"""The gate: it passes what the merge makes of every kind of model and adapter, and names what a broken merge did."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Stop
from tests.adapters import OPTIONS, edit, write_adapter, write_base

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's about tied weights
KINDS = ("llama", "mistral", "phi3")
PROMPTS = [[3, 4, 5, 6, 7], [10, 20, 30, 40, 50, 60, 70]]
LIMIT = 6


class Merged:
    """A base, an adapter, and the folder that a merge of the two has written."""

    def __init__(self, base: Path, adapter: Path, dtype: str) -> None:
        from pipeline.export import adapter as adapters
        from pipeline.export import merge

        self.base, self.adapter, self.dtype = base, adapter, dtype
        self.read = adapters.read(base, adapter)
        self.folder = adapter.parent / "merged"
        self.folder.mkdir()
        merge.merge(merge.plan(base, self.read, dtype), self.read, self.folder)
        merge.copy_files(base, self.folder)
        merge.write_configs(base, self.folder, dtype, self.read.untied, (2,))

    def weights(self) -> tuple[int, int]:
        """What the gate finds in the weights."""
        from pipeline.export import gate

        gate.need_same_files(self.base, self.folder)
        return gate.need_merged(self.base, self.folder, self.read, self.dtype, "merged")

    def answers(self) -> tuple[float, int]:
        """What the gate finds in logits and answers."""
        import torch

        from pipeline.export import gate
        from pipeline.models import load

        model = load.load_base(self.base, torch.float32, "cpu")
        wanted = gate.ask_tuned(model, self.adapter, PROMPTS, (2,), LIMIT)
        found = gate.ask_merged(self.folder, PROMPTS, wanted, torch.float32, LIMIT, "merged")
        return gate.compare(wanted, found, self.dtype, "merged")


def _merged(place: Path, kind: str = "llama", dtype: str = "float32", **options: Any) -> Merged:
    base = write_base(place / "base", kind)
    (base / "tokenizer.json").write_text("{}")
    (base / "chat_template.jinja").write_text("{{ messages }}")
    return Merged(base, write_adapter(place / "adapter", base, **options), dtype)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("kind", "tied", "sharded"), [(kind, i % 2 == 0, i % 2 == 1) for i, kind in enumerate((*KINDS, *KINDS[::-1]))]
)
def test_every_kind_of_merge_passes(tmp_path: Path, kind: str, tied: bool, sharded: bool, option: str) -> None:
    base = write_base(tmp_path / "base", kind, sharded, tie_word_embeddings=tied)
    made = Merged(base, write_adapter(tmp_path / "adapter", base, **OPTIONS[option]), "float32")
    changed, small = made.weights()
    assert changed >= len(made.read.updates) > 0 and small == 0
    difference, ties = made.answers()
    assert difference < 1e-2 and ties == 0


def _spoil(folder: Path, fragment: str, change: Callable[[Any], Any]) -> str:
    """Change one tensor of a merged folder; returns its name."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if fragment in name)
    changed = change(tensors[name])
    rest = {key: each for key, each in tensors.items() if key != name}
    save_file(rest if changed is None else {**rest, name: changed.contiguous()}, file, {"format": "pt"})
    return name


def _of_base(made: Merged, fragment: str) -> Any:
    from safetensors.torch import load_file

    return next(each for name, each in load_file(made.base / "model.safetensors").items() if fragment in name)


@pytest.mark.parametrize(
    ("fragment", "change", "wanted"),
    [
        ("layers.1.mlp.up_proj", lambda each: each.index_fill(0, each.new_tensor([3]).long(), float("nan")), "finite"),
        ("layers.1.mlp.up_proj", lambda each: None, "the weights of the base model, and no others"),
        ("layers.1.mlp.up_proj", lambda each: each[1:], "of shape"),
        ("layers.1.mlp.up_proj", lambda each: each.half(), "in torch.float32"),
    ],
)
def test_a_wrong_weight_is_named(tmp_path: Path, fragment: str, change: Callable[[Any], Any], wanted: str) -> None:
    made = _merged(tmp_path)
    name = _spoil(made.folder, fragment, change)
    with pytest.raises(Stop) as stopped:
        made.weights()
    assert wanted in stopped.value.wanted and name in str(stopped.value)


def test_a_target_that_was_left_as_it_was_is_named(tmp_path: Path) -> None:
    made = _merged(tmp_path)
    name = _spoil(made.folder, "layers.1.self_attn.v_proj", lambda each: _of_base(made, "layers.1.self_attn.v_proj"))
    with pytest.raises(Stop, match="every LoRA target merged") as stopped:
        made.weights()
    assert name in stopped.value.found


def test_an_update_too_small_for_the_type_is_counted(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from pipeline.export import adapter as adapters
    from pipeline.export import gate

    made = _merged(tmp_path, dtype="float16")
    file = made.adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    small = {name: each * (1e-9 if "layers.0.mlp.up_proj.lora_B" in name else 1) for name, each in tensors.items()}
    save_file(small, file)
    _spoil(made.folder, "layers.0.mlp.up_proj", lambda each: _of_base(made, "layers.0.mlp.up_proj").half())
    read = adapters.read(made.base, made.adapter)
    assert gate.need_merged(made.base, made.folder, read, "float16", "merged")[1] == 1
    nothing = {name: each * (0 if "lora_B" in name else 1) for name, each in tensors.items()}
    save_file(nothing, file)
    shutil.copyfile(made.base / "model.safetensors", made.folder / "model.safetensors")
    with pytest.raises(Stop, match="a merge that changes the model"):
        gate.need_merged(made.base, made.folder, adapters.read(made.base, made.adapter), "float32", "merged")
    assert torch.isfinite(next(iter(small.values()))).all()


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja"])
def test_another_tokenizer_file_is_named(tmp_path: Path, name: str) -> None:
    made = _merged(tmp_path)
    made.weights()
    (made.folder / name).write_text("{ }")
    with pytest.raises(Stop, match=f"the base's {name}") as stopped:
        made.weights()
    assert stopped.value.where == str(made.folder / name)
    (made.folder / name).unlink()
    with pytest.raises(Stop, match="no such file"):
        made.weights()
    shutil.copyfile(made.base / name, made.folder / name)
    (made.folder / "tokenizer.model").touch()
    with pytest.raises(Stop, match=r"tokenizer\.model"):
        made.weights()


def test_another_scale_of_one_target_is_found_by_the_logits(tmp_path: Path) -> None:
    made = _merged(tmp_path)
    assert made.answers()[0] < 1e-2
    _spoil(made.folder, "layers.1.mlp.up_proj", lambda each: 2 * each - _of_base(made, "layers.1.mlp.up_proj"))
    assert made.weights()
    with pytest.raises(Stop, match=r"logits within 0\.01 of base \+ adapter"):
        made.answers()


def test_another_stop_token_is_found_by_the_answers(tmp_path: Path) -> None:
    made = _merged(tmp_path)
    import torch

    from pipeline.export import gate
    from pipeline.models import load

    model = load.load_base(made.base, torch.float32, "cpu")
    first = gate.ask_tuned(model, made.adapter, PROMPTS, (2,), LIMIT)[0].answer
    edit(made.folder / "generation_config.json", eos_token_id=first[1])
    with pytest.raises(Stop, match=r"the answers of base \+ adapter"):
        made.answers()


def test_a_token_may_differ_only_where_rounding_decides() -> None:
    import torch

    from pipeline.export.gate import Heard, compare

    logits = torch.zeros(4, 9)  # of one position of the prompt, and three tokens
    logits[1, 5], logits[1, 6] = 2.0, 1.9
    own = Heard([4, 5, 7], logits)
    for shift, passes in ((0.06, True), (0.04, False)):
        other = Heard([4, 6, 8], logits + shift * torch.eye(4, 9))
        if passes:
            difference, ties = compare([own], [other], "float16", "merged")
            assert difference == pytest.approx(shift, rel=1e-3) and ties == 1
        else:
            with pytest.raises(Stop, match="the answers of base"):
                compare([own], [other], "float16", "merged")
    with pytest.raises(Stop, match="the answers of base"):  # it goes on where the other stops
        compare([own], [Heard([4, 5, 7, 1], logits + 0.1)], "float16", "merged")
    with pytest.raises(Stop, match="nan apart"):
        compare([own], [Heard([4, 5, 7], logits * float("nan"))], "float16", "merged")


def test_little_memory_is_compared_in_the_type_of_the_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from pipeline.export import gate
    from pipeline.models import load

    base = write_base(tmp_path / "base", "llama")
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(base).half().save_pretrained(base)
    monkeypatch.setattr(load, "machine_memory", lambda: 1000)
    assert gate.computing(base, 200) is torch.float32
    assert gate.computing(base, 300) is torch.float16
