"""What one session does: turns of think → act → observe → response, before anybody writes it down as spans.

Times are ns from the session's start, at natural speed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from agent_probe.simulator import text
from agent_probe.simulator.agents import Agent, Tool
from agent_probe.simulator.failure import Failure, model_failure, tool_failure
from agent_probe.simulator.randomness import Draw

MS = 1_000_000
MAX_EQUAL_CALLS = 3
LOOP_CALLS = (6, 9)
# A response is handed over, and an observation read, in about this time.
_READ_MS = 3.0
_PAUSE_MS = 9000.0
# Agents keep only the head of a long tool result, in characters, in the model's context.
_CONTEXT_LENGTH = 500
_SLOW_SHARE = 0.01
_APOLOGIES = {"zh": "抱歉，我暂时无法完成这个请求。", "en": "Sorry, I could not finish this request."}
_SLOW_FACTOR = 12


@dataclass
class Message:
    """One message of the model's input or output."""

    role: str
    text: str
    # Of an assistant's message: call id, tool name, arguments as JSON.
    calls: tuple[tuple[str, str, str], ...] = ()
    # Of a tool's message: which call it answers.
    call_id: str = ""
    # The message as a piece of JSON in UTF-8, by form, made once.
    rendered: dict[str, bytes] = field(default_factory=dict)

    @property
    def utf8(self) -> bytes:
        """The text in UTF-8, made once."""
        made = self.rendered.get("text")
        if made is None:
            made = self.rendered["text"] = self.text.encode()
        return made


@dataclass
class Step:
    """One step, which becomes one span (or none, where the convention has no such step)."""

    kind: str
    parent: int
    start_ns: int
    end_ns: int
    span_id: bytes
    number: int = 0
    tool: Tool | None = None
    arguments: str = ""
    call_id: str = ""
    input: str = ""
    output: str = ""
    messages: tuple[Message, ...] = ()
    reply: Message | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_tokens: int = 0
    cost_nanousd: int = 0
    failure: Failure | None = None
    response_id: str = ""


@dataclass
class Turn:
    """One user message and all that it causes: one trace. ``steps[0]`` is the root."""

    trace_id: bytes
    steps: list[Step]
    number: int
    # The process died: the root span is never sent, so its children are orphans.
    rootless: bool = False


@dataclass
class Session:
    """One conversation."""

    agent: Agent
    instance: int
    session_id: str
    conversation_id: str
    user_id: str
    turns: list[Turn]
    # The tool called again and again, with its number of calls, where a loop was planted.
    loop: tuple[str, int] | None
    end_ns: int


@dataclass(frozen=True)
class Rates:
    """Probabilities: of a failure per call, of a loop per session, of a lost root per turn."""

    error: float
    loop: float
    orphan: float


@lru_cache(maxsize=64)
def _system_message(agent: Agent) -> Message:
    """One object for all sessions, so that it is rendered once."""
    return Message("system", text.system_prompt(agent))


