"""The sample set: made-up annual-report contexts in TAT-QA's raw schema, so that the first run needs no download.

    python -m pipeline fetch        # writes data/sample/raw/{train,heldout}.json

A seeded generator gives the same bytes on every machine. Companies, figures and notes are invented; the shape is
TAT-QA's (Zhu et al., ACL 2021): a small table, two notes and six questions. One context looks like this:

    | | 2021 | 2020 |                          (1) The following table presents net sales by segment (in millions).
    | Packaging | $412.6 | $390.1 |            (2) Harlow Industries' largest segment in 2021 was Packaging. The Group
    | Coatings | 88.0 | 91.4 |                     operates plants in Leeds and Gdansk.

    What were net sales of Packaging in 2021?                                 ['412.6'] million       span
    What is the change in net sales of Coatings from 2020 to 2021?            -3.4 million            arithmetic
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

SEED = 20211
TRAIN_CONTEXTS = 64
HELDOUT_CONTEXTS = 12

_COMPANIES = (
    "Harlow Industries", "Meridian Foods", "Northgate Systems", "Castell Marine", "Orrin Robotics", "Bluefield Energy",
    "Tamar Textiles", "Vantage Optics", "Silverlake Media", "Quarry Hill Cement", "Ashdown Pharma", "Pelham Logistics",
    "Kestrel Networks", "Redwood Paper", "Larkspur Foods", "Osier Chemicals", "Dunmore Rail", "Corvid Semiconductors",
)  # fmt: skip
_PLACES = (
    "Leeds",
    "Gdansk",
    "Lyon",
    "Austin",
    "Osaka",
    "Porto",
    "Tampere",
    "Denver",
    "Cork",
    "Pune",
    "Utrecht",
    "Graz",
)
_AUDITORS = ("Hale & Marsh", "Brandt Lowe", "Siddons Partners", "Whitcombe Grey")
_REASONS = (
    "higher raw material costs", "the disposal of a subsidiary", "stronger demand in export markets",
    "unfavourable exchange rates", "the opening of a new plant", "lower freight rates", "a change in product mix",
)  # fmt: skip


@dataclass(frozen=True)
class _Topic:
    """One kind of table: what its rows are, how large, in which unit."""

    quantity: str  # "net sales", as the questions name it
    verb: str  # "was" or "were", to agree with it
    rows: tuple[str, ...]  # row labels to draw from
    item: str  # what a row is: "segment"
    items: str  # its plural
    scale: str  # TAT-QA scale of the cells
    caption: str  # how the first note states the unit
    low: float  # smallest cell
    high: float  # largest cell
    digits: int  # decimals printed
    dollar: bool = False  # a dollar sign in the first row, as printed reports have it


_TOPICS = (
    _Topic("net sales", "were", ("Packaging", "Coatings", "Adhesives", "Services", "Licensing"),
           "segment", "segments", "million", "in millions", 40, 900, 1, True),
    _Topic("operating expenses", "were", ("Marketing", "Administration", "Research", "Distribution", "Maintenance"),
           "category", "categories", "thousand", "in thousands", 1200, 98000, 0, True),
    _Topic("the tax rate", "was", ("Statutory rate", "Foreign operations", "Research credits", "State taxes"),
           "component", "components", "percent", "in percent", 1, 28, 1),
    _Topic("borrowings", "were", ("Term loan", "Senior notes", "Revolving facility", "Lease obligations"),
           "instrument", "instruments", "million", "in millions of dollars", 15, 640, 1, True),
    _Topic("headcount", "was", ("Production", "Sales", "Engineering", "Support"),
           "function", "functions", "", "number of employees", 60, 4800, 0),
    _Topic("total assets", "were", ("Europe", "Asia Pacific", "North America", "Latin America"),
           "region", "regions", "billion", "in billions", 1, 60, 1, True),
    _Topic("inventories", "were", ("Raw materials", "Work in progress", "Finished goods", "Spare parts"),
           "class", "classes", "thousand", "in thousands", 800, 45000, 0, True),
    _Topic("deferred revenue", "was", ("Subscriptions", "Support contracts", "Training", "Warranties"),
           "source", "sources", "thousand", "in thousands of dollars", 300, 20000, 0),
    _Topic("the gross margin", "was", ("Hardware", "Software", "Consulting", "Leasing"),
           "product line", "product lines", "percent", "in percent of sales", 12, 80, 1),
    _Topic("capital expenditure", "was", ("Land", "Buildings", "Machinery", "Vehicles"),
           "asset class", "asset classes", "million", "in millions", 2, 300, 1, True),
)  # fmt: skip


def contexts(split: str) -> list[dict[str, Any]]:
    """Raw contexts of one split ("train" or "heldout"), the same on every machine.

    Raises:
        KeyError: for another split.
    """
    count, first = {"train": (TRAIN_CONTEXTS, 0), "heldout": (HELDOUT_CONTEXTS, TRAIN_CONTEXTS)}[split]
    return [_context(number) for number in range(first, first + count)]


def _context(number: int) -> dict[str, Any]:
    # one generator per context: adding a context at the end changes none before it
    rng = random.Random(SEED * 100_003 + number)
    topic = _TOPICS[number % len(_TOPICS)]
    company = rng.choice(_COMPANIES)
    year = rng.randint(2015, 2023)
    years = [year, year - 1]
    rows = rng.sample(topic.rows, rng.choice((3, 3, 4)))
    values = {(row, y): _draw(rng, topic) for row in rows for y in years}
    table = [["", *map(str, years)]]
    for place, row in enumerate(rows):
        table.append([row, *(_cell(values[row, y], topic, dollar=topic.dollar and place == 0) for y in years)])

    places = rng.sample(_PLACES, rng.choice((2, 3)))
    auditor, reason = rng.choice(_AUDITORS), rng.choice(_REASONS)
    moved = rng.choice(rows)
    fact = rng.choice(
        (
            (
                f"The movement in {moved} was mainly due to {reason}.",
                f"What was the movement in {moved} mainly due to?",
                reason,
            ),
            (f"The figures were audited by {auditor}.", "Who audited the figures?", auditor),
            (
                f"{company} adopted the new standard on 1 January {year}.",
                "When did the company adopt the new standard?",
                f"1 January {year}",
            ),
        )
    )
    listed = f"{', '.join(places[:-1])} and {places[-1]}"
    notes = [
        f"The following table presents {topic.quantity} of {company} by {topic.item} ({topic.caption}).",
        f"{fact[0]} The company operates plants in {listed}.",
    ]
    context = _Questions(number, rng, topic, rows, years, values, table)
    context.lookup()
    context.lookup()
    context.span(fact[1], fact[2], "text", ["2"])
    context.add("In which locations does the company operate plants?", places, "multi-span", "text", "", ["2"])
    rng.choice((context.count_rows, context.count_above, context.larger_year))()
    # a sum of percentages says nothing
    rng.choice(
        (
            context.change,
            context.change,
            context.change if topic.scale == "percent" else context.total,
            context.percentage,
        )
    )()
    return {
        "table": {"uid": _uid(number, "table"), "table": table},
        "paragraphs": [{"uid": _uid(number, f"note {i}"), "order": i, "text": text} for i, text in enumerate(notes, 1)],
        "questions": context.questions,
    }


@dataclass
class _Questions:
    """The questions of one context, in the raw schema."""

    number: int
    rng: random.Random
    topic: _Topic
    rows: list[str]
    years: list[int]
    values: dict[tuple[str, int], Decimal]
    table: list[list[str]]

    def __post_init__(self) -> None:
        self.questions: list[dict[str, Any]] = []
        self._asked: set[tuple[str, int]] = set()

    def add(
        self,
        question: str,
        answer: Any,
        answer_type: str,
        answer_from: str,
        scale: str,
        notes: list[str],
        derivation: str = "",
        comparison: bool = False,
    ) -> None:
        order = len(self.questions) + 1
        self.questions.append(
            {
                "uid": _uid(self.number, f"question {order}"),
                "order": order,
                "question": question,
                "answer": answer,
                "derivation": derivation,
                "answer_type": answer_type,
                "answer_from": answer_from,
                "rel_paragraphs": notes,
                "req_comparison": comparison,
                "scale": scale,
            }
        )

    def span(self, question: str, answer: str, answer_from: str, notes: list[str], scale: str = "") -> None:
        self.add(question, [answer], "span", answer_from, scale, notes)

    def lookup(self) -> None:
        row, year = self.rng.choice([key for key in self.values if key not in self._asked])
        self._asked.add((row, year))
        # the figure itself: the currency sign is the table's, not the answer's
        text = _cell(self.values[row, year], self.topic, dollar=False)
        self.span(
            f"What {self.topic.verb} {self.topic.quantity} for {row} in {year}?",
            text,
            "table-text",
            ["1"],
            self.topic.scale,
        )

    def count_rows(self) -> None:
        self.add(
            f"How many {self.topic.items} does the table show?",
            str(len(self.rows)),
            "count",
            "table",
            "",
            [],
            "##".join(self.rows),
        )

    def count_above(self) -> None:
        year = self.rng.choice(self.years)
        ranked = sorted(self.values[row, year] for row in self.rows)
        bar = (ranked[0] + ranked[-1]) / 2
        bar = bar.quantize(Decimal(1), ROUND_HALF_UP)
        above = [row for row in self.rows if self.values[row, year] > bar]
        question = f"For how many {self.topic.items} {self.topic.verb} {self.topic.quantity} above {bar:,} in {year}?"
        self.add(question, str(len(above)), "count", "table", "", [], "##".join(above), comparison=True)

    def larger_year(self) -> None:
        row = self.rng.choice(self.rows)
        new, old = (self.values[row, y] for y in self.years)
        if new == old:
            self.count_rows()
            return
        answer, sign = (self.years[0], ">") if new > old else (self.years[1], "<")
        question = f"In which year {self.topic.verb} {self.topic.quantity} for {row} larger?"
        self.add(question, [str(answer)], "span", "table", "", [], f"{new:,}{sign}{old:,}", comparison=True)

    def change(self) -> None:
        row = self.rng.choice(self.rows)
        new, old = (self.values[row, y] for y in self.years)
        question = f"What is the change in {self.topic.quantity} for {row} from {self.years[1]} to {self.years[0]}?"
        self._arithmetic(question, new - old, f"{new:,}-{old:,}", self.topic.scale)

    def total(self) -> None:
        first, second = self.rng.sample(self.rows, 2)
        year = self.rng.choice(self.years)
        a, b = self.values[first, year], self.values[second, year]
        question = f"What is the sum of {self.topic.quantity} for {first} and {second} in {year}?"
        self._arithmetic(question, a + b, f"{a:,}+{b:,}", self.topic.scale)

    def percentage(self) -> None:
        row = self.rng.choice(self.rows)
        new, old = (self.values[row, y] for y in self.years)
        question = (
            f"What is the percentage change in {self.topic.quantity} for {row} from {self.years[1]} to {self.years[0]}?"
        )
        self._arithmetic(question, (new - old) / old * 100, f"({new:,}-{old:,})/{old:,}", "percent")

    def _arithmetic(self, question: str, value: Decimal, derivation: str, scale: str) -> None:
        rounded = float(value.quantize(Decimal("0.01"), ROUND_HALF_UP))
        answer: int | float = int(rounded) if rounded.is_integer() else rounded
        self.add(question, answer, "arithmetic", "table-text", scale, ["1"], derivation)


def _draw(rng: random.Random, topic: _Topic) -> Decimal:
    step = Decimal(1).scaleb(-topic.digits)
    return Decimal(rng.randint(int(topic.low * 10**topic.digits), int(topic.high * 10**topic.digits))) * step


def _cell(value: Decimal, topic: _Topic, dollar: bool) -> str:
    return f"{'$' if dollar else ''}{value:,.{topic.digits}f}"


def _uid(number: int, part: str) -> str:
    """An identifier in the form of TAT-QA's (a UUID), from a hash: stable, and unlike any of theirs."""
    digest = hashlib.sha256(f"pintune sample {SEED} {number} {part}".encode()).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
