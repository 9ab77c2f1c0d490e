"""A ReAct loop by hand, with the steps of this package: a tool that fails first, and an answer that streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import agent_probe

agent_probe.init(service_name="react-example")


@agent_probe.think("gpt-4o-mini", provider="openai")
async def decide(messages: list[dict[str, str]]) -> dict[str, Any]:
    """A stub in the shape of OpenAI's replies: tokens, model and text are read from it."""
    await asyncio.sleep(0.01)
    failed = any("no such city" in message["content"] for message in messages)
    said = "Try Paris, France." if failed else "Look the weather up."
    return {
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"message": {"content": said}}],
        "usage": {"prompt_tokens": 40 * len(messages), "completion_tokens": 6},
    }


@agent_probe.tool
async def get_weather(city: str) -> dict[str, Any]:
    """Fails by a value, not by an exception: the step is an error all the same."""
    if "France" not in city:
        return {"success": False, "error": "no such city"}
    return {"success": True, "result": "sunny, 21 °C"}


@agent_probe.response
async def respond(weather: str) -> AsyncIterator[str]:
    """A step until its last chunk."""
    for word in ("In", "Paris:", weather):
        yield word + " "


@agent_probe.session("weather-agent")
async def answer(question: str, session_id: str, user_id: str) -> str:
    """One turn; the ids are taken from the parameters of these names."""
    messages = [{"role": "user", "content": question}]
    result: dict[str, Any] = {}
    for city in ("Paris", "Paris, France"):
        await decide(messages)
        result = await get_weather(city)
        with agent_probe.observe("get_weather", input=result):
            messages.append({"role": "tool", "content": str(result)})
    return "".join([word async for word in respond(result["result"])])


print(asyncio.run(answer("What is the weather in Paris?", session_id="session-1", user_id="user-1")))
