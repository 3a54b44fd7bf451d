"""The verbs after `azure.run` in a call of invoke, as the lines of a job on the VM."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from invoke.collection import Collection
from invoke.exceptions import ParseError
from invoke.parser import Parser
from invoke.parser.context import ParserContext
from invoke.program import Program

from images.errors import Stop

CARRIED = ("recipe", "flavor", "runner")  # flags that hold for the verbs after the one that has them
CORE = ("--dry", "-R")  # invoke's own, which may stand anywhere
NOT_THERE = ("push", "lock", "down", "clean", "test", "lint", "docs", "help", "version")


def after(verbs: Collection, words: Sequence[str], verb: str) -> list[str]:
    """The lines of a job: each verb that follows `verb`, with the flags that it would have here.

    Raises:
        Stop: no verb follows, or one that is for this machine alone.
    """
    parser = Parser(initial=Program().initial_context, contexts=verbs.to_contexts())
    try:
        call = [each for each in parser.parse_argv([word for word in words if word not in CORE]) if each.name]
    except ParseError:  # invoke has reported it
        return []
    at = next(number for number, each in enumerate(call) if each.name == verb)
    wanted = "verbs to run on the VM"
    if not call[at + 1 :]:
        raise Stop(wanted, "none", f"invoke {verb}", f"invoke {verb} build train evaluate export")
    for each in call[at + 1 :]:
        if each.name in NOT_THERE or "." in str(each.name):
            raise Stop(wanted, f"{each.name}, which is for this machine", f"invoke {verb}", f"invoke {each.name}")
    return prepared(lines(call[at + 1 :]))


def training(recipe: str, overrides: Sequence[str]) -> list[str]:
    """The job of `azure.train`."""
    flags = ["--recipe", recipe, *(word for each in overrides for word in ("--set", each))]
    return prepared([shlex.join([verb, *flags]) for verb in ("train", "evaluate", "export")])


def prepared(made: list[str]) -> list[str]:
    """A job that begins with the image: as it says itself, else pulled or built as images/cloud/prepare.py decides."""
    return made if any(each.split()[0] in ("build", "pull") for each in made) else ["prepare", *made]


def lines(call: Sequence[ParserContext]) -> list[str]:
    """Each verb with its own flags, and with those of the verbs before it that hold for it too."""
    held: dict[str, str] = {}
    overrides: list[str] = []
    made = []
    for verb in call:
        own = []
        for name, argument in verb.args.items():
            if not argument.got_value or name in CARRIED or name == "set":
                continue
            flag = f"--{name.strip('_').replace('_', '-')}"
            values = argument.value if isinstance(argument.value, list) else [argument.value]
            own += [word for each in values for word in ((flag,) if each is True else (flag, str(each)))]
        for name in CARRIED:
            if name in verb.args and verb.args[name].got_value:
                held[name] = str(verb.args[name].value)
        if "set" in verb.args:
            overrides += verb.args["set"].value or []
        shared = [word for name in CARRIED if name in verb.args and name in held for word in (f"--{name}", held[name])]
        if "set" in verb.args:
            shared += [word for each in overrides for word in ("--set", each)]
        made.append(shlex.join([str(verb.name), *shared, *own]))
    return made
