"""GGUF files of tiny models by llama.cpp's converter: as merged/, loaded back by Transformers and by llama.cpp."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Stop
from tests.adapters import edit
from tests.models import random_model

pytestmark = pytest.mark.network

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}"
    "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)
QUESTIONS = ("What was the revenue in 2019?", "total  of 1,234.5 and (67)", "percent 百 ü\n| a | b |")
_TRAIN = """
import sys, sentencepiece
corpus, prefix = sys.argv[1:]
sentencepiece.SentencePieceTrainer.train(input=corpus, model_prefix=prefix, model_type="bpe", vocab_size=420,
    byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=1.0,
    split_digits=True, minloglevel=2, num_threads=1)
model = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
print(__import__("json").dumps([model.IdToPiece(i) for i in range(model.vocab_size())]))
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the converter."""
    from pipeline.data import converter

    folder = tmp_path_factory.mktemp("converter")
    converter.fetch_converter(folder, print)
    return folder


@pytest.fixture(scope="session")
def tokenizer(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece vocabulary with byte fallback, trained on the sample, as tokenizer.model and tokenizer.json."""
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    from pipeline.data import converter
    from pipeline.tatqa import sample

    folder = tmp_path_factory.mktemp("tokenizer")
    texts = [each["text"] for context in sample.contexts("heldout") for each in context["paragraphs"]]
    (folder / "corpus.txt").write_text("\n".join(texts), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(converter.need(models)), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-c", _TRAIN, str(folder / "corpus.txt"), str(folder / "tokenizer")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    pieces: list[str] = json.loads(done.stdout)
    rank = {piece: number for number, piece in enumerate(pieces)}
    pairs = [(whole[:i], whole[i:]) for whole in pieces for i in range(1, len(whole))]
    merges = [pair for pair in pairs if all(part in rank for part in pair) and not pair[0].startswith("<")]
    core = Tokenizer(BPE(vocab=rank, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens([AddedToken(each, special=True, normalized=False) for each in ("<unk>", "<s>", "</s>")])
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False
    )
    made.chat_template = TEMPLATE
    made.save_pretrained(folder)
    return folder


def _run(place: Path, kind: str, tokenizer: Path) -> tuple[Path, dict[str, Any]]:
    """A run with a merged model of a tiny architecture, and its manifest."""
    import shutil

    import torch

    from pipeline.runs import manifest

    run = place / "runs" / "tiny" / "20260101-000000-abcdef"
    vocabulary = {"vocab_size": 420, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    width = 32 if "longrope" in kind else 64  # its factors are for 3 pairs of dimensions
    model = random_model(kind, **vocabulary, hidden_size=width, initializer_range=0.2).half()
    model.generation_config.eos_token_id = 2
    model.save_pretrained(run / "merged")
    for file in tokenizer.iterdir():
        if file.name.startswith(("tokenizer", "chat_template", "special_tokens")) and file.suffix != ".vocab":
            shutil.copyfile(file, run / "merged" / file.name)
    assert all(bool(torch.isfinite(weight).all()) for weight in model.parameters())
    return run, {"recipe_name": "tiny", "export": {}, "outputs": manifest.outputs(run)}


def _prompts(merged: Path) -> list[list[int]]:
    from pipeline.models import chat_template

    return chat_template.load(merged).prompts([{"instruction": each, "input": "", "system": ""} for each in QUESTIONS])


def _answer(model: Any, prompt: list[int]) -> list[int]:
    import torch

    ids = torch.tensor([prompt])
    made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    return [int(each) for each in made[0, len(prompt) :]]


@pytest.mark.parametrize("kind", ["llama", "mistral", "phi3"])
def test_a_file_is_the_merged_model_for_transformers(kind: str, models: Path, tokenizer: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from pipeline.export import gguf

    run, made = _run(tmp_path, kind, tokenizer)
    files = gguf.export(run, made, models, "q8_0", 300)
    assert [file.name for file in files] == ["tiny-F16.gguf", "tiny-Q8_0.gguf"]
    recorded = json.loads((run / "manifest.json").read_text())
    assert {name for name in recorded["outputs"] if name.startswith("gguf/")} == {
        "gguf/Modelfile",
        "gguf/tiny-F16.gguf",
        "gguf/tiny-Q8_0.gguf",
    }
    assert recorded["gguf"]["made_of"] == {"model.safetensors": made["outputs"]["merged/model.safetensors"]}
    merged = AutoModelForCausalLM.from_pretrained(run / "merged", dtype=torch.float32).eval()
    prompts = _prompts(run / "merged")
    for file, most in zip(files, (1e-3, 1.0), strict=True):
        loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
        for prompt in prompts:
            ids = torch.tensor([prompt])
            difference = (loaded(input_ids=ids).logits - merged(input_ids=ids).logits).abs().max()
            assert float(difference.detach()) < most
            if most < 1:
                loaded.generation_config.eos_token_id = merged.generation_config.eos_token_id
                assert _answer(loaded, prompt) == _answer(merged, prompt)
    text = (run / "gguf" / "Modelfile").read_text()
    for line in ("FROM ./tiny-Q8_0.gguf", 'PARAMETER stop "</s>"', "PARAMETER temperature 0", "PARAMETER num_ctx 300"):
        assert f"{line}\n" in text
    assert (
        'TEMPLATE """[INST] {{ if .System }}{{ .System }}\n\n{{ end }}{{ .Prompt }} [/INST]{{ .Response }}"""' in text
    )


def test_a_file_with_another_weight_or_stop_token_is_refused(models: Path, tokenizer: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from pipeline.export import gguf, gguf_check
    from pipeline.models import chat_template

    run, made = _run(tmp_path, "llama", tokenizer)
    (file,) = gguf.export(run, made, models, "", 300)
    merged, template = run / "merged", chat_template.load(run / "merged")
    gguf_check.need_same(merged, file, template, file)
    weights = load_file(merged / "model.safetensors")
    for name in ("model.layers.1.self_attn.k_proj.weight", "model.norm.weight"):
        changed = {key: each.clone() for key, each in weights.items()}
        changed[name].view(-1)[5] += 0.5
        save_file(changed, merged / "model.safetensors", {"format": "pt"})
        with pytest.raises(Stop, match=name.replace(".", r"\.")):
            gguf_check.need_same(merged, file, template, file)
    save_file({key: each for key, each in weights.items() if "layers.1" not in key}, merged / "model.safetensors")
    with pytest.raises(Stop, match=r"blk\.1\.attn_k"):
        gguf_check.need_same(merged, file, template, file)
    save_file(weights, merged / "model.safetensors", {"format": "pt"})
    edit(merged / "generation_config.json", eos_token_id=[2, 300])
    with pytest.raises(Stop, match="stop tokens that llama.cpp knows"):
        gguf_check.need_same(merged, file, chat_template.load(merged), file)
    edit(merged / "config.json", rms_norm_eps=0.5)
    with pytest.raises(Stop, match="layer_norm_rms_epsilon"):
        gguf_check.need_same(merged, file, template, file)


def test_what_the_converter_refuses_is_one_message_and_keeps_the_earlier_file(
    models: Path, tokenizer: Path, tiny_model: Path, tmp_path: Path
) -> None:
    import shutil

    from pipeline.export import gguf
    from pipeline.runs import manifest

    run, made = _run(tmp_path, "llama", tokenizer)
    (file,) = gguf.export(run, made, models, "", 300)
    before = file.read_bytes()
    shutil.rmtree(run / "merged")
    shutil.copytree(tiny_model, run / "merged")  # with a tokenizer that llama.cpp does not know
    with pytest.raises(Stop, match="a merged model of an export|others: "):
        gguf.export(run, made, models, "", 300)
    made["outputs"] = manifest.outputs(run)
    with pytest.raises(Stop, match="pre-tokenizer was not recognized") as stopped:
        gguf.export(run, made, models, "", 300)
    assert stopped.value.wanted == "a model that llama.cpp's converter takes"
    assert file.read_bytes() == before and not list(run.glob(".*"))
    edit(run / "merged" / "config.json", model_type="qwen2")
    made["outputs"] = manifest.outputs(run)
    with pytest.raises(Stop, match="a model of type llama, mistral, phi3"):
        gguf.export(run, made, models, "", 300)


_ASK = """
import json, sys
import llama_cpp
asked = json.load(open(sys.argv[2]))
model = llama_cpp.Llama(sys.argv[1], n_ctx=512, n_threads=1, verbose=False)
print(json.dumps([
    {"ids": model.tokenize(text.encode(), add_bos=False, special=True), "end": model.token_eos(),
     "answer": [token for token, _ in zip(model.generate(ids, temp=0.0), range(12))]}
    for text, ids in asked
]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "mistral", "phi3", "phi3, longrope"])
def test_llama_cpp_reads_the_same_tokens_and_gives_the_same_answer(
    kind: str, models: Path, tokenizer: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from pipeline.export import gguf
    from pipeline.models import chat_template

    built = tmp_path_factory.getbasetemp() / "llama-cpp"
    if not built.exists():  # minutes, unless uv has built it before
        words = ["uv", "pip", "install", "--quiet", "--target", str(built), "llama-cpp-python==0.3.36"]
        subprocess.run([*words, "--python", sys.executable], check=True)
    run, made = _run(tmp_path, kind, tokenizer)
    (file,) = gguf.export(run, made, models, "", 300)
    template = chat_template.load(run / "merged")
    # llama.cpp takes the long factors wherever its context is longer than the original length, Transformers for a
    # longer text
    times = 4 if "longrope" in kind else 1
    rows = [{"instruction": " ".join([each] * times), "input": "", "system": ""} for each in QUESTIONS]
    texts, prompts = [template.prompt(row) for row in rows], template.prompts(rows)
    (tmp_path / "asked.json").write_text(json.dumps(list(zip(texts, prompts, strict=True))))
    words = [sys.executable, "-c", _ASK, str(file), str(tmp_path / "asked.json")]
    environment = {**os.environ, "PYTHONPATH": str(built)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    merged = AutoModelForCausalLM.from_pretrained(run / "merged", dtype=torch.float32).eval()
    for prompt, found in zip(prompts, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert found["ids"] == prompt and found["end"] == 2
        assert found["answer"][: len(wanted := _answer(merged, prompt))] == wanted
