"""A session in a terminal: a context is shown, and questions about it are answered, one after another.

> What was the change in Other from 2018 to 2019?

       2019    2018
Other  [44.1]  [56.7]

type: arithmetic
evidence: Other 2019: 44.1 ; Other 2018: 56.7
equation: 44.1 - 56.7
scale: million
Answer: -12.6 million   (gold: -12.6 million)
"""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Stop
from pipeline.serving import ask, marked
from pipeline.serving.ask import Answered, Asker
from pipeline.tatqa.schema import Context

_PROMPT = "> "
HELP = """\
Type a question, or the number of one above. Also:
  context N  show context N of the evaluation split; without N, this one again
  help       show these lines, as an empty line does
  quit       end, as Ctrl-D does; Ctrl-C interrupts an answer"""


@dataclass(frozen=True)
class Shown:
    """The context that questions are about."""

    context: Context
    number: int  # from 0, in `source`
    source: Path | None  # the raw split that other contexts are taken from; None: there are no others


def run(asker: Asker, first: Shown, title: str, say: Callable[[str], None]) -> None:
    """Read lines from standard input, and answer them, until quit or its end.

    Args:
        title: printed first.

    Raises:
        Stop: the model cannot be loaded. What is wrong with a question or a number is printed, and the session goes on.
    """
    with contextlib.suppress(ImportError):  # a Python that was built without it
        import readline  # noqa: F401 - with it, `input` has a history and edits lines
    before = signal.signal(signal.SIGTERM, _end)
    try:
        asker.load()
        say(title)
        _ask_on(asker, first, say)
    finally:
        signal.signal(signal.SIGTERM, before)


def _ask_on(asker: Asker, shown: Shown, say: Callable[[str], None]) -> None:
    say(_context(shown))
    say(HELP)
    while True:
        try:
            line = _read()
        except EOFError:
            return
        except KeyboardInterrupt:  # drops the line, as in a shell
            say("")
            continue
        word = line.lower()
        if word in ("quit", "exit", "q"):
            return
        try:
            if word in ("", "help", "?"):
                say(HELP)
            elif found := re.fullmatch(r"context(?:\s+(-?[0-9]{1,9}))?", word):
                shown = _other(shown, found[1])
                say(_context(shown))
            else:
                answered = asker.ask(shown.context, _question(line, shown.context))
                say("\n" + answer(answered, shown.context))
        except Stop as stop:
            say(str(stop))
        except KeyboardInterrupt:
            say("interrupted")


def _read() -> str:
    """A line of standard input, without spaces around it.

    Raises:
        EOFError: there is none.
    """
    try:
        line = input(_PROMPT if sys.stdin.isatty() else "")
    except EOFError:
        if sys.stdin.isatty():
            print(flush=True)  # the prompt's line ends, so that the shell's begins on one of its own
        raise
    except UnicodeDecodeError:
        return "\N{REPLACEMENT CHARACTER}"
    # what is not UTF-8 comes as surrogates, which no tokenizer takes
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip()


def _end(number: int, frame: object) -> None:
    """End by an exception, so that `input` sets the terminal back."""
    raise SystemExit(128 + number)


def _other(shown: Shown, number: str | None) -> Shown:
    """Another context, or the same without a number.

    Raises:
        Stop: there is none of that number, or there are no others.
    """
    if number is None:
        return shown
    if shown.source is None:
        raise Stop("the context of the file", f"context {number}", "--file", "quit, then invoke ask --context N")
    return Shown(ask.context_of_data(shown.source, int(number)), int(number), shown.source)


def _question(line: str, context: Context) -> str:
    """The question that a line asks: its own, or by number one of the context's.

    Raises:
        Stop: the context has none of that number.
    """
    if not re.fullmatch("[0-9]{1,6}", line):
        return line
    if not 0 < int(line) <= len(context.questions):
        has = f"a question from 1 to {len(context.questions)}" if context.questions else "a question in words"
        raise Stop(has, line, "this context", "type the question")
    return context.questions[int(line) - 1].text


def _context(shown: Shown) -> str:
    """A context with its questions."""
    table, notes, _ = marked.shown(ask.in_plain_characters(shown.context))
    heading = f"context {shown.number} of {shown.source}" if shown.source else "the context of the file"
    asked = [f"  {i}  {marked.printable(each.text)}" for i, each in enumerate(shown.context.questions, 1)]
    return "\n".join([f"\n{heading}\n", table, *([""] if notes else []), *notes, "", *asked, *([""] if asked else [])])


def answer(answered: Answered, context: Context) -> str:
    """A question and its answer, after its context with the evidence marked."""
    mark = marked.mark_of(sys.stdout)
    table, notes, lacking = marked.shown(ask.in_plain_characters(context), answered.evidence, mark)
    told = answered.as_text(
        f"Question: {answered.question}", [f"neither table nor notes have: {each}" for each in lacking]
    )
    return "\n".join([table, *([""] if notes else []), *notes, "", marked.printable(told)])
