"""Run in an environment with azure-cli: checks commands, as JSON lists on standard input, against its own metadata.

Prints a JSON object: for each command the options that its metadata requires and the command lacks, and those that it
has and the metadata does not know, not even abbreviated. The
command line alone does not report all of these before it asks for a login.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from azure.cli.core import get_default_cli

GLOBAL = ("--query", "--output", "--only-show-errors")


def main() -> None:
    cli = get_default_cli()
    found: dict[str, Any] = {}
    for words in json.load(sys.stdin):
        classes = {"parser_cls": cli.parser_cls, "commands_loader_cls": cli.commands_loader_cls}
        cli.invocation = cli.invocation_cls(cli_ctx=cli, help_cls=cli.help_cls, **classes)
        loader = cli.invocation.commands_loader
        loader.load_command_table(words)
        names = [" ".join(words[:at]) for at in range(len(words), 0, -1)]
        name = next((each for each in names if each in loader.command_table), "")
        if not name:
            found[" ".join(words)] = ["no such command"]
            continue
        cli.invocation.data["command_string"] = loader.command_name = name
        loader.load_arguments(name)
        command = loader.command_table[name]
        if not command.arguments:
            command.load_arguments()
        faults, known = [], set(GLOBAL)
        for argument in command.arguments.values():
            settings = argument.type.settings
            options = [str(getattr(each, "target", each)) for each in settings.get("options_list") or ()]
            known.update(options)
            if settings.get("required") and options and not set(options) & set(words):
                faults.append(f"lacks {options[0]}")
        faults += [f"has {word}" for word in words if word.startswith("--") and word not in known]
        found[" ".join(words)] = faults
    json.dump(found, sys.stdout)


main()
