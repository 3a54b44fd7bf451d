"""The words of the tools sample: its tools, companies, and how questions are asked in each split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CURRENCIES = ("EUR", "USD", "GBP", "JPY", "CHF")
SCALES = ("thousand", "million", "billion")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip


def _tool(name: str, description: str, properties: dict[str, dict[str, Any]]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_TEXT, _NUMBER, _YEAR = {"type": "string"}, {"type": "number"}, {"type": "integer"}
_CURRENCY = {"type": "string", "enum": list(CURRENCIES)}
_DATE = {"type": "string", "description": "YYYY-MM-DD"}

LOOK_UP = _tool(
    "look_up_report", "A figure of an annual report.", {"company": _TEXT, "year": _YEAR, "item": _TEXT}
)  # fmt: skip
CONVERT = _tool(
    "convert_currency",
    "An amount in another currency.",
    {"amount": _NUMBER, "from": _CURRENCY, "to": _CURRENCY, "date": _DATE},
)
POST = _tool(
    "post_to_ledger",
    "Post an amount to an account.",
    {"account": _TEXT, "amount": _NUMBER, "scale": {"type": "string", "enum": list(SCALES)}, "currency": _CURRENCY},
)
# named almost as the others, and for something else
LOOK_UP_DATE = _tool("look_up_report_date", "The day a report was published.", {"company": _TEXT, "year": _YEAR})
POST_NOTE = _tool("post_to_ledger_note", "Write a note on an account.", {"account": _TEXT, "text": _TEXT})


@dataclass(frozen=True)
class Words:
    """What a split has of its own: companies, and wordings by the kind of a question."""

    companies: tuple[str, ...]
    look_up: tuple[str, ...]
    compare: tuple[str, ...]
    convert: tuple[str, ...]
    post: tuple[str, ...]
    published: tuple[str, ...]
    note: tuple[str, ...]
    no_year: tuple[str, ...]
    no_company: tuple[str, ...]
    told: tuple[str, ...]
    items: tuple[str, ...] = (
        "revenue", "net income", "operating profit", "total assets", "cash flow", "inventories", "capital expenditure",
    )  # fmt: skip
    notes: tuple[str, ...] = ("checked by audit", "awaiting invoice", "to be reversed", "paid twice")


WORDS = {
    "train": Words(
        companies=(
            "Harlow Industries", "Brightwater Foods", "Castellan Energy", "Dunmore Textiles", "Evergreen Logistics",
            "Fairmont Steel", "Glenrock Mining", "Hadley Software", "Ironbridge Tools", "Juniper Health",
        ),
        look_up=(
            "What was the {item} of {company} in {year}?",
            "How high was {company}'s {item} in {year}?",
            "Give me the {item} that {company} reported for {year}.",
            "I need {company}, {item}, {year}.",
        ),
        compare=(
            "What was the {item} of {company} in {before} and in {year}?",
            "Compare {company}'s {item} in {before} with that in {year}.",
            "Show the {item} of {company} for {before} and {year}.",
        ),
        convert=(
            "How much is {amount} {source} in {target} on {day}?",
            "Convert {amount} {source} to {target} as of {day}.",
            "What were {amount} {source} worth in {target} on {day}?",
        ),
        post=(
            "Post {amount} {scale} {currency} to account {account}.",
            "Please book {amount} {scale} {currency} on account {account}.",
            "Account {account} gets {amount} {scale} {currency}.",
        ),
        published=(
            "When was the {year} report of {company} published?",
            "On which day did {company} publish its report for {year}?",
        ),
        note=("Write the note '{text}' on account {account}.", "Add a note to account {account}: '{text}'."),
        no_year=("What was the {item} of {company}?", "How high was {company}'s {item}?"),
        no_company=("What was the {item} in {year}?", "Give me the {item} for {year}."),
        told=(
            "{company} had {item} of {low} million in {before} and {high} million in {year}. Which year was higher?",
            "In {before} the {item} was {low} million, in {year} {high} million. In which year was it higher?",
        ),
    ),
    "heldout": Words(
        companies=(
            "Kestrel Aviation", "Larkspur Media", "Meridian Chemicals", "Northgate Retail", "Oakhurst Insurance",
            "Pemberton Paper",
        ),
        look_up=(
            "Which {item} did {company} have in {year}?",
            "Please find the {year} {item} of {company}.",
        ),
        compare=(
            "Tell me {company}'s {item} for both {before} and {year}.",
            "How did the {item} of {company} differ between {before} and {year}?",
        ),
        convert=(
            "I have {amount} {source}. What is that in {target} on {day}?",
            "Change {amount} {source} into {target} at the rate of {day}.",
        ),
        post=(
            "Record {amount} {scale} {currency} in account {account}.",
            "Enter {amount} {scale} {currency} for account {account}, please.",
        ),
        published=("What is the publication date of {company}'s {year} report?",),
        note=("Please attach '{text}' as a note to account {account}.",),
        no_year=("Tell me the {item} of {company}.",),
        no_company=("Please find the {year} {item}.",),
        told=("{item} at {company}: {low} million in {before}, {high} million in {year}. Which of the two is higher?",),
    ),
}  # fmt: skip
