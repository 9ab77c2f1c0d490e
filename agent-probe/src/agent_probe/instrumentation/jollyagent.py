"""JollyAgent, a ReAct agent on asyncio: ``src.agent.Agent`` and ``src.executor.ToolExecutor``, wrapped at class level.

Each turn (``process_message``) is a session span with the steps under it:

- **think**: ``_think``, with messages, reply, tokens and model of its ``_call_llm``; every further call of the model,
  and that of ``_observe``, is a think of its own, so that thinks are the calls of the model, and tokens count once.
- **act**: each ``execute_tool``, and each tool call that ``_act`` answered without executing anything.
- **observe**: ``_observe``. **response**: what ``process_message`` returned.

The agent hides its failures, so they are looked for: an LLM's error that it swallows is on the think, and on the turn
that ended in an apology for it; ``ToolResult(success=False)`` is the act's error; a reply that is no usable JSON is the
think's error ``bad_json``; a turn without ``final_answer`` is the error ``no_final_answer``.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from agent_probe.failure import TOOL_FAILURE, says_no_success
from agent_probe.instrumentation import importing
from agent_probe.step import ACT, OBSERVE, RESPONSE, SESSION, THINK, Step, Turn, current_turn, harmless

logger = logging.getLogger("agent_probe")

Original = Callable[..., Awaitable[Any]]
_ORIGINAL = "_agent_probe_original"
BAD_JSON, NO_FINAL_ANSWER = "bad_json", "no_final_answer"


@dataclass
class _Run:
    """One turn, as far as it has come."""

    iterations: int = 0
    final_answer: str = ""
    # The last exception that came out of a step; the agent swallows it.
    error: BaseException | None = None
    # The think that the next call of the model belongs to.
    thinking: Step | None = None
    reply: str | None = None
    executed: list[str] = field(default_factory=list)


_run: ContextVar[_Run | None] = ContextVar("agent_probe_jollyagent_run", default=None)


def _path(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return value


def _model(agent: Any) -> str:
    model = _path(agent, "config", "llm", "model")
    return model if isinstance(model, str) else ""


def _conversation(agent: Any) -> str | None:
    found = _path(agent, "state", "conversation_id")
    return str(found) if found else None


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
    return args[0] if args else kwargs.get(name)


async def _within(step: Step, run: _Run | None, call: Callable[[], Awaitable[Any]]) -> Any:
    """Runs a part of the agent as a step; ends the step only where that part raises."""
    step.start()
    step.attach()
    try:
        return await call()
    except BaseException as error:
        if run is not None:
            run.error = error
        step.detach()
        step.finish(error)
        raise
    finally:
        step.detach()


async def _process_message(original: Original, agent: Any, *args: Any, **kwargs: Any) -> Any:
    run = _Run()
    conversation = _conversation(agent)
    step = Step(
        SESSION, session_id=conversation, conversation_id=conversation, input=_argument(args, kwargs, "user_message")
    )
    token = _run.set(run)
    try:
        step.start()
        step.attach()
        try:
            answer = await original(agent, *args, **kwargs)
            _respond(agent, run, answer)
        except BaseException as error:
            step.detach()
            step.finish(error)
            raise
        step.detach()
        _end_turn(agent, step, run, answer)
        return answer
    finally:
        _run.reset(token)


@harmless
def _respond(agent: Any, run: _Run, answer: Any) -> None:
    _identify(agent)
    with Step(RESPONSE) as response:
        response.set_output(answer)
        _mark_apology(response, run)


@harmless
def _end_turn(agent: Any, step: Step, run: _Run, answer: Any) -> None:
    step.set_output(answer)
    conversation = _conversation(agent)
    if conversation is not None:
        # The agent may have begun the conversation only after the turn's span had.
        step.set("session.id", conversation).set("gen_ai.conversation.id", conversation)
    _mark_apology(step, run)
    step.finish()


def _mark_apology(step: Step, run: _Run) -> None:
    if run.final_answer:
        return
    if run.error is not None:
        step.fail(type(run.error).__qualname__, _text(run.error))
    else:
        step.fail(NO_FINAL_ANSWER, f"no final answer after {run.iterations} iterations")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""


@harmless
def _identify(agent: Any) -> None:
    turn: Turn | None = current_turn()
    if turn is not None and not turn.session_id:
        turn.session_id = turn.conversation_id = _conversation(agent) or ""


async def _think(original: Original, agent: Any, *args: Any, **kwargs: Any) -> Any:
    run = _run.get()
    _identify(agent)
    step = Step(THINK, _model(agent))
    if run is not None:
        run.iterations += 1
        run.thinking, run.reply = step, None
    try:
        result = await _within(step, run, lambda: original(agent, *args, **kwargs))
    finally:
        if run is not None:
            run.thinking = None
    _end_think(step, run, _argument(args, kwargs, "step"))
    step.finish()
    return result


@harmless
def _end_think(step: Step, run: _Run | None, react: Any) -> None:
    thought = _path(react, "thought", "content")
    answer, calls = _path(react, "final_answer"), _path(react, "tool_calls")
    if not step._answered and thought:
        step.set_output(thought)
    if run is None:
        return
    if answer:
        run.final_answer = str(answer)
    elif not calls and run.reply is not None and (problem := _unusable(run.reply, thought)):
        step.fail(BAD_JSON, problem)


def _unusable(reply: str, thought: Any) -> str:
    """Why a reply that gave neither a tool call nor an answer is none that the agent could use; empty where it is."""
    text = reply.strip()
    if text.startswith("```"):
        text = text.strip("`").partition("\n")[2] if "\n" in text else text.strip("`")
    try:
        parsed = json.loads(text)
    except ValueError as error:
        return f"the reply is no JSON: {error}"
    if not isinstance(parsed, dict):
        return "the reply is no JSON object"
    return "" if thought else "the reply has no thought, no tool call and no answer"


async def _call_llm(original: Original, agent: Any, *args: Any, **kwargs: Any) -> Any:
    run = _run.get()
    messages = _argument(args, kwargs, "messages")
    own = run.thinking if run is not None else None
    if run is not None and own is not None:
        run.thinking = None
        own.set_input(messages)
        try:
            reply = await original(agent, *args, **kwargs)
        except BaseException as error:
            run.error = error
            # The agent may not let it out of _think.
            own.record_error(error)
            raise
        _take_reply(own, reply)
        content = _path(reply, "content")
        run.reply = content if isinstance(content, str) else None
        return reply
    step = Step(THINK, _model(agent), input=messages)
    reply = await _within(step, run, lambda: original(agent, *args, **kwargs))
    _take_reply(step, reply)
    step.finish()
    return reply


@harmless
def _take_reply(step: Step, reply: Any) -> None:
    content, usage = _path(reply, "content"), _path(reply, "usage")
    if content is not None:
        step.set_output(content)
    if step._model:
        step.set_model(step._model)
    if usage is None:
        return
    cached = _path(usage, "prompt_tokens_details", "cached_tokens")
    step.set_tokens(_path(usage, "prompt_tokens") or 0, _path(usage, "completion_tokens") or 0, cached or 0)


async def _act(original: Original, agent: Any, *args: Any, **kwargs: Any) -> Any:
    run = _run.get()
    react = _argument(args, kwargs, "step")
    if run is not None:
        run.executed = []
    before = len(_path(react, "observations") or ())
    try:
        result = await original(agent, *args, **kwargs)
    except BaseException as error:
        if run is not None:
            run.error = error
        _act_unexecuted(run, react, before, error)
        raise
    _act_unexecuted(run, react, before, None)
    return result


@harmless
def _act_unexecuted(run: _Run | None, react: Any, before: int, error: BaseException | None) -> None:
    """An act for each tool call that never reached the executor: refused, unknown, or cut off by an exception."""
    calls = list(_path(react, "tool_calls") or ())
    observations = list(_path(react, "observations") or ())[before:]
    executed = list(run.executed) if run is not None else []
    for index, call in enumerate(calls):
        name = str(_path(call, "name") or "")
        if name in executed:
            executed.remove(name)
            continue
        step = Step(ACT, name, input=_path(call, "arguments"), attributes={"agent.tool.executed": False})
        step.start()
        observed = observations[index] if len(observations) == len(calls) else None
        if observed is not None:
            step.set_output(_path(observed, "result"))
            step.check(observed)
        step.finish(error)


async def _observe(original: Original, agent: Any, *args: Any, **kwargs: Any) -> Any:
    run = _run.get()
    react = _argument(args, kwargs, "step")
    observations = list(_path(react, "observations") or ())
    names = {str(_path(one, "tool_name") or "") for one in observations}
    step = Step(OBSERVE, names.pop() if len(names) == 1 else "", input=_observed(observations))
    result = await _within(step, run, lambda: original(agent, *args, **kwargs))
    _end_observe(step, run, react)
    step.finish()
    return result


def _observed(observations: list[Any]) -> Any:
    names = ("tool_name", "success", "result", "error")
    return [{name: _path(one, name) for name in names if _path(one, name) is not None} for one in observations] or None


@harmless
def _end_observe(step: Step, run: _Run | None, react: Any) -> None:
    answer = _path(react, "final_answer")
    if answer:
        step.set_output(answer)
        if run is not None:
            run.final_answer = str(answer)


async def _execute_tool(original: Original, executor: Any, *args: Any, **kwargs: Any) -> Any:
    run = _run.get()
    name = str(args[0] if args else kwargs.get("name", ""))
    arguments = kwargs if args else {key: value for key, value in kwargs.items() if key != "name"}
    if run is not None:
        run.executed.append(name)
    step = Step(ACT, name, input=arguments)
    result = await _within(step, None, lambda: original(executor, *args, **kwargs))
    _end_tool(step, result)
    step.finish()
    return result


@harmless
def _end_tool(step: Step, result: Any) -> None:
    step.set_output(_path(result, "result"))
    told = says_no_success(result)
    if told:
        step.fail(TOOL_FAILURE, told if isinstance(told, str) else "")


_WRAPPERS: dict[str, dict[str, dict[str, Callable[..., Awaitable[Any]]]]] = {
    "src.agent": {
        "Agent": {
            "process_message": _process_message,
            "_think": _think,
            "_act": _act,
            "_observe": _observe,
            "_call_llm": _call_llm,
        }
    },
    "src.executor": {"ToolExecutor": {"execute_tool": _execute_tool}},
}


def _wrap(module: ModuleType) -> None:
    for class_name, methods in _WRAPPERS[module.__name__].items():
        kind = getattr(module, class_name, None)
        if kind is None:
            logger.warning("agent-probe: %s has no %s; is it JollyAgent?", module.__name__, class_name)
            continue
        for name, wrapper in methods.items():
            original = kind.__dict__.get(name)
            if original is None:
                logger.warning(
                    "agent-probe: %s.%s has no %s, so that is not recorded", module.__name__, class_name, name
                )
            elif not hasattr(original, _ORIGINAL):
                setattr(kind, name, _wrapped(wrapper, original))


def _wrapped(wrapper: Callable[..., Awaitable[Any]], original: Original) -> Original:
    @functools.wraps(original)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        return await wrapper(original, *args, **kwargs)

    setattr(wrapped, _ORIGINAL, original)
    return wrapped


def instrument() -> bool:
    """Wraps the classes, now or as soon as the agent imports them. Bound methods kept from before are not wrapped."""
    for name in _WRAPPERS:
        importing.when_imported(name, _wrap)
    return True


def uninstrument() -> bool:
    """Puts the originals back."""
    import sys

    for module_name, classes in _WRAPPERS.items():
        importing.forget(module_name)
        module = sys.modules.get(module_name)
        for class_name, methods in classes.items():
            kind = getattr(module, class_name, None)
            for name in methods:
                original = getattr(getattr(kind, name, None), _ORIGINAL, None)
                if original is not None:
                    setattr(kind, name, original)
    return True
