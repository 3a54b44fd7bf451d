"""What a run is made of: plain values with a unit and a meaning each. A recipe file holds only what differs from these defaults."""

from __future__ import annotations

import dataclasses
import difflib
import shlex
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomllib

from pipeline.errors import Stop
from pipeline.tatqa.language import LANGUAGES
from pipeline.tatqa.table import RENDERINGS
from pipeline.tatqa.target import TARGETS

SHIPPED = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Model:
    """[model]"""

    source: str = "smollm2-135m-instruct"
    """Name of the base model: one that fetch knows, or any Transformers folder (safetensors) under models/."""
    random: bool = False
    """Build its architecture with random weights instead, and SmolLM2's tokenizer: for tests and throughput where the weights cannot be had."""
    width: int = 0
    """Hidden size of a model with random weights, heads and feed-forward part in proportion; 0: the architecture's own."""


@dataclass(frozen=True)
class Data:
    """[data]"""

    source: str = "sample"
    """"sample" (made up, embedded), "tatqa" (the real one, fetched at a pinned commit), or a file: contexts in TAT-QA's raw schema,
    or JSON lines of instruction, input and output."""
    language: str = "zh"
    """Language of instruction, rules and scale words: "zh" as the seed project has them, or "en"."""
    table: str = "pipe"
    """How tables are written: "pipe" (bars between cells, the fewest tokens), "markdown", "csv" or "html"."""
    target: str = "answer"
    """What is written for a question: "answer" (with its scale), or "equation" (type, evidence, equation and scale, from which the answer
    is worked out): more tokens, and the sums come out right."""
    train: str = ""
    """Split to train on; empty: the source's own ("train")."""
    evaluation: str = ""
    """Split to evaluate on; empty: the source's own ("dev" of tatqa, "heldout" of all others)."""
    train_contexts: int = 0
    """Contexts to train on, from the start of the split; 0: all."""
    evaluation_contexts: int = 0
    """Contexts to evaluate on, from the start of the split; 0: all."""


@dataclass(frozen=True)
class Lora:
    """[lora] (Hu et al., 2021, arXiv:2106.09685)"""

    r: int = 16
    """Rank of the update."""
    alpha: int = 32
    """Scale of the update: it is multiplied by alpha / r."""
    dropout: float = 0.0
    """Chance that an input of the update is zeroed while training, 0 to 1."""
    targets: tuple[str, ...] = ("all-linear",)
    """Linear layers that get an update, by the end of their name; "all-linear": each but the output head."""


