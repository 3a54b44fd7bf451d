"""Formatting raw splits into JSON lines, and reading them back.

    python -m pipeline format       # data/SOURCE/LANGUAGE-TABLE-TARGET-MARK/{train,heldout}.jsonl

Beside them stand report.json (what was counted, and what it all was made of), and dataset_info.json for LLaMA Factory. Read and
written as streams: memory does not grow with the data.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from pipeline import job
from pipeline.data import llama_factory, statistics
from pipeline.data.fetch import check_raw
from pipeline.data.leakage import Seen
from pipeline.data.readers import instruction_rows
from pipeline.data.statistics import Tally
from pipeline.errors import Stop
from pipeline.files import new_folder, sha256, write_json
from pipeline.models import chat_template
from pipeline.progress import Progress
from pipeline.recipe import Recipe
from pipeline.sources import count, source, splits
from pipeline.tatqa import prompt, schema, truncate

_BLOCK = 32  # contexts whose texts are tokenized in one call
_REPORT = "report.json"
_CODE = (Path(__file__), Path(chat_template.__file__), *sorted(Path(schema.__file__).parent.glob("*.py")))

Group = tuple[
    schema.Context | None, list[prompt.Row]
]  # a context with its rows; rows of a caller's own have no context


def style(recipe: Recipe) -> prompt.Style:
    """How a recipe's rows are written."""
    return prompt.Style(recipe.data.language, recipe.data.table, recipe.data.target)


def format_splits(recipe: Recipe, say: Callable[[str], None]) -> None:
    """Write the rows of both splits of a recipe.

    Raises:
        Stop: a raw file or a tokenizer that is missing or broken; no formatted file is changed then.
    """
    talker = chat_template.chat(chat_template.load_tokenizer(job.base(recipe)))
    target, chosen = job.formatted(recipe), splits(recipe)
    for split in chosen:
        check_raw(recipe, split)
    report: dict[str, Any] = {}
    progress = Progress("data", sum(count(job.raw_split(recipe, split)) for split in chosen))
    with new_folder(target) as aside:
        done = 0
        with Seen(aside) as seen:
            for split, training in zip(chosen, (True, False), strict=True):
                tally = Tally()
                with (
                    (aside / f"{split}.jsonl").open("w", encoding="utf-8") as rows,
                    (aside / f"{split}-sharegpt.jsonl").open("w", encoding="utf-8") as chats,
                ):
                    for block in _blocks(_groups(recipe, split, tally, seen)):
                        for group, lengths in zip(block, _lengths(talker, block), strict=True):
                            _write(_fitting(recipe, talker, group, lengths, training, tally), rows, chats, tally)
                        done += len(block)
                        progress.reach(done)
                report[split] = {**tally.as_values(), "rows_sha256": sha256(aside / f"{split}.jsonl")}
        write_json(aside / "dataset_info.json", llama_factory.dataset_info(source(recipe).name, chosen))
        write_json(aside / _REPORT, {"made_of": _made_of(recipe), "splits": report})
    progress.close()
    for split in chosen:
        say(
            f"data   {target / split}.jsonl: {report[split]['contexts']} contexts, {report[split]['questions']} questions"
        )
    say(statistics.table(report, recipe.data.target))
    say(f"data   {target / _REPORT}")


def _blocks(groups: Iterator[Group]) -> Iterator[list[Group]]:
    while block := list(itertools.islice(groups, _BLOCK)):
        yield block


def _groups(recipe: Recipe, split: str, tally: Tally, seen: Seen) -> Iterator[Group]:
    """Contexts with their rows, counted and compared with what came before."""
    path = job.raw_split(recipe, split)
    if path.suffix == ".jsonl":
        for row in instruction_rows.read(path, split):
            tally.contexts += 1
            if (before := seen.text(split, f"{row['instruction']}\n{row['input']}")) is not None:
                (tally.same_questions if before == split else tally.leaks).add(row=row["uid"], also_in=before)
            yield None, [prompt.Row(row, "")]
        return
    for number, context in enumerate(schema.read(path)):
        tally.contexts += 1
        uid_in = seen.uids(split, number, context, str(path))
        copy_in = seen.text(
            split, json.dumps([context.rows, context.notes])
        )  # the table alone says nothing of a small one
        also = seen.table(split, context) or ((copy_in,) if copy_in else (uid_in,) if uid_in else ())
        if also:
            (tally.same_tables if also[0] == split else tally.leaks).add(context=context.uid, also_in=" ".join(also))
        asked: set[str] = set()
        for question in context.questions:
            if (text := " ".join(question.text.split()).casefold()) in asked:
                tally.same_questions.add(context=context.uid, question=question.uid)
            asked.add(text)
        context = prompt.in_plain_characters(context, tally.characters)
        yield context, prompt.rows(context, style(recipe))


def _lengths(talker: chat_template.Chat, groups: list[Group]) -> list[list[tuple[int, int]]]:
    """Tokens of prompt and answer of each row, by group."""
    by_group = [[row.fields for row in rows] for _, rows in groups if rows]
    answers = iter(map(len, talker.answers([row for rows in by_group for row in rows])))
    prompts = iter(talker.prompt_lengths(by_group))
    return [[(prompt, next(answers)) for prompt in (next(prompts) if rows else [])] for _, rows in groups]


