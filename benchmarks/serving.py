"""Servers of one model, asked the same questions by 1, 4 and 16 clients at once; and how many answers keep a schema.

    python -m benchmarks.serving pintune,NAME=http://127.0.0.1:8000/v1 other,NAME=http://127.0.0.1:8001/v1
    python -m benchmarks.serving --table                the lines in docs/benchmarks.md, from the stored result

The servers are started before, by hand. They take turns in every round, so that all of them meet the same other load;
the best round counts. Questions are the sample set's, each asked once a round. Writes benchmarks/results/serving.json.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import time
from typing import Any

import jsonschema
import openai

from benchmarks.machine import RESULTS, facts
from pipeline import recipe
from pipeline.data.format import style
from pipeline.tatqa import prompt, sample

FILE = RESULTS / "serving.json"
CLIENTS, REQUESTS, NEW_TOKENS = (1, 4, 16), {1: 4, 4: 8, 16: 16}, 48
SCHEMA = {
    "type": "object",
    "properties": {"value": {"type": "integer", "minimum": 0, "maximum": 9999}, "scale": {"enum": ["million", ""]}},
    "required": ["value", "scale"],
    "additionalProperties": False,
}


def main() -> None:
    """Measure, write the result, print the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "servers", nargs="*", metavar="SERVER,MODEL=URL", help="the first one's structured answers are counted"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--structured", type=int, default=500, help="answers that must keep the schema")
    parser.add_argument("--table", action="store_true", help="only print the lines")
    args = parser.parse_args()
    if not args.table:
        split = [each.partition("=") for each in args.servers]
        servers = {name.partition(",")[0]: _client(url) for name, _, url in split}
        models = {name.partition(",")[0]: name.partition(",")[2] for name, _, _ in split}
        result = {"load_before": round(os.getloadavg()[0], 1), **_measured(servers, models, args.rounds)}
        _write(result)
        if args.structured:
            first = next(iter(servers))
            kept = _structured(servers[first], models[first], args.structured)
            _write({**result, "structured": {"server": first, "asked": args.structured, "kept": kept}})
    print(_lines(json.loads(FILE.read_text())))


def _write(result: dict[str, Any]) -> None:
    FILE.write_text(json.dumps({**facts("serving.py", "torch", "transformers"), **result}, indent=2) + "\n")


def _client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=600)


def _questions() -> list[str]:
    how = style(recipe.load("quickstart").data)
    rows = [
        prompt.question_row(context, context.questions[0].text, how)
        for context in map(_context, sample.contexts("heldout"))
    ]
    return [f"{row['instruction']}\n{row['input']}" for row in rows]


def _context(raw: Any) -> Any:
    from pipeline.tatqa import schema

    return schema.check(raw, "the sample set")


def _measured(servers: dict[str, openai.OpenAI], models: dict[str, str], rounds: int) -> dict[str, Any]:
    questions = _questions()
    found: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {str(clients): [] for clients in CLIENTS} for name in servers
    }
    asked = 0
    for _ in range(rounds):
        for clients in CLIENTS:
            chosen = [questions[(asked + i) % len(questions)] for i in range(REQUESTS[clients])]
            asked += REQUESTS[clients]  # never the same ones again, which a cache would know
            for name, client in servers.items():
                found[name][str(clients)].append(_round(client, models[name], chosen, clients))
                print(name, clients, found[name][str(clients)][-1], flush=True)
    requests = {str(clients): count for clients, count in REQUESTS.items()}
    return {"requests": requests, "new_tokens": NEW_TOKENS, "servers": found}


def _round(client: openai.OpenAI, model: str, questions: list[str], clients: int) -> dict[str, float]:
    """Tokens a second of all clients together, and the median seconds to a first token."""

    def ask(question: str) -> tuple[int, float]:
        begun, first, tokens = time.monotonic(), 0.0, 0
        messages: Any = [{"role": "user", "content": question}]
        for part in client.chat.completions.create(
            model=model, messages=messages, max_tokens=NEW_TOKENS, temperature=0, stream=True
        ):
            if part.choices and part.choices[0].delta.content:
                first = first or time.monotonic() - begun
                tokens += 1  # about one token a part
        return tokens, first

    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(ask, questions))
    seconds = time.monotonic() - begun
    firsts = sorted(first for _, first in answers)
    return {
        "parts_per_second": round(sum(tokens for tokens, _ in answers) / seconds, 2),
        "seconds": round(seconds, 2),
        "first_token_seconds": round(firsts[len(firsts) // 2], 2),
    }


def _structured(client: openai.OpenAI, model: str, count: int) -> int:
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}

    def keeps(number: int) -> bool:
        messages: Any = [{"role": "user", "content": f"Net sales were ${number} million. What were net sales?"}]
        try:
            answer = client.chat.completions.create(
                model=model, messages=messages, max_tokens=64, temperature=1, seed=number, response_format=form
            )
            jsonschema.validate(json.loads(answer.choices[0].message.content or ""), SCHEMA)
        except (ValueError, jsonschema.ValidationError, openai.APIError):
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return sum(pool.map(keeps, range(count)))


def _lines(result: dict[str, Any]) -> str:
    lines = ["| server | 1 client | 4 clients | 16 clients |", "|---|---|---|---|"]
    for name, measured in result["servers"].items():
        best = [max(each["parts_per_second"] for each in measured[str(clients)]) for clients in CLIENTS]
        lines.append(f"| {name} | {' | '.join(f'{each:.1f}' for each in best)} |")
    if structured := result.get("structured"):
        lines.append(
            f"\n{structured['kept']} of {structured['asked']} answers of {structured['server']} keep their schema."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
