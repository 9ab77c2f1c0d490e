"""A stand-in with the names, signatures and traps of JollyAgent's agent: it swallows whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from src.executor import ToolExecutor

MAX_ITERATIONS = 5
APOLOGY = "Sorry, something went wrong."


@dataclass
class Thought:
    content: str = ""


@dataclass
class ToolCall:
    name: str
    arguments: dict[str, Any]
    id: str


@dataclass
class Observation:
    tool_name: str
    result: str
    success: bool
    error: str | None = None


@dataclass
class ReActStep:
    thought: Thought | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    final_answer: str | None = None


@dataclass
class AgentState:
    conversation_id: str
    messages: list[dict[str, str]] = field(default_factory=list)


class Agent:
    def __init__(self, llm: Callable[[list[dict[str, str]]], dict[str, Any]], executor: ToolExecutor) -> None:
        self.config = SimpleNamespace(llm=SimpleNamespace(model="gpt-4o-mini"))
        self.state: AgentState | None = None
        self.executor = executor
        self._llm = llm

    async def start_conversation(self, conversation_id: str | None = None) -> AgentState:
        self.state = AgentState(conversation_id or str(uuid.uuid4()))
        return self.state

    async def process_message(self, user_message: str) -> str:
        if self.state is None:
            await self.start_conversation()
        assert self.state is not None
        messages = self.state.messages
        messages.append({"role": "user", "content": user_message})
        try:
            for _ in range(MAX_ITERATIONS):
                step = ReActStep()
                await self._think(step)
                if step.tool_calls:
                    await self._act(step)
                if step.observations:
                    await self._observe(step)
                if step.final_answer:
                    messages.append({"role": "assistant", "content": step.final_answer})
                    return step.final_answer
        except Exception:
            pass
        messages.append({"role": "assistant", "content": APOLOGY})
        return APOLOGY

    async def _think(self, step: ReActStep) -> None:
        assert self.state is not None
        reply = await self._call_llm(self.state.messages)
        parsed = self._parse_llm_response(reply["content"])
        step.thought, step.tool_calls, step.final_answer = parsed.thought, parsed.tool_calls, parsed.final_answer

    async def _act(self, step: ReActStep) -> None:
        for call in step.tool_calls:
            if call.arguments.get("forbidden"):
                step.observations.append(Observation(call.name, "", False, "refused by the user"))
                continue
            result = await self.executor.execute_tool(call.name, **call.arguments)
            step.observations.append(Observation(call.name, str(result.result), result.success, result.error))

    async def _observe(self, step: ReActStep) -> None:
        seen = [{"role": "tool", "content": one.result or one.error or ""} for one in step.observations]
        assert self.state is not None
        self.state.messages += seen
        reply = await self._call_llm(seen)
        step.final_answer = self._parse_llm_response(reply["content"]).final_answer

    async def _call_llm(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        return await asyncio.to_thread(self._llm, messages)

    def _parse_llm_response(self, response: str) -> ReActStep:
        try:
            parsed = json.loads(response)
            calls = [ToolCall(one["name"], one["arguments"], one["id"]) for one in parsed.get("tool_calls", [])]
            return ReActStep(Thought(parsed.get("thought", "")), calls, final_answer=parsed.get("final_answer"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return ReActStep(Thought(response))
