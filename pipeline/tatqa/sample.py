"""The sample set: made-up annual-report contexts in TAT-QA's raw schema, so that the first run needs no download.

    python -m pipeline fetch        # writes data/sample/raw/{train,heldout}.json

A seeded generator gives the same bytes on every machine. Companies, figures and notes are invented; the shape is
TAT-QA's (Zhu et al., ACL 2021): a small table, two notes and six questions, in "train" eight. One context looks like
this:

    | | 2021 | 2020 |                 (1) Net sales of Harlow Industries by segment (in millions).
    | Packaging | $412.6 | $390.1 |   (2) In 2019, net sales for Coatings were 95.2. The company operates plants in
    | Coatings | 88.0 | 91.4 |            Leeds and Gdansk.

    What were net sales for Packaging in 2021?                                 ['412.6'] million       span
    What is the change in net sales for Coatings from 2019 to 2020?            -3.8 million            arithmetic

"train" asks the kinds of "heldout" in other shares: more sums of each kind, figures in notes and comparisons of years,
which take a small model longest. "hard" has topics, wordings and kinds of sums that training has not, and three years:

    invoke evaluate --set data.evaluation=hard
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from pipeline.tatqa.sample_questions import Questions
from pipeline.tatqa.sample_words import AUDITORS, COMPANIES, HARD_TOPICS, PLACES, REASONS, TOPICS, Topic

SEED = 20211
CONTEXTS = {"train": 60, "heldout": 40, "hard": 20}


def contexts(split: str) -> list[dict[str, Any]]:
    """Raw contexts of one split ("train", "heldout" or "hard"), the same on every machine.

    Raises:
        KeyError: for another split.
    """
    return [_context(split, number) for number in range(CONTEXTS[split])]


def _context(split: str, number: int) -> dict[str, Any]:
    # one generator per context: adding a context at the end changes none before it
    rng = random.Random(f"{SEED} {split} {number}")
    hard, train = split == "hard", split == "train"
    topics = HARD_TOPICS if hard else TOPICS
    topic = topics[number % len(topics)]
    company = rng.choice(COMPANIES)
    latest = rng.randint(2015, 2023)
    years = [latest - past for past in range(3 if hard else 2)]
    rows = rng.sample(topic.rows, 4 if hard else rng.choice((3, 4) if train else (3, 3, 4)))
    values = _values(rng, topic, rows, years)
    table = [["", *map(str, years)]]
    for place, row in enumerate(rows):
        table.append([row, *(topic.cell(values[row, year], topic.dollar and place == 0) for year in years)])

    context = Questions(rng, topic, rows, years, values)
    places = rng.sample(PLACES, rng.choice((2, 3)))
    context.lookup("How much did {row} report in {year}?" if hard else "What {was} for {row} in {year}?")
    fact = _figure_in_note(context) if rng.random() < 0.5 else _fact(context, company, train)
    _ask_to_compare(context, split)
    where = "Name the cities with plants." if hard else "In which locations does the company operate plants?"
    context.add(where, places, "multi-span", "text", ["2"])
    for ask in _sums_for_training(context) if train else _sums(context, hard):
        ask()
    notes = [
        f"{topic.quantity[0].upper()}{topic.quantity[1:]} of {company} by {topic.item} ({topic.caption}).",
        f"{fact} The company operates plants in {', '.join(places[:-1])} and {places[-1]}.",
    ]
    questions = [{"uid": _uid(split, number, f"question {each['order']}"), **each} for each in context.asked]
    paragraphs = [
        {"uid": _uid(split, number, f"note {order}"), "order": order, "text": text}
        for order, text in enumerate(notes, 1)
    ]
    return {
        "table": {"uid": _uid(split, number, "table"), "table": table},
        "paragraphs": paragraphs,
        "questions": questions,
    }


def _values(rng: random.Random, topic: Topic, rows: list[str], years: list[int]) -> dict[tuple[str, int], Decimal]:
    """A figure for every cell, no two equal."""
    values: dict[tuple[str, int], Decimal] = {}
    for row in rows:
        for year in years:
            value = topic.draw(rng)
            while abs(value) in map(abs, values.values()):
                value = topic.draw(rng)
            values[row, year] = value
    return values


def _figure_in_note(context: Questions) -> str:
    """A sentence with a figure of a year that the table does not have, and a question about it."""
    topic, row, year = context.topic, context.rng.choice(context.rows), context.years[-1] - 1
    context.told = (row, year)
    context.values[context.told] = topic.draw(context.rng)
    context.lookup_in_note()
    return f"In {year}, {topic.quantity} for {row} {topic.verb} {topic.cell(context.values[context.told])}."


def _fact(context: Questions, company: str, train: bool) -> str:
    """A sentence with a fact, and a question about it."""
    rng, latest = context.rng, context.years[0]
    row, reason, auditor, year = rng.choice(context.rows), rng.choice(REASONS), rng.choice(AUDITORS), latest - 4
    partner = rng.choice([each for each in COMPANIES if each != company])
    facts = (
        (
            f"The movement in {row} was mainly due to {reason}.",
            f"What was the movement in {row} mainly due to?",
            reason,
        ),
        (f"The figures were audited by {auditor}.", "Who audited the figures?", auditor),
        (
            f"{company} adopted the new standard on 1 January {latest}.",
            "When did the company adopt the new standard?",
            f"1 January {latest}",
        ),
        (f"{company} acquired {partner} in {year}.", f"In which year was {partner} acquired?", str(year)),
    )
    sentence, question, answer = rng.choice((facts[0], *facts) if train else facts)
    context.add(question, [answer], "span", "text", ["2"])
    return sentence


def _ask_to_compare(context: Questions, split: str) -> None:
    rows, above, largest = context.count_rows, context.count_above, context.largest_year
    kinds: dict[str, tuple[Callable[[], None], ...]] = {
        "train": (rows, rows, above, largest),
        "heldout": (rows, above, largest),
        "hard": (
            lambda: largest("When {was} for {row} at the highest?"),
            lambda: above("In {year}, how many {items} exceeded {bar}?"),
        ),
    }
    context.rng.choice(kinds[split])()


def _sums(context: Questions, hard: bool) -> list[Callable[[], None]]:
    """Two kinds of arithmetic that suit the topic: no quotients of losses, no sums of percentages."""
    topic, choice = context.topic, context.rng.choice
    quotients, adds = not topic.signed, topic.scale != "percent"
    if hard:
        from_note = context.percentage_from_note if quotients else context.change_from_note
        return [
            choice((context.excess, context.mean_of_three)),
            from_note if context.told else context.change_of_sum,
        ]
    total = context.total if adds else context.change
    share = context.share if quotients and adds else context.average
    return [
        choice((context.change, context.change, total, context.percentage if quotients else total)),
        context.change_from_note
        if context.told
        else choice((context.ratio if quotients else context.average, context.average, share)),
    ]


def _sums_for_training(context: Questions) -> list[Callable[[], None]]:
    """Four sums of kinds that suit the topic, as `_sums`."""
    topic = context.topic
    quotients, adds = not topic.signed, topic.scale != "percent"
    others = [context.average]
    if context.told:
        others.append(context.change)
    if quotients:
        others += [context.ratio, context.percentage]
    if adds:
        others.append(context.total)
    if quotients and adds:
        others.append(context.share)
    others += [context.change] * (3 - len(others))
    return [context.change_from_note if context.told else context.change, *context.rng.sample(others, 3)]


def _uid(split: str, number: int, part: str) -> str:
    """An identifier in the form of TAT-QA's (a UUID), from a hash: stable, and unlike any of theirs."""
    digest = hashlib.sha256(f"pintune sample {SEED} {split} {number} {part}".encode()).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
