"""A command line as data: printed as a person would paste it, or run with the values of those before it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_VARIABLE = re.compile(r"\$([A-Z][A-Z_]*)")


@dataclass(frozen=True)
class Command:
    """One command. A word may name variables, as `$ADDRESS`, that commands before it have set."""

    why: str  # a comment above it
    argv: tuple[str, ...]
    into: str = ""  # the variable that gets its output; one that ends in IDS is a list, a line for each
    output: str = ""  # the file that gets its output

    @property
    def shown(self) -> str:
        """The command for a POSIX shell."""
        line = " ".join(map(_quoted, self.argv))
        if self.output:
            line = f"{line} > {shlex.quote(self.output)}"
        return f"{self.into}=$({line})" if self.into else line


def script(commands: Sequence[Command]) -> str:
    """Commands as a shell script, each below the reason for it; a reason that stands above is not repeated."""
    lines: list[str] = []
    reason = ""
    for each in commands:
        if each.why != reason:
            lines.append(f"# {each.why}")
        reason = each.why
        lines.append(each.shown)
    return "\n".join(lines)


def filled(argv: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words with the values of their variables. Lists become a word for each of their lines."""
    made: list[str] = []
    for word in argv:
        found = _VARIABLE.fullmatch(word)
        if found and found[1].endswith("IDS"):
            made += values[found[1]].split()
        else:
            made.append(_VARIABLE.sub(lambda match: values[match[1]], word))
    return made


def _quoted(word: str) -> str:
    found = _VARIABLE.fullmatch(word)
    if found:
        return word if found[1].endswith("IDS") else f'"{word}"'
    plain = "'" in word and not re.search("![^=]", word)  # a shell that a person types in takes !name for its history
    if plain or _VARIABLE.search(word):
        kept = re.sub(r'[\\"`]|\$(?![A-Z])', r"\\\g<0>", word)
        return f'"{kept}"'
    return shlex.quote(word)
