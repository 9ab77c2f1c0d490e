"""What may leave the process: content captured or not, masked, and cut to a limit.

Applied while spans are encoded, on the sender's thread, so that attributes, events, exceptions, status messages and the
spill file all pass here, whoever made the span.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

# Takes the attribute's key and its text, gives the text to send.
Mask = Callable[[str, str], str]

MASK_FAILED = "[masking failed]"

# Whole keys that hold what users, models and tools said, in the conventions that Spanflow reads.
_CONTENT_KEYS = frozenset(
    {
        "agent.input",
        "agent.output",
        "agent.content",
        "agent.tool.arguments",
        "agent.tool.result",
        "all_messages_events",
        "body",
        "content",
        "error.message",
        "exception.message",
        "exception.stacktrace",
        "final_result",
        "gen_ai.completion",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.prompt",
        "gen_ai.retrieval.documents",
        "gen_ai.retrieval.query.text",
        "gen_ai.system_instructions",
        "gen_ai.task.input",
        "gen_ai.task.output",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "gen_ai.tool.message",
        "input.value",
        "llm.prompts",
        "logfire.msg",
        "message",
        "model_request_parameters",
        "output.value",
        "pydantic_ai.all_messages",
        "tool.parameters",
        "tool_arguments",
        "tool_call.function.arguments",
        "tool_response",
        "traceloop.entity.input",
        "traceloop.entity.output",
    }
)
_CONTENT_PREFIXES = (
    "agent.content.",
    "embedding.embeddings.",
    "gen_ai.completion.",
    "gen_ai.prompt.",
    "llm.input_messages.",
    "llm.output_messages.",
    "llm.prompt_template.",
    "reranker.input_documents.",
    "reranker.output_documents.",
    "reranker.query",
    "retrieval.documents.",
)
# Structure that the warehouse joins and groups by: a mask that stars out digits must not break an id.
_STRUCTURE_KEYS = frozenset(
    {
        "agent.name",
        "agent.step.type",
        "agent.tool.name",
        "enduser.id",
        "error.type",
        "exception.type",
        "exception.escaped",
        "llm.model_name",
        "llm.provider",
        "llm.system",
        "openinference.span.kind",
        "session.id",
        "tool.name",
        "user.id",
    }
)
_STRUCTURE_PREFIXES = (
    "gen_ai.agent.",
    "gen_ai.conversation.",
    "gen_ai.operation.",
    "gen_ai.provider.",
    "gen_ai.request.",
    "gen_ai.response.",
    "gen_ai.system",
    "gen_ai.tool.name",
    "gen_ai.usage.",
    "llm.request.type",
    "traceloop.association.",
    "traceloop.span.kind",
)
_FRAME = re.compile(r'^\s*File "[^"\n]*", line \d+, in [\w<>.]+$', re.MULTILINE)


def is_content(key: str) -> bool:
    """Whether a key holds what a user, a model or a tool said."""
    return key in _CONTENT_KEYS or key.startswith(_CONTENT_PREFIXES)


def is_structure(key: str) -> bool:
    """Whether a key holds an id, a name or a kind, which no mask is asked about."""
    return not is_content(key) and (key in _STRUCTURE_KEYS or key.startswith(_STRUCTURE_PREFIXES))


@dataclass(frozen=True)
class Privacy:
    """The rules for one exporter.

    ``capture_content`` off leaves out all content, and of exceptions the message: type and places in the code stay.
    ``mask`` is asked for every text that is not structure. A text over ``max_content_chars`` is cut there, and its full
    length goes into the attribute ``KEY.length``. Texts of structure are never changed, only cut.
    """

    capture_content: bool = True
    mask: Mask | None = None
    max_content_chars: int = 32_768

    @property
    def plain(self) -> bool:
        """Whether only lengths are to be looked at."""
        return self.capture_content and self.mask is None

    def text(self, key: str, text: str) -> tuple[str | None, int | None]:
        """The text to send, ``None`` for none, and its full length where that is not what is sent."""
        full = len(text)
        if not self.capture_content and is_content(key):
            return (_places(text), None) if key == "exception.stacktrace" else (None, full)
        sent = text
        if self.mask is not None and not is_structure(key):
            sent = self._masked(self.mask, key, text)
        if len(sent) > self.max_content_chars:
            return sent[: self.max_content_chars], full
        return sent, None

    def status_message(self, text: str) -> str:
        """A span's status message, which often repeats an exception's."""
        return self.text("error.message", text)[0] or ""

    @staticmethod
    def _masked(mask: Mask, key: str, text: str) -> str:
        # Whatever a user's function does, the raw text must not go out for it.
        try:
            masked = mask(key, text)
        except Exception:
            return MASK_FAILED
        return masked if isinstance(masked, str) else MASK_FAILED


def _places(stack: str) -> str:
    """The places of a stack trace, without source lines and messages, which can quote content."""
    return "\n".join(_FRAME.findall(stack))
