"""A pydantic-ai agent with a stub model and one tool. It makes OpenTelemetry GenAI spans itself."""

from __future__ import annotations

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import agent_probe

probe = agent_probe.init(service_name="pydantic-ai-example")
Agent.instrument_all()


def stub(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Asks for the weather, then answers with it."""
    last = messages[-1].parts[-1]
    if isinstance(last, ToolReturnPart):
        return ModelResponse(parts=[TextPart(f"In Paris: {last.content}")])
    return ModelResponse(parts=[ToolCallPart("get_weather", {"city": "Paris"})])


agent = Agent(FunctionModel(stub), name="weather-agent")


@agent.tool_plain
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny, 21 °C, says the {city} office"


print(agent.run_sync("What is the weather in Paris?").output)
