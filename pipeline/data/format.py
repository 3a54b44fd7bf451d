"""Format raw splits into JSON lines of instruction, input and output.

    python -m pipeline format       # data/SOURCE/LANGUAGE-TABLE-TARGET-MARK/{train,heldout}.jsonl

The folder also gets report.json (what was counted, and what the rows were made of) and dataset_info.json for LLaMA
Factory. Everything is read and written as a stream, so memory does not grow with the data.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from pipeline.data import check, formatted_rows, llama_factory, readers, statistics
from pipeline.data.leakage import LeakageIndex
from pipeline.data.readers import conversation
from pipeline.data.statistics import Tally
from pipeline.files import atomic_folder, sha256, write_json
from pipeline.job import Job, Split
from pipeline.models import chat_template, reasoning
from pipeline.models.chat_template import ChatTemplate
from pipeline.progress import Progress
from pipeline.recipe import Data
from pipeline.tatqa import prompt, schema, truncate

_BLOCK = 32  # contexts whose texts are tokenized in one call

_TOOL_FORMS = {
    "template": "in the form of the model's chat template",
    "text": "as text, <tool_call>{…}</tool_call>, for the model's chat template has no form for them",
}

Group = tuple[schema.Context | None, list[prompt.Row]]  # a context with its rows; instruction rows have no context
Lengths = tuple[int, int]  # tokens of a row's prompt and of its answer


def style(data: Data) -> prompt.Style:
    """How the rows of [data] are written."""
    return prompt.Style(data.language, data.table, data.target)


def format_splits(job: Job, say: Callable[[str], None]) -> None:
    """Write the rows of both splits.

    Raises:
        Stop: a raw file or a tokenizer is missing or broken; existing rows are kept then.
    """
    template = chat_template.load(job.base_model)
    check.need_raw(job)
    progress = Progress("data", sum(readers.count(split.raw) for split in job.splits))
    report: dict[str, Any] = {}
    done = 0
    with atomic_folder(job.formatted) as staging:
        with LeakageIndex(staging) as index:
            for split in job.splits:
                writer = _Writer(job, template, split, index)
                for contexts in writer.write(staging):
                    done += contexts
                    progress.reach(done)
                rows_sha256 = sha256(staging / f"{split.name}.jsonl")
                report[split.name] = {**writer.tally.as_values(), "rows_sha256": rows_sha256}
        names = [split.name for split in job.splits]
        turns = any(report[name]["turns"] for name in names)
        write_json(staging / "dataset_info.json", llama_factory.dataset_info(job.source.name, names, turns))
        write_json(staging / formatted_rows.REPORT, {"made_of": formatted_rows.made_of(job), "splits": report})
    progress.close()
    for split in job.splits:
        counted = report[split.name]
        say(f"data   {split.rows}: {counted['contexts']} contexts, {counted['questions']} questions")
    if form := next(filter(None, (each["tool_form"] for each in report.values())), ""):
        say(f"data   tools and calls: {_TOOL_FORMS[form]}")
    say(statistics.table(report, job.recipe.data.target))
    say(f"data   {job.formatted / formatted_rows.REPORT}")


class _Writer:
    """Writes the rows of one split and counts what it sees."""

    def __init__(self, job: Job, template: ChatTemplate, split: Split, index: LeakageIndex) -> None:
        self._template, self._split, self._index = template, split, index
        self._style, self._max_length = style(job.recipe.data), job.recipe.training.max_length
        self._training, self._reasoning = split is job.train, job.recipe.data.reasoning
        self.tally = Tally()

    def write(self, folder: Path) -> Iterator[int]:
        """Write the split's two files into `folder`; yields the number of contexts of each block."""
        name = self._split.name
        with (
            (folder / f"{name}.jsonl").open("w", encoding="utf-8") as rows,
            (folder / f"{name}-sharegpt.jsonl").open("w", encoding="utf-8") as chats,
        ):
            groups = self._groups()
            while block := list(itertools.islice(groups, _BLOCK)):
                for group, lengths in zip(block, self._lengths(block), strict=True):
                    self._write_rows(self._fitting(group, lengths), rows, chats)
                yield len(block)

    def _groups(self) -> Iterator[Group]:
        """Contexts with their rows, counted and compared with earlier ones."""
        path, split = self._split.raw, self._split.name
        if path.suffix == ".jsonl":
            for number, said in enumerate(conversation.read(path), 1):
                self.tally.contexts += 1
                uid = f"{split}-{number}"
                if (earlier := self._index.add_text(split, conversation.question(said))) is not None:
                    findings = self.tally.same_questions if earlier == split else self.tally.leaks
                    findings.add(row=uid, also_in=earlier)
                yield None, [prompt.Row(self._as_written(row), "") for row in conversation.rows(said, uid)]
            return
        for number, context in enumerate(schema.read(path)):
            self.tally.contexts += 1
            self._compare(number, context, path)
            context = prompt.in_plain_characters(context, self.tally.characters)
            yield context, prompt.rows(context, self._style)

    def _as_written(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row of a conversation with its output as the model's template writes it."""
        written = self._template.answer_of(row)
        if row.get("tools") or row.get("tool_calls"):
            self.tally.tool_form = "template" if self._template.tools else "text"
        said = row["output"]
        if row.get("tool_calls"):
            said = reasoning.split(written)[1] if row.get("reasoning") else written
        masked = {}
        if row.get("reasoning"):
            self.tally.reasoning += 1
            if self._reasoning == "mask":
                masked = {"masked": len(written) - len(said)}
        answer = {"answer": json.dumps([said], ensure_ascii=False)} if row.get("tool_calls") else {}
        return {**row, "output": written, **masked, **answer}

    def _compare(self, number: int, context: schema.Context, path: Path) -> None:
        """Count duplicates within the split and leakage from the other one."""
        split, tally = self._split.name, self.tally
        uid_in = self._index.add_uids(split, number, context, str(path))
        # the notes too: the table alone does not identify a small one
        copy_in = self._index.add_text(split, json.dumps([context.rows, context.notes]))
        also = self._index.add_table(split, context) or ((copy_in,) if copy_in else (uid_in,) if uid_in else ())
        if also:
            findings = tally.same_tables if also[0] == split else tally.leaks
            findings.add(context=context.uid, also_in=" ".join(also))
        asked: set[str] = set()
        for question in context.questions:
            if (text := " ".join(question.text.split()).casefold()) in asked:
                tally.same_questions.add(context=context.uid, question=question.uid)
            asked.add(text)

    def _lengths(self, groups: list[Group]) -> list[list[Lengths]]:
        """Tokens of prompt and answer of each row, by group."""
        by_group = [[row.fields for row in rows] for _, rows in groups if rows]
        answers = iter(map(len, self._template.answers([row for rows in by_group for row in rows])))
        prompts = iter(self._template.prompt_lengths(by_group))
        return [[(length, next(answers)) for length in (next(prompts) if rows else [])] for _, rows in groups]

    def _fits(self, lengths: Lengths) -> bool:
        return lengths[0] + (lengths[1] if self._training else 0) <= self._max_length

    def _fitting(self, group: Group, lengths: list[Lengths]) -> list[tuple[prompt.Row, int, int]]:
        """The rows with their lengths, of a context truncated to fit; rows that are still too long are counted."""
        context, rows = group

        def measured(shorter: schema.Context) -> list[Lengths]:
            return self._lengths([(shorter, prompt.rows(shorter, self._style))])[0]

        if context is not None and not all(map(self._fits, lengths)):
            # a question that will never fit costs the others nothing
            shortest = truncate.cut(context, lambda shorter: False, self._training)
            chosen = [i for i, each in enumerate(measured(shortest.context)) if self._fits(each)] if shortest else []
            if not all(self._fits(lengths[i]) for i in chosen):

                def fits(shorter: schema.Context) -> bool:
                    return all(self._fits(measured(shorter)[i]) for i in chosen)

                cut = truncate.cut(context, fits, self._training)
                assert cut is not None  # as the shortest one was
                self.tally.cut.update(contexts=1, notes=cut.notes, rows=cut.rows)
                rows, lengths = prompt.rows(cut.context, self._style), measured(cut.context)
        for row, each in zip(rows, lengths, strict=True):
            if not self._fits(each):
                self.tally.too_long.add(question=row.fields["uid"], tokens=str(sum(each)))
        return [(row, *each) for row, each in zip(rows, lengths, strict=True)]

    def _write_rows(self, measured: list[tuple[prompt.Row, int, int]], rows: TextIO, chats: TextIO) -> None:
        for each in llama_factory.sharegpt([row.fields for row, _, _ in measured]):
            chats.write(json.dumps(each, ensure_ascii=False) + "\n")
        for row, prompt_tokens, answer_tokens in measured:
            rows.write(json.dumps(row.fields, ensure_ascii=False) + "\n")
            self.tally.take(row.fields, prompt_tokens, answer_tokens)
            if self._template.has_control_tokens(row.fields):
                self.tally.control_texts.add(question=row.fields["uid"])
            if row.plain_because:
                self.tally.plain_answers.add(question=row.fields["uid"], because=row.plain_because)
            if row.lost:
                self.tally.lost.add(question=row.fields["uid"], because=row.lost)
