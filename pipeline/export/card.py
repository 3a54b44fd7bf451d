"""README.md of a merged model: a model card as the Hugging Face hub reads it (huggingface_hub, "Model Cards")."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from pipeline.recipe import Recipe, as_values
from pipeline.sources import TATQA_COMMIT


@dataclass(frozen=True)
class _Origin:
    """Where a model or data comes from, and its license by the hub's name."""

    name: str
    license: str
    page: str = ""


_MODELS = {
    "smollm2-135m-instruct": _Origin("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"),
    "phi-4-mini-reasoning": _Origin("microsoft/Phi-4-mini-reasoning", "mit"),
    "mistral-7b-instruct": _Origin("mistralai/Mistral-7B-Instruct-v0.2", "apache-2.0"),
}
_DATA = {
    "tatqa": _Origin("TAT-QA", "cc-by-4.0", f"https://github.com/NExTplusplus/TAT-QA/tree/{TATQA_COMMIT}"),
    "sample": _Origin("Pintune's generated sample", "apache-2.0"),
}
_UNKNOWN = "unknown"


def write(file: Path, recipe: Recipe, manifest: Mapping[str, Any], sha256: str, evaluation: Path) -> None:
    """Write the card.

    Args:
        manifest: the run's, and `sha256` that of its file.
        evaluation: evaluation.json of the run, which may not exist.
    """
    scores = json.loads(evaluation.read_text(encoding="utf-8")) if evaluation.exists() else None
    metadata = _metadata(recipe, manifest, scores)
    content = f"---\n{metadata.to_yaml()}\n---\n\n{_text(recipe, manifest, sha256, scores)}"
    ModelCard(content).save(file)


def _model(recipe: Recipe) -> _Origin:
    """The base model; one in a folder of the user's, or with random weights, has no license that is known here."""
    known = None if recipe.model.random else _MODELS.get(recipe.model.source)
    return known or _Origin(recipe.model.source, _UNKNOWN)


def _data(source: str) -> _Origin:
    return _DATA.get(source) or _Origin(_named(source), _UNKNOWN)


def _metadata(recipe: Recipe, manifest: Mapping[str, Any], scores: Any) -> ModelCardData:
    base = _model(recipe)
    known = base.license != _UNKNOWN
    results = []
    if scores:
        for key, metric, name in (("em", "exact_match", "EM"), ("f1", "f1", "F1")):
            value = round(100 * scores["tuned"]["all"][key], 2)
            results.append(
                EvalResult(
                    task_type="question-answering",
                    dataset_type=Path(scores["split"]).parts[0],
                    dataset_name=scores["split"],
                    metric_type=metric,
                    metric_name=name,
                    metric_value=value,
                )
            )
    return ModelCardData(
        base_model=base.name if known else None,
        base_model_relation="finetune" if known else None,
        license=base.license if known else "other",
        license_name=None if known else "license-of-the-base-model",
        language=recipe.data.language,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["pintune", "lora", "table-question-answering"],
        model_name=manifest["run"] if results else None,
        eval_results=results or None,
    )


def _text(recipe: Recipe, manifest: Mapping[str, Any], sha256: str, scores: Any) -> str:
    base, data = _model(recipe), _data(manifest["inputs"]["data"]["source"])
    splits, training = manifest["inputs"]["data"], manifest["training"]
    name = f"[{data.name}]({data.page})" if data.page else data.name
    rows = [
        ("", "what", "license"),
        ("base model", base.name, base.license),
        ("training data", f"{name}, split {splits['train']['split']}", data.license),
    ]
    parts = [
        f"# {manifest['recipe_name']}",
        f"{base.name}, tuned with LoRA to answer questions about tables and text, and merged. Made by Pintune.",
        "## Licenses",
        _table(rows),
        "A license that is *unknown* is of a model or data that Pintune did not fetch: look it up before you share this"
        " model."
        if _UNKNOWN in (base.license, data.license)
        else "",
        "## Scores",
        _scores(scores),
        "## Recipe",
        "Another trainer made the adapter. What [training] was is unknown." if "unknown" in training else "",
        f"```toml\n{_toml(recipe, left_out='training' if 'unknown' in training else '')}```",
        "## Origin",
        _table(
            [
                ("", "sha256"),
                ("`manifest.json`, the record of the run", f"`{sha256}`"),
                ("the adapter", f"`{training['adapter_sha256']}`"),
            ]
        ),
        "`sha256sum -c SHA256SUMS` checks every file. `manifest.json` names image, code revision, packages, seeds, and"
        " the hashes of data and base model.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _scores(scores: Any) -> str:
    if not scores:
        return "Not evaluated before the export: `invoke evaluate export`."
    rows: list[tuple[str, ...]] = [("", "base", "tuned", "tuned, 95 % interval", "p")]
    for key, name in (("em", "EM"), ("f1", "F1")):
        certain = scores["certainty"][key]
        low, high = (100 * each for each in certain["tuned"])
        base, tuned = (100 * scores[who]["all"][key] for who in ("base", "tuned"))
        rows.append((name, f"{base:.1f}", f"{tuned:.1f}", f"{low:.1f} to {high:.1f}", f"{certain['p']:.4f}"))
    said = f"{scores['questions']} questions on {scores['contexts']} contexts of {scores['split']}, greedy decoding."
    lines = [_table(rows), said]
    if leaks := scores["leakage"]:
        lines.append(f"The training split has {leaks} of these contexts or rows too: the scores may be too high.")
    return "\n\n".join(lines)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in Markdown, the first one as the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def _toml(recipe: Recipe, left_out: str = "") -> str:
    """A recipe file with every key, but for those of the section `left_out`."""
    values = as_values(recipe)
    values["data"]["source"] = _named(recipe.data.source)
    sections = [
        "\n".join([f"[{name}]", *(f"{key} = {_value(value)}" for key, value in body.items())])
        for name, body in values.items()
        if name != left_out
    ]
    return "\n\n".join(sections) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {_value(each)}' for key, each in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def _named(source: str) -> str:
    """A source without the path on this machine."""
    return source if source in _DATA else Path(source).name
