# /// script
# requires-python = ">=3.11"
# dependencies = ["openai==3.57.0", "httpx==0.28.1", "fastapi==0.165.0", "uvicorn==0.54.0"]
# ///
"""Ask the served model about a table, and post its answer to a ledger, once.

uv run docs/ledger/run.py                                  # after: invoke export serve
uv run docs/ledger/run.py --ledger http://127.0.0.1:9000   # a ledger that runs already
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation, localcontext
from pathlib import Path
from typing import Any

import httpx
import openai
import service
import uvicorn

TOOL = "answer_financial_question"
STATEMENT = {
    "table": [["", "2019", "2018"], ["Product", "320.5", "301.2"], ["Other", "44.1", "56.7"]],
    "notes": ["Net sales by segment (in millions)."],
    "question": "What was the change in net sales for Other from 2018 to 2019?",
}
ACCOUNT = "Change in net sales, Other, 2019"
UNITS = {"": 1, "thousand": 10**3, "million": 10**6, "billion": 10**9}
TRIES = 3


class Failed(Exception):
    """Nothing was posted, or nobody knows; the message says which."""


def called(client: openai.OpenAI, model: str, statement: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the tool call that the model makes.

    A small model cannot be trusted to decide on a call, or to copy a table. So `tool_choice` names the function, and
    the schema of its arguments admits no other table, notes and question than those of the statement.
    """
    properties = {name: {"const": value} for name, value in statement.items()}
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": statement["question"]}],
        tools=[{"type": "function", "function": {"name": TOOL, "parameters": parameters}}],
        tool_choice={"type": "function", "function": {"name": TOOL}},
    )
    calls = answer.choices[0].message.tool_calls
    if not calls or calls[0].type != "function" or calls[0].function.name != TOOL:
        raise Failed("the model made no call of the tool; nothing was posted")
    arguments: dict[str, Any] = json.loads(calls[0].function.arguments)
    if arguments != statement:
        raise Failed("the call is about another statement; nothing was posted")
    return arguments


def answered(server: str, key: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the tool answers."""
    headers = {"Authorization": f"Bearer {key}"}
    try:
        got = httpx.post(f"{server}/v1/{TOOL}", json=arguments, headers=headers, timeout=120)
    except httpx.HTTPError as error:
        raise Failed(f"the server did not answer: {error}; nothing was posted") from None
    if got.status_code != 200:
        raise Failed(f"there is no answer: {got.json()['error']['message']}; nothing was posted")
    result: dict[str, Any] = got.json()
    return result


def amount(answer: dict[str, Any]) -> Decimal:
    """An answer in whole units, exactly."""
    if answer["answer_type"] != "arithmetic" or answer["scale"] not in UNITS:
        raise Failed(f"the answer is no computed amount: {answer}; nothing was posted")
    try:
        with localcontext(prec=60):  # more digits than an answer has: nothing is rounded
            value = Decimal(answer["answer"]) * UNITS[answer["scale"]]
            return Decimal(format(value.normalize(), "f"))  # 12600000, not 12600000.0
    except InvalidOperation:
        raise Failed(f"the answer is no number: {answer['answer']!r}; nothing was posted") from None


def post(ledger: str, account: str, value: Decimal, evidence: dict[str, Any], key: str) -> bool:
    """Post an entry, again if the ledger fails; returns whether it is new. The key makes a retry safe."""
    entry = {"account": account, "amount": str(value), "evidence": evidence}
    problem = ""
    for attempt in range(TRIES):
        time.sleep(attempt * 0.2)
        try:
            got = httpx.post(f"{ledger}/entries", json=entry, headers={"Idempotency-Key": key}, timeout=10)
        except httpx.HTTPError as error:
            problem = f"{type(error).__name__}: {error}"
            continue
        if got.status_code in (200, 201):
            return got.status_code == 201
        problem = f"status {got.status_code}: {got.text[:200]}"
        if got.status_code < 500:
            break
    raise Failed(f"the ledger did not take the entry: {problem}; run this again, which posts it at most once")


def run(server: str, ledger: str, key: str) -> Decimal:
    """Ask, compute and post; returns the account's balance."""
    client = openai.OpenAI(base_url=f"{server}/v1", api_key=key, timeout=120)
    try:
        model = next(iter(client.models.list())).id
        arguments = called(client, model, STATEMENT)
    except openai.OpenAIError as error:
        raise Failed(f"the model did not answer: {error}; nothing was posted") from None
    print(f"ledger  the model calls {TOOL}: {arguments['question']}")
    answer = answered(server, key, arguments)
    print(f"ledger  {answer['equation']} = {answer['answer']} {answer['scale']}, from {', '.join(answer['evidence'])}")
    value = amount(answer)
    # of what was asked: the same statement is posted once, whatever happens between
    once = hashlib.sha256(json.dumps([ACCOUNT, arguments], sort_keys=True).encode()).hexdigest()
    is_new = post(ledger, ACCOUNT, value, {"asked": arguments, "answer": answer}, once)
    balance = Decimal(httpx.get(f"{ledger}/balance/{ACCOUNT}", timeout=10).json()["balance"])
    print(f"ledger  {'posted' if is_new else 'it was posted before'}; {ACCOUNT}: {balance:,f}")
    return balance


@contextlib.contextmanager
def own_ledger(file: Path) -> Iterator[str]:
    """A ledger of this process; its address."""
    file.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.create_server(("127.0.0.1", 0))
    web = uvicorn.Server(uvicorn.Config(service.app(file), log_level="warning", access_log=False))
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        web.should_exit = True
        thread.join()
        listener.close()


def main() -> int:
    """The exit status: 0 once the ledger has the entry."""
    parser = argparse.ArgumentParser(description="Ask the served model about a table, and post its answer to a ledger.")
    parser.add_argument("--server", default="http://127.0.0.1:8000", help="of invoke serve")
    parser.add_argument("--ledger", default="", help="address of a ledger; default: one of this process")
    parser.add_argument("--file", type=Path, default=Path(".pintune/ledger.sqlite"), help="of its entries")
    args = parser.parse_args()
    key = os.environ.get("PINTUNE_API_KEY", "none")
    try:
        with contextlib.nullcontext(args.ledger) if args.ledger else own_ledger(args.file) as ledger:
            run(args.server.rstrip("/"), ledger, key)
    except Failed as failed:
        print(f"ledger  {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
