"""How tools and models fail: the exceptions that their clients raise."""

from __future__ import annotations

from dataclasses import dataclass

from agent_probe.simulator.randomness import Draw


@dataclass(frozen=True)
class Failure:
    """Why a step failed."""

    type: str
    message: str
    stack: str


_TOOL_FAILURES = (
    ("TimeoutError", "{tool} timed out after 30 s"),
    ("httpx.HTTPStatusError", "Server error '503 Service Unavailable' from {tool}"),
    ("ConnectionError", "连接被重置：{tool} 的上游没有响应"),
    ("PermissionError", "{tool}: access denied"),
    ("ToolArgumentError", "{tool}: 参数校验失败，缺少必填字段"),
)
_MODEL_FAILURES = (
    ("openai.RateLimitError", "Error code: 429 - Rate limit reached for {model}"),
    ("openai.APITimeoutError", "Request timed out."),
    ("openai.InternalServerError", "Error code: 500 - The server had an error while processing {model}"),
    ("openai.BadRequestError", "Error code: 400 - context_length_exceeded for {model}"),
)


def _failure(draw: Draw, kinds: tuple[tuple[str, str], ...], name: str) -> Failure:
    error_type, template = draw.one(kinds)
    message = template.format(tool=name, model=name)
    line = draw.integer(20, 400)
    short = error_type.rpartition(".")[2]
    stack = (
        'Traceback (most recent call last):\n  File "/app/agent/executor.py", line '
        f"{line}, in call\n    return await self._run(name, arguments)\n{short}: {message}\n"
    )
    return Failure(error_type, message, stack)


def tool_failure(draw: Draw, tool: str) -> Failure:
    """A tool's failure."""
    return _failure(draw, _TOOL_FAILURES, tool)


def model_failure(draw: Draw, model: str) -> Failure:
    """A failure of a model's call."""
    return _failure(draw, _MODEL_FAILURES, model)
