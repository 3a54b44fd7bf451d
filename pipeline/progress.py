"""Progress: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time

from tqdm import tqdm

_EVERY = 15.0  # seconds between plain lines


def _width() -> int:
    """Columns of the terminal, 0 where there is none or it does not say."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 0


class Progress:
    """Counts up to `total` under a name."""

    def __init__(self, name: str, total: int, done: int = 0) -> None:
        self._name, self._total, self._done, self._first = name, total, done, done
        self._bar = (
            tqdm(total=total, initial=done, desc=name, dynamic_ncols=True, file=sys.stdout) if _width() else None
        )
        self._started = self._said = time.monotonic()

    def reach(self, done: int, note: str = "") -> None:
        """Say that `done` are done."""
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._done)
        self._done = done
        now = time.monotonic()
        if self._bar is None and (done == self._total or now - self._said >= _EVERY):
            self._said = now
            seconds = now - self._started
            left = (
                f", {seconds / (done - self._first) * (self._total - done):.0f} s left"
                if self._first < done < self._total
                else ""
            )
            print(f"{self._name}  {done}/{self._total} in {seconds:.0f} s{left}  {note}".rstrip(), flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
