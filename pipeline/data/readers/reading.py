"""What reading a user's file brings to light: faults, keys that no form knows, and what was done to the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import Stop
from pipeline.json_stream import Placed

Fault = Callable[[Stop], None]  # is given the rows that cannot be read

LISTED = 10  # faults that a message names


class NoAnswer(Stop):
    """A row in which no question has a gold answer, as in a test split."""


@dataclass
class Reading:
    """Counted while a file is read."""

    folder: Path = Path()  # of the file, for a form whose rows name other files
    documents: dict[str, list[Path]] | None = None  # below the folder by their uid, once one was looked for
    read_documents: set[Path] = field(default_factory=set)
    unknown: Counter[str] = field(default_factory=Counter)  # keys that are not read -> rows that have them
    notes: Counter[str] = field(default_factory=Counter)  # what was done, in words -> times
    faults: list[Stop] = field(default_factory=list)  # the first LISTED
    fault_count: int = 0
    unanswered: int = 0  # of the faults: rows in which no question has an answer

    def add_fault(self, fault: Stop) -> None:
        """Count a row that cannot be read."""
        self.fault_count += 1
        self.unanswered += isinstance(fault, NoAnswer)
        if len(self.faults) < LISTED:
            self.faults.append(fault)

    def until_broken(self, rows: Iterator[Placed]) -> Iterator[Placed]:
        """The rows before the first place where the file cannot be read on, which is a fault as others are."""
        try:
            yield from rows
        except Stop as stop:
            self.add_fault(stop)

    def see_keys(self, record: Mapping[str, Any], known: frozenset[str] | set[str]) -> None:
        """Count the keys of a record that its form does not know and that hold something."""
        for key, value in record.items():
            if key not in known and value not in (None, "", [], {}):
                self.unknown[key] += 1

    def need_none(self, form: str, file: str) -> None:
        """Raise the fault, or all of them as one Stop; `form` is the one that was recognised, "" for none."""
        if self.fault_count == 1:
            one = self.faults[0]
            raise Stop(f"{one.wanted}, in a file of {form}" if form else one.wanted, one.found, one.where, one.todo)
        if self.fault_count:
            lines = [f"  {each.where}: wanted {each.wanted}; found {each.found}" for each in self.faults]
            if self.fault_count > LISTED:
                lines.append(f"  and {self.fault_count - LISTED} more")
            found = "\n".join([f"{self.fault_count} rows that are not:", *lines])
            raise Stop(
                form or "rows that can be read",
                found,
                file,
                "fix these rows, or name the columns by --set data.columns=…",
            )

    def lines(self) -> Iterator[str]:
        """What a person should know of a file that was read."""
        if self.unknown:
            counted = ", ".join(f"{key} ({count})" for key, count in self.unknown.most_common(LISTED))
            more = f" and {len(self.unknown) - LISTED} more" if len(self.unknown) > LISTED else ""
            yield f"keys that are not used, with the rows that have them: {counted}{more}"
        for note, count in self.notes.items():
            yield f"{count} {note}"
