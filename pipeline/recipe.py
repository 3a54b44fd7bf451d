"""What makes a run: plain values, each with unit, meaning and bounds. A recipe file holds what differs from them."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomllib
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from pipeline.errors import Stop
from pipeline.recipe_errors import refused, unknown

SHIPPED = Path(__file__).parent / "recipes"

_STRICT = ConfigDict(strict=True, extra="forbid")  # no "8" for 8, no true for 1

Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=_STRICT)
class Model:
    """[model]"""

    source: Annotated[str, Field(pattern=r"^[^./][^/]*$")] = "smollm2-135m-instruct"
    """Name of the base model: one that fetch knows, or any Transformers folder (safetensors) under models/."""
    random: bool = False
    """Build the architecture with random weights and SmolLM2's tokenizer instead of fetching the weights: for tests and
    throughput."""
    width: Count = 0
    """Hidden size of a model with random weights; heads and MLP shrink in proportion. 0: the architecture's own."""


@dataclass(frozen=True, config=_STRICT)
class Data:
    """[data]"""

    source: str = "sample"
    """"sample" and "sample-tools" (made up, embedded), "tatqa" (the real one, fetched at a pinned commit), or the path
    of a file or a folder: rows or contexts in any of the forms of pipeline/data/readers."""
    language: Literal["zh", "en"] = "zh"
    """Language of instruction, rules and scale words; the seed project's is "zh"."""
    table: Literal["pipe", "markdown", "csv", "html", "headings"] = "pipe"
    """How tables are rendered; "pipe" (bars between cells) takes the fewest tokens. With "headings" each cell has its
    row's label and its column's heading before it: more tokens, and the right column is easier to find."""
    target: Literal["answer", "equation"] = "equation"
    """What the model writes: "equation" (type, evidence, equation and scale, from which the answer is computed), or
    "answer" (the answer with its scale): fewer tokens, and a small model gets no sums right."""
    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    """Columns of a file that have other names, such as {instruction = "question", output = "answer"}."""
    reasoning: Literal["train", "mask"] = "train"
    """Reasoning traces of a file's rows: "train" writes them before the answer and trains them, "mask" trains the
    answer after them alone."""
    train: str = ""
    """Split to train on; empty: the source's own ("train")."""
    evaluation: str = ""
    """Split to evaluate on; empty: the source's own ("dev" of tatqa, "heldout" of all others)."""
    train_contexts: Count = 0
    """Contexts to train on, from the start of the split; 0: all."""
    evaluation_contexts: Count = 0
    """Contexts to evaluate on, from the start of the split; 0: all."""


@dataclass(frozen=True, config=_STRICT)
class Lora:
    """[lora] (Hu et al., 2021, arXiv:2106.09685)"""

    r: AtLeastOne = 16
    """Rank of the update."""
    alpha: AtLeastOne = 32
    """Scale of the update: it is multiplied by alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that an input of the update is zeroed during training."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("all-linear",)
    """Linear layers that get an update, by the end of their name; "all-linear": every one but the output head."""
    rslora: bool = False
    """Multiply the update by alpha / sqrt(r) instead, so that a higher rank learns more (rsLoRA, arXiv:2312.03732)."""
    dora: bool = False
    """Train the length of each row of a weight beside its update: for small ranks; each step takes longer (DoRA,
    arXiv:2402.09353)."""
    plus_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    """Learning rate of the update's B relative to that of its A (LoRA+, arXiv:2402.12354, which takes 16)."""
    rank_pattern: dict[str, AtLeastOne] = dataclasses.field(default_factory=dict)
    """Ranks that differ from r, by the end of a layer's name, such as {down_proj = 32}."""
    alpha_pattern: dict[str, AtLeastOne] = dataclasses.field(default_factory=dict)
    """Alphas that differ from alpha, likewise."""
    modules_to_save: tuple[str, ...] = ()
    """Modules that are trained whole and saved with the adapter, by the end of their name, such as lm_head; in fp32."""


