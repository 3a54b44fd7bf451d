"""Whether a server answers as `evaluate` did: requests with the same prompts, and the comparison of both answers.

python -m pipeline check_questions --run RECIPE/ID > questions.jsonl
python -m pipeline check_answers --run RECIPE/ID --answers answers.jsonl

`invoke serve --check` sends in between what the first prints:

    {"uid": …, "body": {"model": "quickstart", "messages": […], "temperature": 0, "max_tokens": 72}}
    {"uid": …, "message": {"role": "assistant", "content": "type: span\\n…"}}

`evaluate` asked base + adapter, and the server has the merged model, whose weights are rounded to export.dtype: an
answer may differ where two tokens are almost equally likely. So there are two rules. EM must not differ: the 95 %
interval of the paired difference contains 0. And where evaluation's decoding gives the same bits whatever is batched,
in fp32 on a CPU, each answer that differs must be the one that evaluate's own decoding gives with the merged model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import table as tables
from pipeline.data.formatted_rows import answer_limit, read_rows
from pipeline.errors import Stop
from pipeline.evaluation.significance import interval
from pipeline.files import sha256
from pipeline.generation import generate
from pipeline.generation.judge import judge
from pipeline.job import Job
from pipeline.models import chat_template, load, tool_calls, tool_text
from pipeline.models.chat_template import ChatTemplate
from pipeline.runs import manifest
from pipeline.serving import protocol, turns
from pipeline.serving.protocol import Refusal

ANSWERS = "answers.jsonl"  # of a run
_SHOWN = 10  # differing answers

Row = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """A question that was evaluated."""

    row: Row  # as formatted
    text: str  # the tuned model's
    em: float


@dataclass(frozen=True)
class Compared:
    """A question with both answers."""

    question: Question
    served: str
    em: float

    @property
    def same(self) -> bool:
        """Whether both answers are the same text, or the same calls of tools."""
        return same(self.question.row, self.question.text, self.served)


def evaluated(job: Job, run: Path, made: dict[str, Any]) -> list[Question]:
    """The questions that `evaluate` asked the tuned model.

    Args:
        job: of the recipe that the run was evaluated with.
        made: the run's manifest.

    Raises:
        Stop: the run was not evaluated, or its answers are not those, or the rows have changed since.
    """
    file = run / ANSWERS
    need_evaluated(run, made)
    if not file.exists() or (found := sha256(file)) != made["outputs"].get(ANSWERS):
        shown = f"sha256 {found}" if file.exists() else "no such file"
        raise Stop("the answers that evaluate wrote", shown, str(file), "invoke evaluate")
    rows_then = made["evaluation"].get("rows_sha256")
    if (found := sha256(job.evaluation.rows)) != rows_then:
        wanted = f"the rows that were evaluated, sha256 {rows_then or 'unknown'}"
        raise Stop(wanted, f"sha256 {found}", str(job.evaluation.rows), "invoke evaluate")
    with file.open(encoding="utf-8") as lines:
        answers = {line["uid"]: line["tuned"] for line in map(json.loads, lines)}
    rows = [row for row in read_rows(job.evaluation.rows) if row["uid"] in answers]
    return [Question(row, answers[row["uid"]]["text"], answers[row["uid"]]["score_em"]) for row in rows]


def need_evaluated(run: Path, made: dict[str, Any]) -> None:
    """Raise Stop unless `evaluate` has scored the run."""
    if not isinstance(made.get("evaluation"), dict):
        latest = run.parent / "latest"
        is_latest = latest.is_symlink() and latest.readlink().name == run.name
        todo = (
            "invoke evaluate" if is_latest else "invoke evaluate export, for the newest run; then invoke serve --check"
        )
        raise Stop(f"an evaluation of {run.parent.name}/{run.name}, which is served", "none", str(run), todo)


def requests(job: Job, run: Path, made: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A chat request for each question, which the server writes as the prompt that `evaluate` gave the model.

    Args:
        name: of the model, which requests give.

    Raises:
        Stop: as `evaluated` and `bodies`, or merged/ is not what export wrote.
    """
    rows = [each.row for each in evaluated(job, run, made)]
    manifest.need_merged(run, made)
    made_of = bodies(chat_template.load(run / "merged"), rows, name, answer_limit(job))
    return [{"uid": row["uid"], "body": body} for row, body in zip(rows, made_of, strict=True)]


