"""Chat requests to a server, several at once, by the standard library."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from images.errors import Stop, line

AT_ONCE = 4  # requests: the server batches them, and others' still get their turn
_SECONDS = 900  # for one answer
_PATIENCE = 600  # seconds for a server that is busy with others' requests


def ask(url: str, key: str, questions: Sequence[dict[str, Any]], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The server's message to each question, as `{"uid", "message"}`, in their order.

    Args:
        url: of the API, such as http://127.0.0.1:8000/v1.
        key: that requests must have; "" for none.
        questions: each a uid and a body.
        say: gets a line whenever a tenth of them has been answered.

    Raises:
        Stop: a request is refused, or the server does not answer.
    """
    pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
    try:
        waiting = {pool.submit(_message, url, key, each): each["uid"] for each in questions}
        found = {}
        for done in concurrent.futures.as_completed(waiting):
            found[waiting[done]] = done.result()
            if 10 * len(found) // len(questions) > 10 * (len(found) - 1) // len(questions):
                say(f"check  {len(found)} of {len(questions)} questions answered")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [{"uid": each["uid"], "message": found[each["uid"]]} for each in questions]


def _message(url: str, key: str, question: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps(question["body"], ensure_ascii=False).encode()
    end = time.monotonic() + _PATIENCE
    while True:
        status, answer, retry = _posted(url, key, body)
        if status != 429 or time.monotonic() > end:
            break
        time.sleep(min(retry, 30))
    if status == 401:
        found, todo = "none, or another one", "export PINTUNE_API_KEY=…, then again"
        raise Stop("the key that the server was started with", found, url, todo)
    try:
        if status == 200:
            message: dict[str, Any] = json.loads(answer)["choices"][0]["message"]
            return message
        found = str(json.loads(answer)["error"]["message"])
    except (ValueError, KeyError, IndexError, TypeError):
        found = answer.decode(errors="replace")
    shown = f"status {status}: {found[:200]}"
    raise Stop(f"an answer to {question['uid']}", shown, url, "correct what it names, then invoke serve --check")


def _posted(url: str, key: str, body: bytes) -> tuple[int, bytes, float]:
    """Status, body and Retry-After, in seconds, of a response; no proxy is asked."""
    at = urlsplit(url)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=_SECONDS)
    try:
        connection.request("POST", f"{at.path}/chat/completions", body, headers)
        response = connection.getresponse()
        retry = response.getheader("Retry-After", "")
        return response.status, response.read(), float(retry) if retry.isdecimal() else 1.0
    except (OSError, http.client.HTTPException) as error:
        raise Stop("a server that answers", line(error), url, "invoke serve --check starts one") from None
    finally:
        connection.close()