def _fitting(
    recipe: Recipe,
    talker: chat_template.Chat,
    group: Group,
    lengths: list[tuple[int, int]],
    training: bool,
    tally: Tally,
) -> list[tuple[prompt.Row, int, int]]:
    """The rows with their lengths, of a context cut to fit where it does not; a row that is too long all the same is counted as such."""
    context, rows = group
    made = style(recipe)

    def fits(one: tuple[int, int]) -> bool:
        return one[0] + (one[1] if training else 0) <= recipe.training.max_length

    def measured(shorter: schema.Context) -> list[tuple[int, int]]:
        return _lengths(talker, [(shorter, prompt.rows(shorter, made))])[0]

    if context is not None and not all(map(fits, lengths)):
        # a question that will never fit costs the others nothing
        greatest = truncate.cut(context, lambda shorter: False, training)
        chosen = [i for i, one in enumerate(measured(greatest.context)) if fits(one)] if greatest else []
        if not all(fits(lengths[i]) for i in chosen):
            cut = truncate.cut(context, lambda shorter: all(fits(measured(shorter)[i]) for i in chosen), training)
            assert cut is not None  # as the greatest one was
            tally.cut.update(contexts=1, notes=cut.notes, rows=cut.rows)
            rows, lengths = prompt.rows(cut.context, made), measured(cut.context)
    for row, one in zip(rows, lengths, strict=True):
        if not fits(one):
            tally.too_long.add(question=row.fields["uid"], tokens=str(sum(one)))
    return [(row, *one) for row, one in zip(rows, lengths, strict=True)]


def _write(measured: list[tuple[prompt.Row, int, int]], rows: TextIO, chats: TextIO, tally: Tally) -> None:
    for row, prompt_length, answer_length in measured:
        rows.write(json.dumps(row.fields, ensure_ascii=False) + "\n")
        chats.write(json.dumps(llama_factory.sharegpt(row.fields), ensure_ascii=False) + "\n")
        tally.take(row.fields, prompt_length, answer_length)
        if row.plain_because:
            tally.plain_answers.add(question=row.fields["uid"], because=row.plain_because)
        if row.lost:
            tally.lost.add(question=row.fields["uid"], because=row.lost)


def report(recipe: Recipe) -> dict[str, Any]:
    """What formatting counted of each split; empty where it has not run."""
    try:
        read: dict[str, Any] = json.loads((job.formatted(recipe) / _REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read


def answer_limit(recipe: Recipe) -> int:
    """Tokens at which an answer is cut off."""
    if recipe.evaluation.max_new_tokens:
        return recipe.evaluation.max_new_tokens
    try:
        longest = int(report(recipe)["splits"][splits(recipe)[0]]["answer_tokens"]["100"])
    except KeyError:  # not formatted: there is nothing to go by but what TAT-QA's take
        longest = {"answer": 60, "equation": 110}[recipe.data.target]
    return longest + longest // 4 + 1


def unformatted(recipe: Recipe) -> list[str]:
    """The splits whose rows are not there, or were made of another raw file or tokenizer, or by other code."""
    made = report(recipe)
    now = _made_of(recipe)
    return [split for split in splits(recipe) if made.get("made_of") != now or not _as_written(recipe, split, made)]


def _as_written(recipe: Recipe, split: str, made: dict[str, Any]) -> bool:
    path = job.formatted_split(recipe, split)
    return path.exists() and bool(made["splits"][split]["rows_sha256"] == sha256(path))


def _made_of(recipe: Recipe) -> dict[str, str]:
    raws = {f"raw {split}": job.raw_split(recipe, split) for split in splits(recipe)}
    tokenizer = {
        name: job.base(recipe) / name for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    }
    hashes = {name: sha256(path) if path.exists() else "missing" for name, path in {**raws, **tokenizer}.items()}
    return {**hashes, "code": " ".join(sha256(file)[:12] for file in _CODE)}


def read_rows(path: Path, contexts: int = 0) -> list[dict[str, Any]]:
    """The rows of the first `contexts` contexts (0: all), in file order.

    Raises:
        Stop: not there, or not JSON lines.
    """
    import datasets  # heavy, and only for this

    try:
        size = path.stat().st_size
    except OSError:
        raise Stop("formatted rows", "no such file", str(path), "invoke data") from None
    if not size:
        raise Stop(
            "questions",
            "none in this split",
            str(path),
            "take another split or file: data.train, data.evaluation, data.source",
        )
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        # as lines of text: its reader of JSON takes "2019-12-01" for a time
        lines = datasets.load_dataset("text", data_files=str(path), split="train", cache_dir=cache)
        try:
            rows = [json.loads(line) for line in lines["text"]]
        except ValueError as error:
            raise Stop("JSON lines made by invoke data", str(error), str(path), "invoke data") from None
    if not contexts:
        return rows
    chosen = set(list(dict.fromkeys(row["context"] for row in rows))[:contexts])
    return [row for row in rows if row["context"] in chosen]