@dataclass(frozen=True, config=_STRICT)
class Training:
    """[training]"""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of the adapter's initial weights, the order of the contexts and dropout."""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    """"fp32", "fp16" (weights in fp16, adapter in fp32, loss scaling), "bf16" (the range of fp32 with less
    precision; GPUs since A100) or "auto": fp16 on a GPU, fp32 on a CPU."""
    gradient_checkpointing: bool = False
    """Keep only each layer's input and recompute the rest in the backward pass: a quarter slower, less memory."""
    fsdp: bool = False
    """Shard the model over the ranks (FSDP2): for a model that does not fit one GPU."""
    packing: Literal["shared", "none"] = "shared"
    """"shared": a context is read once for all its questions; "none": once for each (the reference)."""
    row_tokens: Count = 0
    """Tokens of one row, into which several contexts of a batch are packed ("shared"), at least max_length. Each row
    is a forward pass of its own, so this bounds the memory. 0: as many as the longest context of the batch, all rows
    in one pass."""
    epochs: AboveZero = 3.0
    """Passes over the training contexts."""
    batch_contexts: AtLeastOne = 4
    """Contexts in one batch, each with all its questions."""
    accumulation: AtLeastOne = 1
    """Batches per optimizer step."""
    learning_rate: AboveZero = 2e-4
    """Peak of the AdamW learning rate."""
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    """Shape of the learning rate over the run, by Transformers' names."""
    warmup_steps: Count = 10
    """Optimizer steps over which the learning rate rises to its peak."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """AdamW's decay of the adapter's weights per step, relative to the learning rate."""
    max_grad_norm: AboveZero = 1.0
    """Gradients are clipped to this norm."""
    max_length: Annotated[int, Field(ge=16)] = 2048
    """Tokens of one question with its context and answer; a longer context is truncated (pipeline/tatqa/truncate.py
    says how) and counted."""
    heldout_contexts: Count = 0
    """Contexts from the end of the training split that become the validation split; the best adapter on them is kept.
    0: none."""
    heldout_steps: AtLeastOne = 25
    """Optimizer steps between two measurements on the validation split."""
    heldout_questions: Count = 0
    """Questions of the validation split, from its start, that each measurement also answers, as evaluate does; 0: none,
    only the loss is measured."""
    heldout_metric: Literal["loss", "em"] = "loss"
    """What makes an adapter the best: the lowest "loss", or the highest "em" of heldout_questions, then the loss."""
    early_stopping: Count = 0
    """Patience: measurements in a row without a better adapter after which training ends; 0: never."""
    checkpoint_steps: AtLeastOne = 25
    """Optimizer steps between checkpoints."""
    checkpoints_kept: AtLeastOne = 2
    """Number of newest checkpoints to keep."""
    trackers: tuple[Literal["mlflow", "trackio", "wandb"], ...] = ()
    """Trackers of experiments that get each step's figures too, as files beside the runs; none sends anything."""


@dataclass(frozen=True, config=_STRICT)
class Evaluation:
    """[evaluation]"""

    max_new_tokens: Count = 0
    """Tokens at which an answer is cut off; 0: a quarter more than the longest answer in the training split."""
    batch_questions: AtLeastOne = 24
    """Questions answered at once; those of one context read it once."""


@dataclass(frozen=True, config=_STRICT)
class Export:
    """[export]"""

    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    """Precision of the merged weights on disk. The merge itself is computed in float32."""


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """A recipe as resolved: file over defaults, overrides over file."""

    name: str
    model: Model = dataclasses.field(default_factory=Model)
    data: Data = dataclasses.field(default_factory=Data)
    lora: Lora = dataclasses.field(default_factory=Lora)
    training: Training = dataclasses.field(default_factory=Training)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
    export: Export = dataclasses.field(default_factory=Export)


_SECTIONS: dict[str, Any] = {
    "model": Model,
    "data": Data,
    "lora": Lora,
    "training": Training,
    "evaluation": Evaluation,
    "export": Export,
}
_KEYS = [f"{section}.{each.name}" for section, cls in _SECTIONS.items() for each in dataclasses.fields(cls)]


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe `name` (a shipped one, or a path ending in .toml) with overrides such as "lora.r=32" applied.

    Raises:
        Stop: no such recipe, not TOML, an unknown section or key, a value of the wrong type or out of bounds.
    """
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # with or without a BOM
    except FileNotFoundError:
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        wanted, todo = f"one of {shipped}, or a path ending in .toml", "pass --recipe NAME with one of these"
        raise Stop(wanted, "no such recipe", name, todo) from None
    except (OSError, ValueError) as error:
        raise Stop("a recipe in TOML", str(error), str(path), "fix that line of the recipe") from None
    return resolve(path.stem, values, overrides, str(path))


def resolve(name: str, values: dict[str, Any], overrides: Sequence[str] = (), where: str = "the recipe") -> Recipe:
    """A recipe from nested values, as in TOML or in a manifest, and overrides.

    Raises:
        Stop: as `load`.
    """
    settings = {**_flat(values, where), **_parsed(overrides)}
    built = {section: _section(section, cls, settings) for section, cls in _SECTIONS.items()}
    for key, (_, origin) in settings.items():
        if key not in _KEYS:
            raise unknown("key", key, key, _KEYS, origin)
    resolved = Recipe(name=name, **built)
    _need_consistent(resolved, where)
    return resolved


def as_values(recipe: Recipe) -> dict[str, Any]:
    """The nested values that `resolve` takes, every key written out."""
    values = dataclasses.asdict(recipe)
    del values["name"]
    return values


def formatting_flags(recipe: Recipe) -> str:
    """The flags that make `invoke data` write this recipe's rows, whatever the recipe file says now."""
    keys = ["model.source", "model.random", "model.width", "data.source", "data.language", "data.table", "data.target"]
    keys += ["data.columns", "data.reasoning", "data.train", "data.evaluation", "training.max_length"]
    values = {key: getattr(getattr(recipe, key.partition(".")[0]), key.partition(".")[2]) for key in keys}
    written = {key: _as_toml(value) for key, value in values.items() if value not in ("", {})}
    return shlex.join(word for key, value in written.items() for word in ("--set", f"{key}={value}"))


