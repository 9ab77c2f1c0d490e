"""What a model's reply says of itself, by its shape: OpenAI's and Anthropic's clients, and maps like theirs."""

from __future__ import annotations

from typing import Any, NamedTuple


class Usage(NamedTuple):
    """Of one call; ``None`` for what was not said."""

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    text: str | None = None


def _get(value: Any, *names: str) -> Any:
    for name in names:
        found = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        if found is not None:
            return found
    return None


def _count(value: Any, *names: str) -> int | None:
    found = _get(value, *names)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _text(reply: Any) -> str | None:
    choices = _get(reply, "choices")
    if isinstance(choices, (list, tuple)) and choices:
        said = _get(_get(choices[0], "message"), "content")
        return said if isinstance(said, str) else None
    content = _get(reply, "content", "output_text")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part for part in (_get(block, "text") for block in content) if isinstance(part, str)]
        return "\n".join(parts) or None
    return None


def of_reply(reply: Any) -> Usage:
    """What can be read from a reply; nothing where it has no usage. Never raises."""
    try:
        usage = _get(reply, "usage", "usage_metadata") if not isinstance(reply, (str, int, float, list)) else None
        if usage is None:
            return Usage()
        model = _get(reply, "model")
        taken = _count(usage, "prompt_tokens", "input_tokens")
        cached = _count(_get(usage, "prompt_tokens_details", "input_token_details"), "cached_tokens", "cache_read")
        if cached is None:
            # Anthropic tells what was read from its cache, or written to it, beside the other input.
            cached = _count(usage, "cache_read_input_tokens")
            beside = (cached or 0) + (_count(usage, "cache_creation_input_tokens") or 0)
            taken = taken + beside if taken is not None else None
        return Usage(
            model if isinstance(model, str) else None,
            taken,
            _count(usage, "completion_tokens", "output_tokens"),
            cached,
            _text(reply),
        )
    except Exception:
        return Usage()