class SessionPlan:
    """Plans one session with the draws given."""

    def __init__(self, draw: Draw, agent: Agent, rates: Rates) -> None:
        """Draws only from ``draw``, so a session is the same wherever and whenever it is planned."""
        self._draw = draw
        self._agent = agent
        self._rates = rates
        self._used_arguments: set[str] = set()
        self._steps: list[Step] = []
        self._history: list[Message] = []
        self._system = _system_message(agent)
        self._now = 0

    def plan(self) -> Session:
        """The whole session."""
        draw = self._draw
        planted = draw.chance(self._rates.loop)
        turns = draw.integer(1, 4)
        loop_turn = draw.integer(1, turns) if planted else 0
        session_id = f"{self._agent.language}-{draw.hex(16)}"
        planned: list[Turn] = []
        loop: tuple[str, int] | None = None
        if self._agent.dialect == "anthropic":
            planned.append(self._creation())
        for number in range(1, turns + 1):
            turn, turn_loop = self._turn(number, number == loop_turn)
            planned.append(turn)
            loop = turn_loop or loop
            if number < turns:
                self._now += draw.latency_ns(_PAUSE_MS, 0.6)
        return Session(
            agent=self._agent,
            instance=draw.integer(1, self._agent.instances),
            session_id=session_id,
            conversation_id=f"conv-{draw.hex(12)}",
            user_id=f"user-{draw.integer(1, 2000):04d}",
            turns=planned,
            loop=loop,
            end_ns=self._now,
        )

    def _creation(self) -> Turn:
        """``create_agent``, in a trace of its own."""
        self._steps = []
        self._open("create", -1)
        self._pass(4.0, 0.3)
        self._close(0)
        return Turn(self._draw.id_bytes(16), self._steps, 0)

    def _turn(self, number: int, looping: bool) -> tuple[Turn, tuple[str, int] | None]:
        draw = self._draw
        asked = text.question(draw, self._agent.language)
        # The last exchange stays in the model's context, older ones are dropped.
        self._history = [*self._history[-2:], Message("user", asked)] if self._history else [Message("user", asked)]
        self._steps = []
        root = self._open("session", -1)
        root.input = asked
        self._pass(1.0, 0.4)
        parent = self._wrappers()
        self._retrieval(parent, asked)
        loop: tuple[str, int] | None = None
        if looping:
            loop, answered = self._loop(parent), False
        else:
            answered = self._iterations(parent)
        self._respond(parent, root, answered)
        for index in range(parent, -1, -1):
            self._pass(0.5, 0.4)
            self._close(index)
        self._total(root)
        rootless = draw.chance(self._rates.orphan)
        return Turn(draw.id_bytes(16), self._steps, number, rootless), loop

    def _wrappers(self) -> int:
        """The spans between a root and its steps that a dialect adds. Gives the index of the innermost."""
        kinds = {"langchain": ("chain",), "workflow": ("inner",), "sdk": ("inner", "chain")}
        parent = 0
        for kind in kinds.get(self._agent.dialect, ()):
            self._open(kind, parent).input = self._steps[0].input
            parent = len(self._steps) - 1
            self._pass(0.3, 0.3)
        return parent

    def _retrieval(self, parent: int, asked: str) -> None:
        draw = self._draw
        for kind in self._agent.retrieval:
            step = self._open(kind, parent)
            step.input = asked
            step.input_tokens = text.tokens_of(asked) if kind == "embedding" else 0
            if kind in ("retrieval", "rerank"):
                found = [text.answer(draw, self._agent.language)[:400] for _ in range(draw.integer(2, 4))]
                step.output = text.to_json(found)
            self._pass({"embedding": 60.0, "retrieval": 35.0, "rerank": 90.0}.get(kind, 20.0), 0.5)
            self._close(len(self._steps) - 1)

    def _iterations(self, parent: int) -> bool:
        """Think and act until there is an answer; False where the model failed for good."""
        for _ in range(self._draw.integer(1, 4)):
            calls = self._calls()
            if not self._think(parent, calls):
                return False
            self._act(parent, calls)
        return True

    def _calls(self) -> list[tuple[Tool, str, str]]:
        count = 2 if self._draw.chance(self._agent.parallel_share) else 1
        return [self._call(self._draw.one(self._agent.tools)) for _ in range(count)]

    def _call(self, tool: Tool) -> tuple[Tool, str, str]:
        """A call whose arguments the session has not used before, so that only retries and loops repeat any."""
        arguments = text.arguments(self._draw, self._agent, tool)
        for attempt in range(100):
            key = tool.name + arguments
            if key not in self._used_arguments:
                self._used_arguments.add(key)
                break
            arguments = text.arguments(self._draw, self._agent, tool)
            if attempt > 20:
                arguments = f'{arguments[:-1]}, "page": {attempt}}}'
        return tool, arguments, f"call_{self._draw.hex(12)}"

    def _think(self, parent: int, calls: list[tuple[Tool, str, str]]) -> bool:
        """Calls the model: up to three tries where it fails, again where its JSON is broken."""
        draw, model = self._draw, self._agent.model
        for attempt in range(1, MAX_EQUAL_CALLS + 1):
            step = self._open("think", parent)
            step.messages = (self._system, *self._history)
            step.response_id = f"chatcmpl-{draw.hex(20)}"
            if draw.chance(self._rates.error):
                step.failure = model_failure(draw, model.name)
                self._pass(model.median_ms * 0.5, 0.8)
                self._close(len(self._steps) - 1)
                if attempt == MAX_EQUAL_CALLS:
                    return False
                self._pass(300.0 * attempt, 0.2)
                continue
            broken = bool(calls) and attempt < MAX_EQUAL_CALLS and draw.chance(self._rates.error * 0.5)
            self._reply(step, calls, broken)
            self._pass_slow(model.median_ms, 0.45)
            self._close(len(self._steps) - 1)
            if not broken:
                return True
        return True

    def _reply(self, step: Step, calls: list[tuple[Tool, str, str]], broken: bool) -> None:
        """What the model answered, and what it cost."""
        draw, agent = self._draw, self._agent
        if broken:
            said = text.thought(draw, agent.language, calls[0][0].name)
            step.reply = Message("assistant", f'{{"thought": "{said}", "tool_calls": [{{"name": "{calls[0][0].name}", ')
        elif calls:
            said = text.thought(draw, agent.language, calls[0][0].name)
            step.reply = Message("assistant", said, tuple((call_id, tool.name, args) for tool, args, call_id in calls))
        else:
            step.reply = Message("assistant", text.answer(draw, agent.language))
        self._history.append(step.reply)
        if broken:
            self._history.append(Message("user", "The last reply was not valid JSON. Answer with valid JSON only."))
        step.output = step.reply.text
        step.input_tokens = sum(text.tokens_of(message.text) + 4 for message in step.messages)
        if len(step.messages) > 3:
            step.cache_tokens = text.tokens_of(self._system.text)
        step.output_tokens = text.tokens_of(step.reply.text)
        step.output_tokens += sum(len(arguments) // 3 + 12 for _, _, arguments in step.reply.calls)
        model = agent.model
        step.cost_nanousd = step.input_tokens * model.input_price + step.output_tokens * model.output_price

    def _act(self, parent: int, calls: list[tuple[Tool, str, str]]) -> None:
        """Calls the tools, at the same time where there are several, and reads what they gave."""
        began = self._now
        latest = began
        results: list[Step] = []
        for call in calls:
            self._now = began
            results.append(self._call_tool(parent, call, MAX_EQUAL_CALLS))
            latest = max(latest, self._now)
        self._now = latest
        for result in results:
            self._observe(parent, result)

    def _call_tool(self, parent: int, call: tuple[Tool, str, str], tries: int) -> Step:
        draw = self._draw
        tool, arguments, call_id = call
        while True:
            tries -= 1
            step = self._open("act", parent)
            step.tool, step.arguments, step.call_id = tool, arguments, call_id
            self._pass_slow(tool.median_ms, 0.6)
            self._close(len(self._steps) - 1)
            if not draw.chance(self._rates.error):
                step.output = text.tool_result(draw, self._agent, tool)
                return step
            step.failure = tool_failure(draw, tool.name)
            if tries == 0 or not draw.chance(0.7):
                return step
            self._pass(200.0, 0.3)

    def _observe(self, parent: int, act: Step) -> None:
        seen = act.output if act.failure is None else f"Error: {act.failure.message}"
        kept = seen if len(seen) <= _CONTEXT_LENGTH else f"{seen[:_CONTEXT_LENGTH]}… [{len(seen)} characters]"
        self._history.append(Message("tool", kept, call_id=act.call_id))
        step = self._open("observe", parent)
        step.tool, step.output = act.tool, seen
        self._pass(_READ_MS, 0.5)
        self._close(len(self._steps) - 1)

    def _loop(self, parent: int) -> tuple[str, int]:
        """Plants a loop: one tool, equal arguments, six times and more."""
        tool, arguments, _ = self._call(self._agent.tools[0])
        count = self._draw.integer(*LOOP_CALLS)
        for _ in range(count):
            call = (tool, arguments, f"call_{self._draw.hex(12)}")
            thought = self._open("think", parent)
            thought.messages = (self._system, *self._history[:3], *self._history[3:][-4:])
            thought.response_id = f"chatcmpl-{self._draw.hex(20)}"
            self._reply(thought, [call], False)
            self._pass_slow(self._agent.model.median_ms, 0.45)
            self._close(len(self._steps) - 1)
            act = self._open("act", parent)
            act.tool, act.arguments, act.call_id = call
            self._pass_slow(tool.median_ms, 0.6)
            self._close(len(self._steps) - 1)
            act.output = '{"ok": true, "rows": []}'
            self._observe(parent, act)
        return tool.name, count

    def _respond(self, parent: int, root: Step, answered: bool) -> None:
        if answered and self._think(parent, []):
            root.output = self._history[-1].text
        else:
            root.output = _APOLOGIES[self._agent.language]
            last = next((step for step in reversed(self._steps) if step.kind == "think"), None)
            root.failure = last.failure if last is not None else None
        step = self._open("response", parent)
        step.output = root.output
        self._pass(_READ_MS, 0.5)
        self._close(len(self._steps) - 1)
        for index in range(1, parent + 1):
            self._steps[index].output = root.output

    def _total(self, root: Step) -> None:
        """Roots repeat what their model calls used, as several packages do."""
        for step in self._steps:
            if step.kind == "think":
                root.input_tokens += step.input_tokens
                root.output_tokens += step.output_tokens

    def _open(self, kind: str, parent: int) -> Step:
        number = len(self._steps)
        step = Step(kind, parent, self._now, self._now, self._draw.id_bytes(8), number)
        self._steps.append(step)
        return step

    def _close(self, index: int) -> None:
        self._steps[index].end_ns = self._now

    def _pass(self, median_ms: float, sigma: float) -> None:
        self._now += self._draw.latency_ns(median_ms, sigma)

    def _pass_slow(self, median_ms: float, sigma: float) -> None:
        """Time passes, now and then a lot of it."""
        slow = _SLOW_FACTOR if self._draw.chance(_SLOW_SHARE) else 1
        self._pass(median_ms * slow, sigma)
