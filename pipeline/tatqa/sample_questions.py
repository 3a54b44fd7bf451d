"""The kinds of question in the sample set, each with its answer and derivation as TAT-QA's raw schema has them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from pipeline.tatqa.sample_words import Topic

Key = tuple[str, int]  # row label and year


@dataclass
class Questions:
    """Asks about one context: every method adds a question of its kind to `asked`."""

    rng: random.Random
    topic: Topic
    rows: list[str]
    years: list[int]  # of the table, the latest first
    values: dict[Key, Decimal]  # of the table, no two equal
    told: Key | None = None  # whose figure only the second note has: of the year before the table's
    asked: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        question: str,
        answer: Any,
        answer_type: str,
        answer_from: str,
        notes: list[str],
        scale: str = "",
        derivation: str = "",
        comparison: bool = False,
    ) -> None:
        """A question with its answer."""
        self.asked.append(
            {
                "order": len(self.asked) + 1,
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

    def lookup(self, wording: str = "What {was} for {row} in {year}?") -> None:
        """A cell of the table."""
        row, year = self.rng.choice([key for key in self.values if key != self.told])
        self._figure((row, year), wording, "table-text", ["1"])

    def lookup_in_note(self) -> None:
        """The figure of the second note."""
        assert self.told
        self._figure(self.told, "What {was} for {row} in {year}?", "text", ["1", "2"])

    def count_rows(self) -> None:
        """How many rows there are."""
        question = f"How many {self.topic.items} does the table show?"
        self.add(question, str(len(self.rows)), "count", "table", [], "", "##".join(self.rows))

    def count_above(self, wording: str = "For how many {items} {was} above {bar} in {year}?") -> None:
        """How many rows are above the middle between the lowest and the highest."""
        year = self.rng.choice(self.years)
        ranked = sorted(self.values[row, year] for row in self.rows)
        bar = ((ranked[0] + ranked[-1]) / 2).quantize(Decimal(1), ROUND_HALF_UP)
        above = [row for row in self.rows if self.values[row, year] > bar]
        question = self._worded(wording, year=year, bar=f"{bar:,}")
        self.add(question, str(len(above)), "count", "table", [], "", "##".join(above), comparison=True)

    def largest_year(self, wording: str = "In which year {was} for {row} larger?") -> None:
        """The year of a row's largest figure."""
        row = self.rng.choice(self.rows)
        ranked = sorted(self.years, key=lambda year: -self.values[row, year])
        figures = ">".join(f"{self.values[row, year]:,}" for year in ranked)
        self.add(self._worded(wording, row=row), [str(ranked[0])], "span", "table", [], "", figures, comparison=True)

    def change(self) -> None:
        """From the earlier year to the later one."""
        row, (new, old) = self.rng.choice(self.rows), self.years[:2]
        self._change((row, new), (row, old), ["1"])

    def change_from_note(self) -> None:
        """From the second note's year to one of the table's."""
        assert self.told
        self._change((self.told[0], self.rng.choice(self.years)), self.told, ["1", "2"])

    def total(self) -> None:
        """Two rows of one year."""
        (first, second), year = self.rng.sample(self.rows, 2), self.rng.choice(self.years)
        a, b = self.values[first, year], self.values[second, year]
        question = f"What is the sum of {self.topic.quantity} for {first} and {second} in {year}?"
        self._arithmetic(question, a + b, "{}+{}", [a, b])

    def percentage(self) -> None:
        """The change from the earlier year to the later one, in percent."""
        row, (new, old) = self.rng.choice(self.rows), self.years[:2]
        question = f"What is the percentage change in {self.topic.quantity} for {row} from {old} to {new}?"
        self._percentage(question, (row, new), (row, old), ["1"])

    def ratio(self) -> None:
        """One row to another."""
        (first, second), year = self.rng.sample(self.rows, 2), self.rng.choice(self.years)
        a, b = self.values[first, year], self.values[second, year]
        question = f"What is the ratio of {self.topic.quantity} for {first} to {second} in {year}?"
        self._arithmetic(question, a / b, "{}/{}", [a, b], "")

    def average(self) -> None:
        """Of a row's two years."""
        row, (new, old) = self.rng.choice(self.rows), self.years[:2]
        a, b = self.values[row, old], self.values[row, new]
        question = f"What is the average of {self.topic.quantity} for {row} in {old} and {new}?"
        self._arithmetic(question, (a + b) / 2, "({}+{})/2", [a, b])

    def change_of_sum(self) -> None:
        """In two steps: the sum of two rows, later less earlier."""
        (first, second), (new, old) = self.rng.sample(self.rows, 2), self.years[:2]
        a, b, c, d = (self.values[row, year] for year in (new, old) for row in (first, second))
        question = f"What is the change in the sum of {self.topic.quantity} for {first} and {second}"
        self._arithmetic(f"{question} from {old} to {new}?", a + b - c - d, "({}+{})-({}+{})", [a, b, c, d])

    def excess(self) -> None:
        """The larger of two rows less the smaller, in other words than `change`."""
        year = self.rng.choice(self.years)
        high, low = sorted(self.rng.sample(self.rows, 2), key=lambda row: -self.values[row, year])
        a, b = self.values[high, year], self.values[low, year]
        self._arithmetic(f"By how much did {high} exceed {low} in {year}?", a - b, "{}-{}", [a, b])

    def share(self) -> None:
        """In two steps: one row of the sum of two, in percent."""
        (first, second), year = self.rng.sample(self.rows, 2), self.rng.choice(self.years)
        a, b = self.values[first, year], self.values[second, year]
        question = f"Of {self.topic.quantity} for {first} and {second} together, what percentage was {first} in {year}?"
        self._arithmetic(question, a / (a + b) * 100, "{}/({}+{})", [a, a, b], "percent")

    def mean_of_three(self) -> None:
        """Of a row's three years."""
        row = self.rng.choice(self.rows)
        figures = [self.values[row, year] for year in self.years]
        question = f"What is the mean of {self.topic.quantity} for {row} over the three years shown?"
        self._arithmetic(question, sum(figures, Decimal()) / 3, "({}+{}+{})/3", figures)

    def percentage_from_note(self) -> None:
        """The change from the second note's year to the latest one, in percent."""
        assert self.told
        row, old = self.told
        question = f"By what percentage did {self.topic.quantity} for {row} move between {old} and {self.years[0]}?"
        self._percentage(question, (row, self.years[0]), self.told, ["1", "2"])

    def _worded(self, wording: str, **words: object) -> str:
        topic = self.topic
        return wording.format(was=f"{topic.verb} {topic.quantity}", items=topic.items, quantity=topic.quantity, **words)

    def _figure(self, key: Key, wording: str, answer_from: str, notes: list[str]) -> None:
        # the figure itself: the currency sign is the table's, not the answer's
        text = self.topic.cell(self.values[key])
        self.add(self._worded(wording, row=key[0], year=key[1]), [text], "span", answer_from, notes, self.topic.scale)

    def _change(self, new: Key, old: Key, notes: list[str]) -> None:
        a, b = self.values[new], self.values[old]
        question = f"What is the change in {self.topic.quantity} for {new[0]} from {old[1]} to {new[1]}?"
        self._arithmetic(question, a - b, "{}-{}", [a, b], notes=notes)

    def _percentage(self, question: str, new: Key, old: Key, notes: list[str]) -> None:
        a, b = self.values[new], self.values[old]
        self._arithmetic(question, (a - b) / b * 100, "({}-{})/{}", [a, b, b], "percent", notes)

    def _arithmetic(
        self,
        question: str,
        value: Decimal,
        form: str,
        operands: list[Decimal],
        scale: str | None = None,
        notes: list[str] | None = None,
    ) -> None:
        derivation = form.format(*(f"({each:,})" if each < 0 else f"{each:,}" for each in operands))
        rounded = float(value.quantize(Decimal("0.01"), ROUND_HALF_UP))
        answer: int | float = int(rounded) if rounded.is_integer() else rounded
        scale = self.topic.scale if scale is None else scale
        self.add(question, answer, "arithmetic", "table-text", notes or ["1"], scale, derivation)
