"""Servers of one model, asked the same questions by 1, 4 and 16 clients at once; answers that keep a schema; long load.

    python -m benchmarks.serving pintune,NAME=http://127.0.0.1:8000/v1 other,NAME=http://127.0.0.1:8001/v1
    python -m benchmarks.serving --load 10 --process PID pintune,NAME=http://127.0.0.1:8000/v1
    python -m benchmarks.serving --table                the lines in docs/benchmarks.md, from the stored result

The servers are started before, by hand. They take turns in every round, so that all of them meet the same other load.
Questions are the sample set's, each with a number of its own before it. Every answer has NEW_TOKENS tokens: what is
asked for is a long text, and an answer that ends before is counted. Writes benchmarks/results/serving.json, each part
when it is done.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import jsonschema
import openai

from benchmarks.machine import RESULTS, facts
from pipeline import recipe
from pipeline.data.format import style
from pipeline.tatqa import prompt, sample

FILE = RESULTS / "serving.json"
CLIENTS, REQUESTS, NEW_TOKENS = (1, 4, 16), {1: 8, 4: 16, 16: 32}, 64
LONG = "Write a long report in full sentences about these figures, and do not stop."
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
    parser.add_argument("--load", type=float, default=0, help="minutes of 16 clients on the first server, nothing else")
    parser.add_argument("--process", type=int, default=0, help="number of the first server's process, for its memory")
    parser.add_argument("--table", action="store_true", help="only print the lines")
    args = parser.parse_args()
    split = [each.partition("=") for each in args.servers]
    servers = {name.partition(",")[0]: (_client(url), name.partition(",")[2]) for name, _, url in split}
    if args.load:
        first = next(iter(servers))
        _write("load", {"server": first, **_loaded(*servers[first], args.load * 60, args.process)})
    elif servers:
        _write("speed", _measured(servers, args.rounds))
        first = next(iter(servers))
        if args.structured:
            _write("structured", {"server": first, **_structured(*servers[first], args.structured)})
    print(_lines(json.loads(FILE.read_text())))


def _write(part: str, result: dict[str, Any]) -> None:
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    known[part] = {**facts("serving.py", "torch", "transformers"), **result}
    FILE.write_text(json.dumps(known, indent=2) + "\n")


def _client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=600)


def _questions() -> list[str]:
    how = style(recipe.load("quickstart").data)
    rows = [
        prompt.question_row(context, context.questions[0].text, how)
        for context in map(_context, sample.contexts("heldout"))
    ]
    return [f"{row['input']}\n{LONG}" for row in rows]


def _context(raw: Any) -> Any:
    from pipeline.tatqa import schema

    return schema.check(raw, "the sample set")


def _measured(servers: dict[str, tuple[openai.OpenAI, str]], rounds: int) -> dict[str, Any]:
    questions = _questions()
    found: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {str(clients): [] for clients in CLIENTS} for name in servers
    }
    asked = 0
    load = round(os.getloadavg()[0], 1)
    for _ in range(rounds):
        for clients in CLIENTS:
            # each begins in another way: a server may know a prompt's beginning from an earlier one
            chosen = [f"({asked + i}) {questions[(asked + i) % len(questions)]}" for i in range(REQUESTS[clients])]
            asked += REQUESTS[clients]
            for name, (client, model) in servers.items():
                found[name][str(clients)].append(_round(client, model, chosen, clients))
                print(name, clients, found[name][str(clients)][-1], flush=True)
    requests = {str(clients): count for clients, count in REQUESTS.items()}
    return {"load_before": load, "requests": requests, "new_tokens": NEW_TOKENS, "servers": found}


def _asked(client: openai.OpenAI, model: str, question: str) -> tuple[int, float, float]:
    """An answer's tokens, and the seconds to its first token and to its end."""
    begun, first, tokens, parts = time.monotonic(), 0.0, 0, 0
    messages: Any = [{"role": "user", "content": question}]
    for part in client.chat.completions.create(
        model=model,
        messages=messages,
        max_tokens=NEW_TOKENS,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    ):
        if part.choices and part.choices[0].delta.content:
            first = first or time.monotonic() - begun
            parts += 1
        if part.usage:
            tokens = part.usage.completion_tokens
    return tokens or parts, first, time.monotonic() - begun  # llama_cpp.server streams a token a part, and no usage