def bodies(template: ChatTemplate, rows: Sequence[Row], name: str, limit: int) -> list[dict[str, Any]]:
    """Rows as bodies of chat requests, each of which becomes the prompt of its row again.

    Raises:
        Stop: one does not, because a chat request cannot hold what the row has.
    """
    made = [_body(row, name, limit) for row in rows]
    asked = [_as_read(row, body) for row, body in zip(rows, made, strict=True)]
    for row, own, sent in zip(rows, template.prompts(rows), template.prompts(asked), strict=True):
        if own != sent:
            raise _too_much(row, "one with more, such as the reasoning of earlier turns")
    return made


def _as_read(row: Row, body: dict[str, Any]) -> Row:
    """The row that the server makes of a body."""
    try:
        return {**turns.row(protocol.read(json.dumps(body).encode())), "tools": body.get("tools", [])}
    except Refusal as refusal:
        raise _too_much(row, refusal.message) from None


def _too_much(row: Row, found: str) -> Stop:
    todo = "invoke evaluate on other data, with --set data.source=…"
    return Stop("a question that a chat request can hold", found, f"question {row['uid']}", todo)


def _body(row: Row, name: str, limit: int) -> dict[str, Any]:
    """A row as the body of a chat request."""
    system = row.get("system", "")
    if "messages" in row:
        said = [_message(each) for each in row["messages"] if each["role"] != "system"]
    else:
        said = [{"role": "user", "content": f"{row['instruction']}\n{row['input']}".strip()}]
    messages = [*([{"role": "system", "content": system}] if system else []), *said]
    tools = {"tools": row["tools"]} if row.get("tools") else {}
    return {"model": name, "messages": messages, "temperature": 0, "max_tokens": limit, **tools}