@dataclass(frozen=True)
class Training:
    """[training]"""

    seed: int = 42
    """Of the adapter's first weights, the order of the contexts and dropout."""
    precision: str = "auto"
    """"fp32", "fp16" (weights in fp16, adapter in fp32, scaled loss), "bf16" (the same with the range of fp32 and less precision; GPUs since
    A100) or "auto": fp16 on a GPU, fp32 on a CPU."""
    gradient_checkpointing: bool = False
    """Keep only each layer's input, and compute the rest anew for the backward pass: a quarter slower, a fraction of the memory."""
    fsdp: bool = False
    """Spread the model over the processes that train it (FSDP2), each of which holds a part: for one that does not fit one GPU."""
    packing: str = "shared"
    """"shared": a context is read once for all its questions; "none": once for each (the reference, same mathematics)."""
    row_tokens: int = 0
    """Tokens up to which contexts of a batch are laid into one row ("shared"), at least max_length; each row is a pass of its own, so that this
    bounds the memory. 0: as many as the longest context of the batch has, all rows in one pass."""
    epochs: float = 3.0
    """Passes over the training contexts."""
    batch_contexts: int = 4
    """Contexts in one batch, each with all its questions."""
    accumulation: int = 1
    """Batches to one optimizer step."""
    learning_rate: float = 2e-4
    """Peak of the AdamW learning rate."""
    scheduler: str = "cosine"
    """Shape of the learning rate over the run, by Transformers' names ("cosine", "linear", "constant_with_warmup")."""
    warmup_steps: int = 10
    """Optimizer steps over which the learning rate rises to its peak."""
    weight_decay: float = 0.0
    """AdamW's decay of the adapter's weights per step, as a part of the learning rate."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    max_length: int = 2048
    """Tokens of one question with its context and answer; a longer context is cut (pipeline/tatqa/truncate.py says how) and counted."""
    heldout_contexts: int = 0
    """Contexts from the end of the training split that are not trained on; the adapter with the lowest loss on them is the one kept. 0: none."""
    heldout_steps: int = 25
    """Optimizer steps between measures of that loss."""
    early_stopping: int = 0
    """Measures in a row without a lower loss after which training ends; 0: it goes on to its end."""
    checkpoint_steps: int = 25
    """Optimizer steps between checkpoints."""
    checkpoints_kept: int = 2
    """Newest checkpoints kept."""


@dataclass(frozen=True)
class Evaluation:
    """[evaluation]"""

    max_new_tokens: int = 0
    """Tokens at which an answer is cut off; 0: a quarter more than the longest answer that was trained on."""
    batch_questions: int = 24
    """Questions answered at once; those of one context read it once."""


@dataclass(frozen=True)
class Export:
    """[export]"""

    dtype: str = "float16"
    """Precision of the merged weights on disk: "float16", "bfloat16" or "float32". The merge itself is done in float32."""


@dataclass(frozen=True)
class Recipe:
    """A recipe as resolved: file over defaults, overrides over file."""

    name: str
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    lora: Lora = field(default_factory=Lora)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)
    export: Export = field(default_factory=Export)


_CHOICES = {
    "data.language": tuple(LANGUAGES),
    "data.table": tuple(RENDERINGS),
    "data.target": TARGETS,
    "training.precision": ("auto", "fp32", "fp16", "bf16"),
    "training.packing": ("shared", "none"),
    "training.scheduler": ("cosine", "linear", "constant_with_warmup"),
    "export.dtype": ("float16", "bfloat16", "float32"),
}
_AT_LEAST = {
    "model.width": 0,
    "data.train_contexts": 0,
    "data.evaluation_contexts": 0,
    "lora.r": 1,
    "lora.alpha": 1,
    "training.seed": 0,
    "training.row_tokens": 0,
    "training.batch_contexts": 1,
    "training.accumulation": 1,
    "training.warmup_steps": 0,
    "training.max_length": 16,
    "training.heldout_contexts": 0,
    "training.heldout_steps": 1,
    "training.early_stopping": 0,
    "training.checkpoint_steps": 1,
    "training.checkpoints_kept": 1,
    "evaluation.max_new_tokens": 0,
    "evaluation.batch_questions": 1,
}
_ABOVE_ZERO = ("training.epochs", "training.learning_rate", "training.max_grad_norm")


def load(name: str, overrides: typing.Sequence[str] = ()) -> Recipe:
    """The recipe `name` (a shipped one, or a path that ends in .toml) with overrides such as "lora.r=32" applied.

    Raises:
        Stop: no such recipe, not TOML, an unknown section or key, a value of the wrong type or out of its range.
    """
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise Stop(
            f"one of {shipped}, or a path ending in .toml",
            "no such recipe",
            name,
            "pass --recipe NAME with one of these",
        ) from None
    except (OSError, ValueError) as error:
        raise Stop("a recipe in TOML", str(error), str(path), "mend that line of the recipe") from None
    return resolve(path.stem, values, overrides, str(path))


def resolve(
    name: str, values: dict[str, Any], overrides: typing.Sequence[str] = (), where: str = "the recipe"
) -> Recipe:
    """A recipe from nested values, as in TOML or in a manifest, and overrides.

    Raises:
        Stop: as `load`.
    """
    sections = {f.name: f.default_factory for f in dataclasses.fields(Recipe) if f.name != "name"}
    settings: dict[str, tuple[Any, str]] = {}
    for section, body in values.items():
        if section not in sections:
            raise _unknown("section", f"[{section}]", section, list(sections), where)
        if not isinstance(body, dict):
            raise Stop(
                f"a section [{section}]", f"the value {body!r}", where, f"write [{section}] on a line of its own"
            )
        settings.update({f"{section}.{key}": (value, where) for key, value in body.items()})
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise Stop("--set section.key=value", repr(override), "the command line", "for example --set lora.r=32")
        settings[key.strip()] = (_toml_value(text.strip()), f"the command line, --set {override}")
    built: dict[str, Any] = {}
    for section, factory in sections.items():
        cls = typing.cast(type, factory)
        built[section] = cls(**{key.partition(".")[2]: value for key, value in _typed(settings, section, cls)})
    known = [f"{s}.{f.name}" for s, factory in sections.items() for f in dataclasses.fields(typing.cast(type, factory))]
    for key, (_, origin) in settings.items():
        if key not in known:
            raise _unknown("key", key, key, known, origin)
    training: Training = built["training"]
    if 0 < training.row_tokens < training.max_length:
        raise Stop(
            f"training.row_tokens of 0, or at least training.max_length = {training.max_length}",
            str(training.row_tokens),
            where,
            "raise training.row_tokens, or lower training.max_length",
        )
    if training.row_tokens and training.packing != "shared":
        raise Stop(
            'training.packing = "shared", whose rows training.row_tokens bounds',
            f"training.packing = {training.packing}",
            where,
            "--set training.row_tokens=0",
        )
    if built["model"].width and not built["model"].random:
        raise Stop(
            "model.random = true, for a width of one's own",
            f"model.width = {built['model'].width}",
            where,
            "--set model.random=true",
        )
    if training.early_stopping and not training.heldout_contexts:
        raise Stop(
            "training.heldout_contexts, on whose loss early stopping looks",
            "0",
            where,
            "--set training.heldout_contexts=16",
        )
    return Recipe(name=name, **built)


def as_values(recipe: Recipe) -> dict[str, Any]:
    """The nested values that `resolve` takes, every key written out."""
    values = dataclasses.asdict(recipe)
    del values["name"]
    return values


def shaping(recipe: Recipe) -> str:
    """The flags that make `invoke data` write this recipe's rows, whatever the recipe file says now."""
    keys = (
        "model.source",
        "model.random",
        "model.width",
        "data.source",
        "data.language",
        "data.table",
        "data.target",
        "data.train",
        "data.evaluation",
        "training.max_length",
    )
    values = as_values(recipe)
    pairs = ((key, values[key.partition(".")[0]][key.partition(".")[2]]) for key in keys)
    return shlex.join(
        word
        for key, value in pairs
        if value != ""
        for word in ("--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}")
    )


