"""Progress: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import os
import sys
import time

from tqdm import tqdm

_INTERVAL = 15.0  # seconds between plain lines


def _width() -> int:
    """Columns of the terminal, 0 if there is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 0


class Progress:
    """Progress towards `total`, under a name."""

    def __init__(self, name: str, total: int, done: int = 0) -> None:
        self._name, self._total, self._done, self._first = name, total, done, done
        self._bar = (
            tqdm(total=total, initial=done, desc=name, dynamic_ncols=True, file=sys.stdout) if _width() else None
        )
        self._started = self._said = time.monotonic()

    def reach(self, done: int, note: str = "") -> None:
        """Show that `done` are done."""
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._done)
        self._done = done
        now = time.monotonic()
        if self._bar is None and (done == self._total or now - self._said >= _INTERVAL):
            self._said = now
            seconds = now - self._started
            left = (
                f", {seconds / (done - self._first) * (self._total - done):.0f} s left"
                if self._first < done < self._total
                else ""
            )
            print(f"{self._name}  {done}/{self._total} in {seconds:.0f} s{left}  {note}".rstrip(), flush=True)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