def _message(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn as OpenAI's API has it: arguments of calls as JSON text."""
    if not (calls := turn.get("tool_calls")):
        return {key: turn[key] for key in ("role", "content", "tool_call_id") if key in turn}
    listed = [
        {**call, "function": {**call["function"], "arguments": _json(call["function"].get("arguments", {}))}}
        for call in calls
    ]
    return {"role": turn["role"], "content": turn["content"], "tool_calls": listed}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def compare(job: Job, run: Path, made: dict[str, Any], answers: Path) -> list[Compared]:
    """Both answers to every question, the server's scored as evaluate scored its own.

    Args:
        answers: JSON lines of uid and message.

    Raises:
        Stop: as `evaluated`, or the file does not answer every question.
    """
    questions = evaluated(job, run, made)
    try:
        with answers.open(encoding="utf-8") as lines:
            served = {line["uid"]: text_of(line["message"]) for line in map(json.loads, lines)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Stop("JSON lines of uid and message", str(error)[:100], str(answers), "invoke serve --check") from None
    if lacking := [each.row["uid"] for each in questions if each.row["uid"] not in served]:
        found = f"none for {len(lacking)} of {len(questions)}, such as {lacking[0]}"
        raise Stop("an answer to every question", found, str(answers), "invoke serve --check")
    language, made_of = job.recipe.data.language, []
    for each in questions:
        text = served[each.row["uid"]]
        made_of.append(Compared(each, text, judge(each.row, text, language)[1].em))
    return made_of


def text_of(message: dict[str, Any]) -> str:
    """A served message as one text; calls of tools in the form that `tool_calls` reads."""
    content = (message.get("content") or "").strip()
    if not message.get("tool_calls"):
        return content
    functions = [call["function"] for call in message["tool_calls"]]
    calls = [{"function": {**each, "arguments": json.loads(each["arguments"])}} for each in functions]
    return tool_text.turn(content, calls)


def same(row: Row, one: str, other: str) -> bool:
    """Whether two answers to a row are the same text; with tools, the same calls too, and whatever the white space."""
    if one == other or not row.get("tools"):
        return one == other
    calls = tool_calls.read(one), tool_calls.read(other)
    return one.split() == other.split() or bool(calls[0] and tool_calls.same(*calls))


def check(job: Job, run: Path, made: dict[str, Any], answers: Path, say: Callable[[str], None]) -> None:
    """Print the comparison.

    Raises:
        Stop: as `compare`, or the server does not answer as evaluate did.
    """
    compared = compare(job, run, made, answers)
    text, em_differs = report(compared, f"{job.source.name}/{job.evaluation.name}")
    say(text)
    precision, _ = load.precision(job.recipe.training.precision)
    differing, wrong = [each for each in compared if not each.same], []
    if differing and (precision, load.device()) == ("fp32", "cpu"):

        def again(rows: list[Row]) -> list[str]:
            model, template = load.load_base(run / "merged", load.DTYPES[precision]), chat_template.load(run / "merged")
            batch = job.recipe.evaluation.batch_questions
            return [each or "" for each in generate.answers(model, template, rows, answer_limit(job), batch, "again")]

        wrong = unexplained(compared, again)
        explained = len(differing) - len(wrong)
        say(f"\n{explained} of {len(differing)} differ since {made['export']['dtype']} rounds the merged weights")
    elif differing:
        say(f"\n{precision} on {load.device_name()} rounds a batch in other ways: only EM is compared")
    if em_differs or wrong:
        found = f"{len(wrong)} answers that the merged model does not give" if wrong else "EM differs, by its interval"
        shown = "".join(f", such as to {each.question.row['uid']}" for each in wrong[:1])
        todo = "invoke down, then invoke serve --check; if it fails again, report it"
        raise Stop("a server that answers as evaluate did", found + shown, str(run / "merged"), todo)


def unexplained(compared: Sequence[Compared], again: Callable[[list[Row]], list[str]]) -> list[Compared]:
    """The answers that differ from evaluate's, and that its own decoding does not give with the merged model either.

    Args:
        again: what that gives, for rows.
    """
    differing = [each for each in compared if not each.same]
    texts = again([each.question.row for each in differing]) if differing else []
    return [each for each, text in zip(differing, texts, strict=True) if not same(each.question.row, text, each.served)]


def report(compared: Sequence[Compared], split: str) -> tuple[str, bool]:
    """The comparison as text, and whether EM differs by more than chance."""
    before, after = [each.question.em for each in compared], [each.em for each in compared]
    contexts = [each.question.row["context"] for each in compared]
    low, high = interval([b - a for a, b in zip(before, after, strict=True)], contexts)
    equal = sum(each.same for each in compared)
    means = [100 * sum(values) / len(compared) for values in (before, after)]
    lines = [
        tables.render(
            [
                (split, "questions", "answers equal", "EM evaluated", "EM served"),
                ("", str(len(compared)), str(equal), *(f"{mean:.1f}" for mean in means)),
            ]
        ),
        f"EM served - evaluated: {means[1] - means[0]:+.1f}, {100 * low:+.1f} to {100 * high:+.1f}"
        f" (95 % interval over {len(set(contexts))} contexts)",
    ]
    differing = [each for each in compared if not each.same]
    for each in differing[:_SHOWN]:
        lines.append(f"\n{each.question.row['uid']}")
        lines += [f"  evaluated: {_line(each.question.text)}", f"  served:    {_line(each.served)}"]
    if len(differing) > _SHOWN:
        lines.append(f"\nand {len(differing) - _SHOWN} more")
    return "\n".join(lines), low > 0 or high < 0


def _line(text: str) -> str:
    return " | ".join(text.splitlines())[:300]
