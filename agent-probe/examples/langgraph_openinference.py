"""A LangGraph ReAct agent with a stub model and one tool, recorded by OpenInference's instrumentor for LangChain."""

from __future__ import annotations

from typing import Any

import agent_probe

# Before the framework is used: its instrumentor takes the provider that is there.
probe = agent_probe.init(service_name="langgraph-example")

from langchain_core.language_models.chat_models import BaseChatModel  # noqa: E402
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage  # noqa: E402
from langchain_core.outputs import ChatGeneration, ChatResult  # noqa: E402
from langchain_core.tools import tool  # noqa: E402
from langgraph.graph import END, START, MessagesState, StateGraph  # noqa: E402
from langgraph.prebuilt import ToolNode, tools_condition  # noqa: E402
from openinference.instrumentation.langchain import LangChainInstrumentor  # noqa: E402

LangChainInstrumentor().instrument()


class StubModel(BaseChatModel):
    """Asks for the weather, then answers with it."""

    @property
    def _llm_type(self) -> str:
        return "stub"

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        usage = {"input_tokens": 42, "output_tokens": 7, "total_tokens": 49}
        if isinstance(messages[-1], ToolMessage):
            reply = AIMessage(f"In Paris: {messages[-1].content}", usage_metadata=usage)
        else:
            call = {"name": "get_weather", "args": {"city": "Paris"}, "id": "call-1"}
            reply = AIMessage("", tool_calls=[call], usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=reply)])


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny, 21 °C, says the {city} office"


model = StubModel()
graph = StateGraph(MessagesState)
graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
graph.add_node("tools", ToolNode([get_weather]))
graph.add_edge(START, "model")
graph.add_conditional_edges("model", tools_condition, {"tools": "tools", END: END})
graph.add_edge("tools", "model")
agent = graph.compile(name="weather-agent")

answer = agent.invoke({"messages": [("user", "What is the weather in Paris?")]})
print(answer["messages"][-1].content)
