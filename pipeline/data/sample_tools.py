"""The tools sample: made-up conversations in which a model calls business systems, so that a first run needs no data.

    python -m pipeline fetch --set data.source=sample-tools    # writes data/sample-tools/raw/{train,heldout}.jsonl

A seeded generator gives the same bytes on every machine. A row is OpenAI's messages with tools, as a file of a user's
own would have it. Every conversation may call

    look_up_report(company, year, item)    convert_currency(amount, from, to, date)
    post_to_ledger(account, amount, scale, currency)

and some also a tool that is named almost like one of these. The kinds: one call, alone or with its result and an answer
in words; two calls in one turn; a call of the tool with the similar name; and a question that needs no call, since it
holds its answer, or since the year or the company must be asked for. "heldout" has other companies and wordings.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from pipeline.data.readers.conversation import Conversation, Message
from pipeline.data.sample_tools_words import (
    CONVERT,
    CURRENCIES,
    LOOK_UP,
    LOOK_UP_DATE,
    MONTHS,
    POST,
    POST_NOTE,
    SCALES,
    WORDS,
    Words,
)

SEED = 20261
ROWS = {"train": 70, "heldout": 28}

Kind = Callable[[random.Random, Words], list[Message]]


def conversations(split: str) -> list[Conversation]:
    """The conversations of one split ("train" or "heldout"), the same on every machine.

    Raises:
        KeyError: for another split.
    """
    return [_conversation(split, number) for number in range(ROWS[split])]


def _conversation(split: str, number: int) -> Conversation:
    # one generator per row: adding a row at the end changes none before it
    rng = random.Random(f"{SEED} {split} {number}")
    kind = _KINDS[number % len(_KINDS)]
    messages = kind(rng, WORDS[split])
    similar = [LOOK_UP_DATE, POST_NOTE]
    called = {call["function"]["name"] for each in messages for call in each.get("tool_calls", ())}
    chosen = [each for each in similar if each["function"]["name"] in called]
    if not chosen and rng.random() < 0.4:
        chosen = [rng.choice(similar)]
    tools = [LOOK_UP, CONVERT, POST, *chosen]
    rng.shuffle(tools)
    return {"messages": messages, "tools": tools}


def _look_up(rng: random.Random, words: Words, answered: bool = False) -> list[Message]:
    company, item, year = rng.choice(words.companies), rng.choice(words.items), rng.randint(2012, 2024)
    asked = rng.choice(words.look_up).format(company=company, item=item, year=year)
    said = _calls(asked, (LOOK_UP, {"company": company, "year": year, "item": item}))
    if not answered:
        return said
    value, currency = _figure(rng), rng.choice(CURRENCIES)
    result = {"value": value, "scale": "million", "currency": currency}
    answer = f"The {item} of {company} in {year} was {value} million {currency}."
    return _answered(said, [result], answer)


def _look_up_answered(rng: random.Random, words: Words) -> list[Message]:
    return _look_up(rng, words, answered=True)


def _compare(rng: random.Random, words: Words) -> list[Message]:
    company, item, year = rng.choice(words.companies), rng.choice(words.items), rng.randint(2012, 2024)
    asked = rng.choice(words.compare).format(company=company, item=item, year=year, before=year - 1)
    both = [(LOOK_UP, {"company": company, "year": each, "item": item}) for each in (year - 1, year)]
    said = _calls(asked, *both)
    if rng.random() < 0.5:
        return said
    first, second = _figure(rng), _figure(rng)
    results = [{"value": each, "scale": "million", "currency": "EUR"} for each in (first, second)]
    of_both = f"{first} million EUR in {year - 1} and {second} million EUR in {year}"
    return _answered(said, results, f"The {item} of {company} was {of_both}.")


def _convert(rng: random.Random, words: Words) -> list[Message]:
    amount = rng.choice((rng.randint(5, 990), rng.randint(1, 99) * 100, _figure(rng)))
    source, target = rng.sample(CURRENCIES, 2)
    year, month, day = rng.randint(2015, 2024), rng.randint(1, 12), rng.randint(1, 28)
    named = f"{day} {MONTHS[month - 1]} {year}"
    asked = rng.choice(words.convert).format(amount=amount, source=source, target=target, day=named)
    date = f"{year}-{month:02}-{day:02}"
    said = _calls(asked, (CONVERT, {"amount": amount, "from": source, "to": target, "date": date}))
    if rng.random() < 0.5:
        return said
    value = _figure(rng)
    return _answered(said, [{"amount": value, "currency": target}], f"{amount} {source} is {value} {target}.")


def _post(rng: random.Random, words: Words) -> list[Message]:
    amount, scale, currency = _figure(rng), rng.choice(SCALES), rng.choice(CURRENCIES)
    account = str(rng.randint(1000, 8999))
    asked = rng.choice(words.post).format(amount=amount, scale=scale, currency=currency, account=account)
    arguments = {"account": account, "amount": amount, "scale": scale, "currency": currency}
    said = _calls(asked, (POST, arguments))
    if rng.random() < 0.5:
        return said
    entry = rng.randint(10000, 99999)
    return _answered(said, [{"status": "posted", "entry": entry}], f"It is posted as entry {entry}.")


def _similar_name(rng: random.Random, words: Words) -> list[Message]:
    if rng.random() < 0.5:
        text, account = rng.choice(words.notes), str(rng.randint(1000, 8999))
        asked = rng.choice(words.note).format(text=text, account=account)
        return _calls(asked, (POST_NOTE, {"account": account, "text": text}))
    company, year = rng.choice(words.companies), rng.randint(2012, 2024)
    asked = rng.choice(words.published).format(company=company, year=year)
    return _calls(asked, (LOOK_UP_DATE, {"company": company, "year": year}))


def _no_call(rng: random.Random, words: Words) -> list[Message]:
    company, item, year = rng.choice(words.companies), rng.choice(words.items), rng.randint(2012, 2024)
    first, second = rng.sample(range(20, 900), 2)
    wording, answer = rng.choice(
        (
            (words.no_year, "Which year do you mean?"),
            (words.no_company, "Which company do you mean?"),
            (words.told, f"{year if second > first else year - 1} was higher."),
        )
    )
    values = {"company": company, "item": item, "year": year, "before": year - 1, "low": first, "high": second}
    asked = rng.choice(wording).format(**values)
    asked = asked[0].upper() + asked[1:]
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


_KINDS: tuple[Kind, ...] = (_look_up, _convert, _post, _compare, _no_call, _look_up_answered, _similar_name)


def _figure(rng: random.Random) -> float:
    """A number with a digit after the point, which is never 0."""
    return rng.randint(2, 900) + rng.randint(1, 9) / 10


def _calls(asked: str, *calls: tuple[dict[str, Any], dict[str, Any]]) -> list[Message]:
    """A question, and the turn that calls tools with their arguments."""
    made = [
        {
            "id": f"call{number:05}",
            "type": "function",
            "function": {"name": tool["function"]["name"], "arguments": arguments},
        }
        for number, (tool, arguments) in enumerate(calls, 1)
    ]
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": "", "tool_calls": made}]


def _answered(said: list[Message], results: list[dict[str, Any]], answer: str) -> list[Message]:
    """A turn of calls with their results, and the answer in words."""
    identifiers = [call["id"] for call in said[-1]["tool_calls"]]
    turns = [
        {"role": "tool", "content": json.dumps(result), "tool_call_id": identifier}
        for identifier, result in zip(identifiers, results, strict=True)
    ]
    return [*said, *turns, {"role": "assistant", "content": answer}]
