"""A small ledger over HTTP: entries in SQLite, amounts exact, and a key for each entry so that a retry posts it once.

POST /entries   GET /entries   GET /balance/{account}
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

_TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY,   -- the caller's Idempotency-Key
    account TEXT NOT NULL,
    amount TEXT NOT NULL,   -- in whole units of the currency, as written: SQLite's numbers are not exact
    evidence TEXT NOT NULL  -- JSON: where the amount is from
) STRICT
"""


class Entry(BaseModel):
    """An entry."""

    model_config = ConfigDict(extra="forbid")

    account: str = Field(min_length=1, max_length=100)
    amount: Decimal = Field(max_digits=30, decimal_places=6, allow_inf_nan=False)
    evidence: dict[str, Any]


def app(file: Path) -> FastAPI:
    """The service of a database file."""
    made = FastAPI(title="Ledger", docs_url=None, redoc_url=None)

    def opened() -> sqlite3.Connection:
        connection = sqlite3.connect(file, timeout=5, isolation_level=None)
        connection.execute(_TABLE)
        return connection

    @made.post("/entries", status_code=201)
    def post(entry: Entry, response: Response, idempotency_key: Annotated[str, Header(min_length=8)]) -> Entry:
        """Post an entry; with the key of one that is there, that one is returned and nothing is posted."""
        row = (entry.account, str(entry.amount), json.dumps(entry.evidence, sort_keys=True))
        query = "SELECT account, amount, evidence FROM entries WHERE key = ?"
        try:
            with contextlib.closing(opened()) as connection:
                new = connection.execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", (idempotency_key, *row))
                there = row if new.rowcount else connection.execute(query, (idempotency_key,)).fetchone()
        except sqlite3.Error as error:
            raise HTTPException(503, f"the ledger cannot write: {error}") from None
        if there != row:
            raise HTTPException(409, "this Idempotency-Key is of another entry")
        response.status_code = 201 if new.rowcount else 200
        return entry

    @made.get("/entries")
    def entries() -> list[Entry]:
        """All entries."""
        with contextlib.closing(opened()) as connection:
            found = connection.execute("SELECT account, amount, evidence FROM entries ORDER BY rowid").fetchall()
        return [Entry(account=each[0], amount=Decimal(each[1]), evidence=json.loads(each[2])) for each in found]

    @made.get("/balance/{account}")
    def balance(account: str) -> dict[str, str]:
        """The sum of an account's entries."""
        return {"balance": str(sum((each.amount for each in entries() if each.account == account), Decimal(0)))}

    return made
