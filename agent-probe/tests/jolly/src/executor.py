"""A stand-in with the names, signatures and traps of JollyAgent's executor."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ToolResult:
    success: bool
    result: Any = None
    error: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class ToolExecutor:
    def __init__(self, tools: dict[str, Callable[..., Any]]) -> None:
        self.tools = tools

    async def execute_tool(self, name: str, **kwargs: Any) -> ToolResult:
        if name not in self.tools:
            return ToolResult(False, error=f"unknown tool {name}")
        try:
            inspect.signature(self.tools[name]).bind(**kwargs)
            return ToolResult(True, await self.tools[name](**kwargs))
        except Exception as error:
            return ToolResult(False, error=str(error), metadata={"kind": type(error).__name__})
