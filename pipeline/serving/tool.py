"""Answers of the tool: a question through the engine that the server's other requests share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.serving import answer as tools
from pipeline.serving.answer import Answer, Question, Tool
from pipeline.serving.answering import Answer as Begun
from pipeline.serving.answering import Answering
from pipeline.serving.chat import Prepared
from pipeline.serving.protocol import ChatRequest, Refusal


@dataclass(frozen=True)
class Answers:
    """Answers questions, any number at once."""

    tool: Tool
    answering: Answering
    report: Callable[[Begun], None]  # gets each when it has ended

    async def answer(self, asked: Question) -> Answer:
        """The answer, as evaluate would have it.

        Raises:
            Refusal: as Tool.prompted and Tool.read, or as the server refuses a chat.
        """
        started, limits = time.monotonic(), self.answering.chat.limits
        prompted = await asyncio.to_thread(self.tool.prompted, asked)
        most, length = self.tool.tokens, len(prompted.ids)
        if length + most > limits.context:
            message = f"{length} tokens, and {most} of an answer; the server takes {limits.context} together"
            raise Refusal(413, message, "context_length_exceeded")
        prepared = Prepared(prompted.ids, most, "", None, [], frozenset(), False)
        # greedy, as evaluate; what is asked is in `prepared`
        greedy = ChatRequest.model_validate({"model": self.answering.model, "messages": [{"role": "user"}]})
        begun = self.answering.begin(greedy, prepared, started)
        try:
            text = "".join([part async for part in begun.texts()])
        finally:
            begun.close()
            self.report(begun)
        if begun.reason == "length":
            raise tools.cut_off(text)
        return self.tool.read(text, prompted)
