"""The engine: generations that join and leave between steps have the answers that they would have alone."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from pipeline.serving import engine as engines
from pipeline.serving.engine import Engine, Full, Generation, Stopping
from pipeline.serving.slots import Slots
from tests.models import random_model

ENDS = (2,)
PROMPTS = [[(7 * i + j * j) % 90 + 3 for j in range(5 + 37 * i)] for i in range(7)]


def _alone(model: Any, prompt: list[int], most: int) -> list[int]:
    given = torch.tensor([prompt])
    settings = {"max_new_tokens": most, "do_sample": False, "eos_token_id": list(ENDS), "pad_token_id": 1}
    written = model.generate(input_ids=given, attention_mask=torch.ones_like(given), **settings)[0, len(prompt) :]
    return [token for token in written.tolist() if token not in ENDS]


class _Asked:
    """A generation, and what it has emitted."""

    def __init__(self, prompt: list[int], most: int, **options: Any) -> None:
        self.events: queue.Queue[tuple[list[int], str]] = queue.Queue()
        deadline = options.pop("deadline", time.monotonic() + 300)
        self.generation = Generation(prompt, most, lambda ids, why: self.events.put((ids, why)), deadline, **options)

    def result(self) -> tuple[list[int], str]:
        ids: list[int] = []
        while True:
            new, why = self.events.get(timeout=300)
            ids += new
            if why:
                return ids, why


@pytest.fixture(params=["llama", "mistral, sliding window", "phi3"])
def model(request: pytest.FixtureRequest) -> Any:
    return random_model(request.param)


@pytest.fixture
def started(model: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(engines, "_CHUNK", 50)  # the longer prompts are read in several
    engine = Engine(model, ENDS, slots=3, context=400, queue=8)
    engine.start()
    yield engine
    engine.stop()


def test_answers_are_those_of_a_lone_request(model: Any, started: Engine) -> None:
    """More prompts than slots, that end at other times; then some again, from what slots still hold."""
    lengths = [3, 40, 9, 25, 1, 14, 30]
    for prompts, most in ((PROMPTS, lengths), ([PROMPTS[6], [*PROMPTS[6][:150], 5, 6], PROMPTS[2]], [8, 8, 8])):
        asked = [_Asked(prompt, length) for prompt, length in zip(prompts, most, strict=True)]
        for each in asked:
            started.submit(each.generation)
        found = [each.result()[0] for each in asked]
        base = model
        base.set_attn_implementation("sdpa")
        wanted = [_alone(base, prompt, length) for prompt, length in zip(prompts, most, strict=True)]
        base.set_attn_implementation("by_slot")
        assert found == wanted


def test_what_memory_held_before_reaches_no_answer(model: Any) -> None:
    """Slots of a short text beside a long one have places without tokens: masked, but zero times NaN is NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills memory that nobody has set with NaN
    try:
        slots = Slots(model, 3, 50)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.isfinite(each).all() for each in (*slots.keys, *slots.values))


def test_one_that_is_cancelled_or_late_leaves_and_the_others_go_on(model: Any, started: Engine) -> None:
    asked = [_Asked(prompt, 60) for prompt in PROMPTS[:4]]
    late = _Asked(PROMPTS[4], 60, deadline=time.monotonic() - 1)
    for each in (*asked, late):
        started.submit(each.generation)
    asked[0].events.get(timeout=60)
    asked[1].generation.cancel()
    assert late.result() == ([], "time")
    assert [each.result()[1] in ("length", "stop") for each in (asked[2], asked[3])] == [True, True]
    end = time.monotonic() + 60
    while started.running:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_full_queue_refuses_and_a_stopped_engine_too() -> None:
    engine = Engine(random_model("llama"), ENDS, slots=1, context=100, queue=2)  # not started: nothing leaves
    for _ in range(2):
        engine.submit(_Asked(PROMPTS[0], 5).generation)
    with pytest.raises(Full):
        engine.submit(_Asked(PROMPTS[0], 5).generation)
    assert engine.waiting == 2
    engine.start()
    engine.stop()  # after those that wait
    assert (engine.waiting, engine.alive) == (0, False)
    with pytest.raises(Stopping):
        engine.submit(_Asked(PROMPTS[0], 5).generation)


def test_a_failure_ends_all_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(random_model("llama"), ENDS, slots=2, context=100, queue=2)
    told = []
    engine.on_failure = lambda: told.append(1)
    monkeypatch.setattr(engine, "_forward", lambda *_: 1 / 0)
    asked = [_Asked(PROMPTS[0], 5) for _ in range(2)]
    for each in asked:
        engine.submit(each.generation)
    engine.start()
    assert [each.result() for each in asked] == [([], "error")] * 2
    engine.stop()
    assert isinstance(engine.failure, ZeroDivisionError) and told == [1]


def test_a_grammar_that_fails_ends_its_own_request_alone(started: Engine) -> None:
    class Failing:
        complete = False

        def restrict(self, logits: torch.Tensor) -> None:
            logits[list(ENDS)] = float("-inf")

        def accept(self, token: int) -> None:
            raise RuntimeError("too complex")

    failing: Any = Failing()
    asked = [_Asked(PROMPTS[1], 6, matcher=failing), _Asked(PROMPTS[2], 6)]
    for each in asked:
        started.submit(each.generation)
    assert asked[0].result() == ([], "error")
    assert asked[1].result()[1] in ("length", "stop") and started.alive


def test_sampling_follows_the_probabilities() -> None:
    """Nothing outside of top_p; the same seed, the same tokens."""
    logits = torch.tensor([0.0, 3.0, 2.9, -1.0])
    one, other = (Generation([1], 1, lambda *_: None, 0.0, 1.0, 0.5, seed) for seed in (1, 2))
    drawn = [[engines._drawn(logits, each) for _ in range(40)] for each in (one, other)]
    assert {token for tokens in drawn for token in tokens} == {1}
    wide = Generation([1], 1, lambda *_: None, 0.0, 1.0, 0.9, 1)
    assert {engines._drawn(logits, wide) for _ in range(60)} == {1, 2}