def _typed(settings: dict[str, tuple[Any, str]], section: str, cls: type) -> typing.Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        key = f"{section}.{item.name}"
        if key in settings:
            value, where = settings[key]
            yield key, _check(key, _convert(key, value, hints[item.name], where), where)


def _convert(key: str, value: Any, kind: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == tuple[str, ...]:
        listed = [value] if isinstance(value, str) else value
        if isinstance(listed, list | tuple) and listed and all(isinstance(item, str) for item in listed):
            return tuple(listed)
        wanted = "a list of strings"
    else:
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        wanted = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}[kind]
    raise Stop(f"{key} as {wanted}", repr(value), where, f"write {key} as {wanted}")


def _check(key: str, value: Any, where: str) -> Any:
    wanted = ""
    if key in _CHOICES and value not in _CHOICES[key]:
        wanted = "one of " + ", ".join(_CHOICES[key])
    elif key in _AT_LEAST and value < _AT_LEAST[key]:
        wanted = f"at least {_AT_LEAST[key]}"
    elif key in _ABOVE_ZERO and not 0 < value < float("inf"):
        wanted = "a number above 0"
    elif key == "training.seed" and value >= 2**32:
        wanted = "below 2**32"
    elif key == "model.source" and (not value or "/" in value or value.startswith(".")):
        wanted = "the name of a folder under models/"
    elif key == "lora.dropout" and not 0 <= value < 1:
        wanted = "at least 0 and below 1"
    elif key == "training.weight_decay" and not value >= 0:
        wanted = "at least 0"
    if wanted:
        raise Stop(f"{key}: {wanted}", repr(value), where, f"change {key}")
    return value


def _unknown(what: str, shown: str, name: str, known: list[str], where: str) -> Stop:
    near = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(key for key in known if key.partition(".")[0] == name.partition(".")[0]) or ", ".join(
        sorted({k.partition(".")[0] for k in known})
    )
    return Stop(f"a known {what}: {listed}", shown, where, f"did you mean {near[0]}?" if near else f"remove {shown}")


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word: --set data.source=tatqa
