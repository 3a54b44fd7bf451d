"""The text of an answer while its tokens come: what is certain is given at once, and what may still change is held."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.models.chat_template import ChatTemplate

_BROKEN = "\N{REPLACEMENT CHARACTER}"  # the end of a character's bytes is still to come


class Reader:
    """Turns token ids into text without outer spaces, as pipeline/generation does.

    Args:
        stops: texts that end the answer and do not belong to it.
        marker: what tool calls begin with; the text from there on is `calls`. "": none.
    """

    def __init__(self, template: ChatTemplate, stops: Sequence[str] = (), marker: str = "") -> None:
        self._template, self._stops, self._marker = template, list(stops), marker
        self._ids: list[int] = []
        self._start = self._end = 0  # of the ids whose text is known
        self._text = ""  # as decoded so far
        self._given = 0  # characters of the content that have been given
        self._visible = ""  # the content, with spaces at its end
        self.calls = ""
        self.stopped = False  # by one of `stops`

    @property
    def content(self) -> str:
        """The text up to the end, a stop or the marker."""
        return self._visible.rstrip()

    def add(self, ids: Sequence[int]) -> str:
        """More of the content, "" while it is held back."""
        for each in ids:
            self._ids.append(each)
            self._decode()
        self._split()
        ended = self.stopped or self.calls
        return self._give(self.content if ended else self._visible[: -self._held() or None].rstrip())

    def finish(self) -> str:
        """The rest of the content."""
        self._text = self._decoded(self._ids)
        self._split()
        return self._give(self.content)

    def _give(self, certain: str) -> str:
        new = certain[self._given :]
        self._given = max(self._given, len(certain))
        return new

    def _decoded(self, ids: Sequence[int]) -> str:
        # a marker may be a control token; without one, decoded as pipeline/generation does
        return str(self._template.tokenizer.decode(ids, skip_special_tokens=not self._marker))

    def _decode(self) -> None:
        """Add the text of the newest id: decoded with the ids before it, whose text it may depend on."""
        before = self._decoded(self._ids[self._start : self._end])
        now = self._decoded(self._ids[self._start :])
        if len(now) > len(before) and not now.endswith(_BROKEN):
            self._text += now[len(before) :]
            self._start, self._end = self._end, len(self._ids)

    def _split(self) -> None:
        text, found, rest = self._text.partition(self._marker) if self._marker else (self._text, "", "")
        self.calls = found + rest
        if self._marker and self._template.control:
            text = self._template.control.sub("", text)
        places = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if places:
            text, self.stopped, self.calls = text[: min(places)], True, ""
        self._visible = text.lstrip()

    def _held(self) -> int:
        """Characters at the end that may be the beginning of a stop or of the marker."""
        watched = [*self._stops, *([self._marker] if self._marker else [])]
        longest = min(max(map(len, watched), default=1) - 1, len(self._visible))
        ends = (self._visible[-size:] for size in range(longest, 0, -1))
        return next((len(end) for end in ends if any(each.startswith(end) for each in watched)), 0)
