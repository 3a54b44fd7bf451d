"""Batched decoding: one thread with the model, whose steps any number of generations share.

A generation joins between two steps: its prompt is read in chunks, one before each step, so that a long prompt does
not stop the others; then it takes part in every step until its end. Greedy answers are those that it would have alone,
and those of pipeline/generation.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from pipeline.serving.constrain import Matcher
from pipeline.serving.slots import Slots, attend_by_slot, masks

_CHUNK = 256  # tokens of a prompt between two steps


class Full(Exception):
    """The queue is full."""


class Stopping(Exception):
    """The server takes no more requests."""


@dataclass(eq=False)
class Generation:
    """A prompt to continue."""

    prompt: list[int]
    most: int  # new tokens
    emit: Callable[[list[int], str], None]  # gets new tokens, and at the end why: "stop", "length", "time", "error"
    deadline: float  # by time.monotonic()
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    seed: int = 0
    matcher: Matcher | None = None
    cancelled: bool = False  # set from outside: nobody waits any more
    _written: list[int] = field(default_factory=list)
    _random: torch.Generator | None = None

    def cancel(self) -> None:
        """Leave the batch before the next step."""
        self.cancelled = True


class Engine:
    """Runs generations until `stop`."""

    def __init__(self, model: Any, ends: tuple[int, ...], slots: int, context: int, queue: int) -> None:
        """Args:
        slots: generations at once.
        context: tokens of a prompt and its answer together.
        queue: generations that may wait.
        """
        attend_by_slot(model)
        self._model, self._ends, self._slots, self._queue = model.eval(), frozenset(ends), slots, queue
        self._cache = Slots(model, slots, context)
        self._changed = threading.Condition()
        self._waiting: collections.deque[Generation] = collections.deque()
        self._decoding: list[Generation] = []  # in the slots from 0 on
        self._reading: Generation | None = None  # in the slot after these
        self._read = 0  # tokens of its prompt that have been
        self._stopping = False
        self.failure: BaseException | None = None
        self.on_failure: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End once all generations have; takes no more."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread works."""
        return self._thread.is_alive()

    @property
    def running(self) -> int:
        """Generations that have a slot."""
        return len(self._decoding) + (self._reading is not None)

    @property
    def waiting(self) -> int:
        """Generations that wait for one."""
        return len(self._waiting)

    def submit(self, generation: Generation) -> None:
        """Queue a generation.

        Raises:
            Full: too many wait.
            Stopping: after `stop`, or after an error.
        """
        with self._changed:
            if self._stopping:
                raise Stopping
            if len(self._waiting) >= self._queue and self.running + len(self._waiting) >= self._slots:
                raise Full
            self._waiting.append(generation)
            self._changed.notify()

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._work_is_there():
                    self._leave()
                    self._read_on()
                    self._step()
        except BaseException as error:
            self.failure = error
            with self._changed:
                self._stopping = True
            for each in self._all():
                each.emit([], "error")
            self.on_failure()

    def _work_is_there(self) -> bool:
        """Wait for work; False at the end."""
        with self._changed:
            while not (self._waiting or self.running or self._stopping):
                self._changed.wait()
            return bool(self._waiting or self.running)

    def _all(self) -> list[Generation]:
        return [*self._decoding, *([self._reading] if self._reading else []), *self._waiting]

    def _leave(self) -> None:
        """Drop generations that nobody waits for, and end those that are out of time."""
        now = time.monotonic()
        for each in [each for each in self._all() if each.cancelled or each.deadline < now]:
            if not each.cancelled:
                each.emit([], "time")
            if each in self._decoding:
                self._free(self._decoding.index(each))
            elif each is self._reading:
                self._reading = None
            else:
                with self._changed:
                    self._waiting.remove(each)

    def _free(self, slot: int) -> None:
        """Take a generation out: the slots in use stay together."""
        last = len(self._decoding) - 1
        self._cache.swap(slot, last)
        if self._reading:
            self._cache.swap(last, last + 1)
        self._decoding[slot] = self._decoding[last]
        self._decoding.pop()

    def _read_on(self) -> None:
        """Read a chunk of the prompt that is being read, or else of the next one."""
        slot = len(self._decoding)
        if self._reading is None:
            if slot == self._slots or not self._waiting:
                return
            with self._changed:
                self._reading = self._waiting.popleft()
            self._read = self._cache.reuse(slot, self._reading.prompt)
        reading = self._reading
        chunk = reading.prompt[self._read : self._read + _CHUNK]
        positions = torch.arange(self._read, self._read + len(chunk))[None]
        logits = self._forward(torch.tensor([chunk]), positions, slice(slot, slot + 1))
        self._cache.tokens[slot] += chunk
        self._read += len(chunk)
        if self._read == len(reading.prompt):
            self._decoding.append(reading)
            self._reading = None
            self._choose(logits, [slot])

    def _step(self) -> None:
        """Add a token to every generation."""
        if not (rows := len(self._decoding)):
            return
        tokens = [each._written[-1] for each in self._decoding]
        positions = torch.tensor([[len(self._cache.tokens[row])] for row in range(rows)])
        logits = self._forward(torch.tensor(tokens)[:, None], positions, slice(0, rows))
        for row, token in enumerate(tokens):
            self._cache.tokens[row].append(token)
        self._choose(logits, list(range(rows)))

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, rows: slice) -> torch.Tensor:
        """The logits after each row's last token, [rows, vocabulary], in float32."""
        ids, positions = ids.to(self._model.device), positions.to(self._model.device)
        self._cache.place(rows, positions)
        found = self._model(
            input_ids=ids,
            attention_mask=masks(self._model.config, positions, int(positions.max()) + 1),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = found.logits[:, -1].float()
        return logits

    def _choose(self, logits: torch.Tensor, slots: list[int]) -> None:
        """Choose the next token of the generations in these slots, and end those that it ends."""
        chosen = [self._decoding[slot] for slot in slots]
        for row, each in enumerate(chosen):
            if each.matcher:
                each.matcher.restrict(logits[row])
        greedy = logits.argmax(-1).tolist()
        for row, each in enumerate(chosen):
            token = _drawn(logits[row], each) if each.temperature else greedy[row]
            ended = self._added(each, token)
            if ended:
                self._free(self._decoding.index(each))

    def _added(self, each: Generation, token: int) -> str:
        """Add a token to a generation, and tell it; returns why it has ended, "" if it has not."""
        if token in self._ends:
            each.emit([], "stop")
            return "stop"
        each._written.append(token)
        ended = "length" if len(each._written) == each.most else ""
        if each.matcher:
            try:
                each.matcher.accept(token)
            except RuntimeError:  # a grammar that has become too complex concerns its own request alone
                each.emit([], "error")
                return "error"
            ended = "stop" if each.matcher.complete else ended
        each.emit([token], ended)
        return ended


def _drawn(logits: torch.Tensor, generation: Generation) -> int:
    """A token by chance: of the most likely ones that have `top_p` of the probability together."""
    if generation._random is None:
        generation._random = torch.Generator().manual_seed(generation.seed)
    # below that the quotient is infinite, and the most likely token is the only one long before
    temperature = max(generation.temperature, 1e-4)
    likely, tokens = (logits.cpu().float() / temperature).softmax(-1).sort(descending=True)
    likely[1:][(likely.cumsum(-1) - likely)[1:] >= generation.top_p] = 0  # the most likely one always stays
    return int(tokens[torch.multinomial(likely, 1, generator=generation._random)])
