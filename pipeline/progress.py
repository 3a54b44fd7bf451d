"""Progress: a bar on a terminal, a plain line every few seconds elsewhere.

The time left is the time per work so far, over all of it, times the work left: a slow step among fast ones moves it
little. tqdm's own estimate follows the last few steps, and swings with them.
"""

from __future__ import annotations

import os
import sys
import time

from tqdm import tqdm

_INTERVAL = 15.0  # seconds between plain lines
_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"


def _width() -> int:
    """Columns of the terminal, 0 if there is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 0


class Progress:
    """Progress towards `total`, under a name.

    Args:
        done: what was done before this process.
        work: of all that this process is to do, in any unit, where it is not the same for each; 0: `total` - `done`.
    """

    def __init__(self, name: str, total: int, done: int = 0, work: int = 0) -> None:
        self._name, self._total, self._done, self._first = name, total, done, done
        self._work = work or total - done
        options = {"dynamic_ncols": True, "file": sys.stdout, "bar_format": _BAR}
        self._bar = tqdm(total=total, initial=done, desc=name, **options) if _width() else None
        self._started = self._said = time.monotonic()

    def reach(self, done: int, note: str = "", work: int = 0) -> None:
        """Show that `done` are done.

        Args:
            work: done by this process, in the unit of the whole; 0: what `done` tells.
        """
        now = time.monotonic()
        seconds, work = now - self._started, work or done - self._first
        going = 0 < work < self._work
        left = tqdm.format_interval(seconds / work * (self._work - work)) + " left" if going else ""
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(filter(None, (left, note))), refresh=False)
            self._bar.update(done - self._done)
        self._done = done
        if self._bar is None and (done == self._total or now - self._said >= _INTERVAL):
            self._said = now
            taken = ", ".join(filter(None, (f"in {tqdm.format_interval(seconds)}", left)))
            print(f"{self._name}  {done}/{self._total} {taken}  {note}".rstrip(), flush=True)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