def _round(client: openai.OpenAI, model: str, questions: list[str], clients: int) -> dict[str, float]:
    """Tokens a second of all clients together, and the seconds of an answer and to its first token."""
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda question: _asked(client, model, question), questions))
    seconds = time.monotonic() - begun
    return {
        "tokens_per_second": round(sum(tokens for tokens, _, _ in answers) / seconds, 2),
        "seconds": round(seconds, 2),
        "ended_before": sum(tokens < NEW_TOKENS for tokens, _, _ in answers),
        "first_token_p50": _quantile([first for _, first, _ in answers], 0.5),
        "p50": _quantile([whole for _, _, whole in answers], 0.5),
        "p95": _quantile([whole for _, _, whole in answers], 0.95),
    }


def _quantile(values: list[float], part: float) -> float:
    """The nearest rank: the smallest value that `part` of all do not exceed."""
    return round(sorted(values)[max(0, math.ceil(part * len(values)) - 1)], 3)


def _loaded(client: openai.OpenAI, model: str, seconds: float, process: int) -> dict[str, Any]:
    """Sixteen clients for some time: requests, failures and their kinds, latency, and memory once a minute."""
    questions, end = _questions(), time.monotonic() + seconds
    times: list[float] = []
    failed: dict[str, int] = {}
    memory: list[int] = []

    def work(number: int) -> None:
        i = number
        while time.monotonic() < end:
            try:
                times.append(_asked(client, model, f"({i}) {questions[i % len(questions)]}")[2])
            except openai.APIError as error:
                failed[type(error).__name__] = failed.get(type(error).__name__, 0) + 1
            i += 16

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        working = [pool.submit(work, number) for number in range(16)]
        while not all(each.done() for each in working):
            if process and len(memory) <= (seconds - (end - time.monotonic())) / 60:
                memory.append(_resident(process))
            time.sleep(1)
    [each.result() for each in working]
    if process:
        memory.append(_resident(process))
    of = {"requests": len(times), "failed": failed, "p50": _quantile(times, 0.5), "p95": _quantile(times, 0.95)}
    return {"minutes": seconds / 60, "clients": 16, "new_tokens": NEW_TOKENS, **of, "resident_bytes": memory}


def _resident(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def _structured(client: openai.OpenAI, model: str, count: int) -> dict[str, Any]:
    """How many of `count` answers keep the schema, and why others do not."""
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}

    def problem(number: int) -> str:
        messages: Any = [{"role": "user", "content": f"Net sales were ${number} million. What were net sales?"}]
        try:
            answer = client.chat.completions.create(
                model=model, messages=messages, max_tokens=64, temperature=1, seed=number, response_format=form
            )
            jsonschema.validate(json.loads(answer.choices[0].message.content or ""), SCHEMA)
        except (ValueError, jsonschema.ValidationError, openai.APIError) as error:
            return type(error).__name__
        return ""

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        problems = [each for each in pool.map(problem, range(count)) if each]
    return {"asked": count, "kept": count - len(problems), "problems": sorted(set(problems))}


def _lines(result: dict[str, Any]) -> str:
    lines: list[str] = []
    if speed := result.get("speed"):
        lines += [
            "| server | clients | tokens/s | p50, s | p95, s | first token, s |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for name, measured in speed["servers"].items():
            for clients in CLIENTS:
                best = max(measured[str(clients)], key=lambda each: float(each["tokens_per_second"]))
                cells = [best["tokens_per_second"], best["p50"], best["p95"], best["first_token_p50"]]
                lines.append(f"| {name} | {clients} | {' | '.join(f'{each:.2f}' for each in cells)} |")
    if structured := result.get("structured"):
        lines.append(
            f"\n{structured['kept']} of {structured['asked']} answers of {structured['server']} keep the schema."
        )
    if load := result.get("load"):
        memory = [f"{each / 2**20:,.0f}" for each in (load["resident_bytes"] or [0])]
        answers = f"{load['requests']} answers, {sum(load['failed'].values())} failed"
        lines.append(
            f"\n{load['minutes']:.0f} minutes of {load['clients']} clients on {load['server']}: {answers}, "
            f"p50 {load['p50']:.1f} s, p95 {load['p95']:.1f} s; MiB by the minute: {', '.join(memory)}."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