def _as_toml(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)} = {json.dumps(each, ensure_ascii=False)}" for name, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    return str(value).lower() if isinstance(value, bool) else value


Settings = dict[str, tuple[Any, str]]  # "section.key" -> value, and where it was set


def _flat(values: dict[str, Any], where: str) -> Settings:
    settings: Settings = {}
    for section, body in values.items():
        if section not in _SECTIONS:
            raise unknown("section", f"[{section}]", section, list(_SECTIONS), where)
        if not isinstance(body, dict):
            todo = f"write [{section}] on a line of its own"
            raise Stop(f"a section [{section}]", f"the value {body!r}", where, todo)
        settings.update({f"{section}.{key}": (value, where) for key, value in body.items()})
    return settings


def _parsed(overrides: Sequence[str]) -> Settings:
    settings: Settings = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise Stop("--set section.key=value", repr(override), "the command line", "for example --set lora.r=32")
        try:
            value = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()  # a bare word: --set data.source=tatqa
        settings[key.strip()] = (value, f"the command line, --set {override}")
    return settings


def _section(name: str, cls: Any, settings: Settings) -> Any:
    given = {
        each.name: settings[f"{name}.{each.name}"]
        for each in dataclasses.fields(cls)
        if f"{name}.{each.name}" in settings
    }
    values = {key: value for key, (value, _) in given.items()}
    for key in (
        "targets",
        "modules_to_save",
        "trackers",
    ):  # TOML and JSON have lists, and one name may be written alone
        if isinstance(names := values.get(key), str | list):
            values[key] = (names,) if isinstance(names, str) else tuple(names)
    try:
        return cls(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        value, where = given[key]
        raise refused(
            f"{name}.{key}", typing.get_type_hints(cls, include_extras=True)[key], value, where, first["type"]
        ) from None


def fits(pattern: str, layer: str) -> bool:
    """Whether a key of lora.rank_pattern or alpha_pattern is of a layer, by PEFT's rule (get_pattern_key)."""
    return re.match(rf"(.*\.)?({pattern})$", layer) is not None


def _is_regular(pattern: str) -> bool:
    try:
        re.compile(f"({pattern})")
    except re.error:
        return False
    return True


def _need_consistent(recipe: Recipe, where: str) -> None:
    """Raise Stop for settings that exclude each other."""

    def refuse(broken: object, wanted: str, found: object, todo: str) -> None:
        if broken:
            raise Stop(wanted, str(found), where, todo)

    model, training, lora = recipe.model, recipe.training, recipe.lora
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(lora, key):
            wanted = f"lora.{key} with the end of a layer's name, or a regular expression of it"
            refuse(not _is_regular(pattern), wanted, repr(pattern), f"--set lora.{key}={{}}")
    whole = "lora.modules_to_save" if lora.modules_to_save else "lora.dora" if lora.dora else ""
    wanted = f"training.fsdp = false, since {whole} is not sharded"
    refuse(whole and training.fsdp, wanted, "true", "--set training.fsdp=false")
    tokens, packing, questions = training.row_tokens, training.packing, training.heldout_questions
    wanted = f"training.row_tokens of 0, or at least training.max_length = {training.max_length}"
    todo = "raise training.row_tokens, or lower training.max_length"
    refuse(0 < tokens < training.max_length, wanted, tokens, todo)
    wanted = 'training.packing = "shared", whose rows training.row_tokens bounds'
    refuse(tokens and packing != "shared", wanted, f"training.packing = {packing}", "--set training.row_tokens=0")
    wanted = "model.random = true, since model.width is set"
    refuse(model.width and not model.random, wanted, f"model.width = {model.width}", "--set model.random=true")
    wanted = "training.heldout_contexts above 0, since early_stopping or heldout_questions needs a validation split"
    needs = (training.early_stopping or questions) and not training.heldout_contexts
    refuse(needs, wanted, 0, "--set training.heldout_contexts=16")
    wanted = 'training.heldout_questions above 0, whose answers training.heldout_metric = "em" scores'
    refuse(training.heldout_metric == "em" and not questions, wanted, 0, "--set training.heldout_questions=48")
