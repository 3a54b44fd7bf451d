"""What to know of formatted data before training on it: amounts, lengths, changes, duplicates."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipeline import table as tables
from pipeline.models import tool_calls

LISTED = 100  # findings of each kind that are listed; the rest is only counted
_PERCENTILES = (50, 90, 99, 100)


@dataclass
class Findings:
    """A count of findings, and the first LISTED of them."""

    count: int = 0
    listed: list[dict[str, str]] = field(default_factory=list)

    def add(self, **finding: str) -> None:
        """Add one."""
        self.count += 1
        if len(self.listed) < LISTED:
            self.listed.append(finding)


@dataclass
class Tally:
    """What formatting counts of one split; its size does not depend on the split's."""

    contexts: int = 0
    questions: int = 0
    turns: int = 0  # questions that are later turns of a conversation, or may call tools
    reasoning: int = 0  # answers with a reasoning trace
    tool_form: str = ""  # how tools and calls are written: "template", or "text" where the template has no form
    misfits: Findings = field(default_factory=Findings)  # calls that do not fit the tools of their row
    answer_types: Counter[str] = field(default_factory=Counter)
    answer_sources: Counter[str] = field(default_factory=Counter)
    scales: Counter[str] = field(default_factory=Counter)
    prompt_tokens: Counter[int] = field(default_factory=Counter)  # length -> questions of that length
    answer_tokens: Counter[int] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)  # normalized, by kind
    cut: Counter[str] = field(default_factory=Counter)  # truncated contexts, and the notes and rows they lost
    too_long: Findings = field(default_factory=Findings)
    plain_answers: Findings = field(default_factory=Findings)
    lost: Findings = field(default_factory=Findings)  # targets that do not read back as the gold answer
    same_questions: Findings = field(default_factory=Findings)
    same_tables: Findings = field(default_factory=Findings)  # within the split
    control_texts: Findings = field(default_factory=Findings)  # rows whose text has them: encoded as text
    leaks: Findings = field(default_factory=Findings)  # tables, or rows, that occur in the other split too

    def take(self, row: dict[str, Any], prompt: int, answer: int) -> None:
        """Count one row with so many tokens of prompt and answer."""
        self.questions += 1
        self.turns += "messages" in row
        if calls := row.get("tool_calls"):
            found = (tool_calls.problem(each, row.get("tools", ())) for each in tool_calls.given(calls))
            because = next(filter(None, found), "") if row.get("tools") else "a call, and no tools in its row"
            if because:
                self.misfits.add(question=row["uid"], because=because)
        self.answer_types[row["answer_type"]] += 1
        self.answer_sources[row["answer_from"]] += 1
        self.scales[row["scale"] or "none"] += 1
        self.prompt_tokens[prompt] += 1
        self.answer_tokens[answer] += 1

    def as_values(self) -> dict[str, Any]:
        """For JSON; lengths by percentile."""
        values: dict[str, Any] = {}
        for name, value in vars(self).items():
            if name.endswith("_tokens"):
                values[name] = {str(p): percentile(value, p) for p in _PERCENTILES} | {
                    "all": sum(k * n for k, n in value.items())
                }
                values[f"{name}_histogram"] = {str(length): count for length, count in sorted(value.items())}
            elif isinstance(value, Findings):
                values[name] = vars(value)
            else:
                values[name] = dict(value) if isinstance(value, Counter) else value
        return values


def percentile(lengths: Counter[int], percent: int) -> int:
    """The least length that `percent` of a hundred do not exceed (nearest rank); 0 for none."""
    wanted, seen = -(-lengths.total() * percent // 100), 0
    for length in sorted(lengths):
        seen += lengths[length]
        if seen >= wanted:
            return length
    return 0


def table(splits: dict[str, dict[str, Any]], target: str) -> str:
    """A column a split."""
    rows: list[tuple[str, list[str]]] = [("", list(splits))]

    def add(name: str, *cells: str) -> None:
        if any(cell.strip("0 -") for cell in cells):
            rows.append((name, list(cells)))

    values = list(splits.values())
    add("contexts", *(f"{each['contexts']:,}" for each in values))
    add("questions", *(f"{each['questions']:,}" for each in values))
    add("  later turns, or with tools", *(f"{each['turns']:,}" for each in values))
    add("  with a reasoning trace", *(f"{each['reasoning']:,}" for each in values))
    for title, key in (("", "answer_types"), ("scale ", "scales")):
        for kind in dict.fromkeys(kind for each in values for kind in each[key]):
            add(f"  {title}{kind}", *(f"{each[key].get(kind, 0):,}" for each in values))
    for name, key in (("prompt", "prompt_tokens"), ("answer", "answer_tokens")):
        add(f"tokens, {name}", *(" / ".join(str(each[key][str(p)]) for p in _PERCENTILES) for each in values))
    for kind in dict.fromkeys(kind for each in values for kind in each["characters"]):
        add(f"{kind}s normalized", *(str(each["characters"].get(kind, 0)) for each in values))
    add("contexts truncated", *(_cut(each["cut"]) for each in values))
    add("questions too long", *(str(each["too_long"]["count"]) for each in values))
    if target == "equation":
        add("sums as plain answers", *(str(each["plain_answers"]["count"]) for each in values))
    add("calls that do not fit the tools", *(str(each["misfits"]["count"]) for each in values))
    add("targets not read as gold", *(str(each["lost"]["count"]) for each in values))
    add("rows with control tokens as text", *(str(each["control_texts"]["count"]) for each in values))
    add("duplicate questions", *(str(each["same_questions"]["count"]) for each in values))
    add("near-duplicate tables", *(str(each["same_tables"]["count"]) for each in values))
    add("leakage from the other split", *(str(each["leaks"]["count"]) for each in values))
    first, *others = tables.render([(name, *cells) for name, cells in rows]).splitlines()
    return "\n".join([f"{first}   (tokens: median / 90 % / 99 % / longest)", *others])


def _cut(cut: dict[str, int]) -> str:
    return f"{cut['contexts']} ({cut.get('notes', 0)} notes, {cut.get('rows', 0)} rows)" if cut.get("contexts") else "0"
