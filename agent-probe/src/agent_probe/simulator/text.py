"""What users, agents and tools say, in Chinese and English."""

from __future__ import annotations

import json
from functools import lru_cache

from agent_probe.simulator.agents import Agent, Tool
from agent_probe.simulator.randomness import Draw

_CITIES = {
    "zh": ("北京", "上海", "成都", "西安", "杭州", "广州", "昆明", "哈尔滨", "厦门", "青岛"),
    "en": ("Lisbon", "Berlin", "Osaka", "Toronto", "Nairobi", "Lima", "Oslo", "Chicago", "Porto", "Hanoi"),
}
_NAMES = {"zh": ("王芳", "李娜", "张伟", "刘洋", "陈静"), "en": ("Ada", "Grace", "Linus", "Barbara", "Edsger")}
_SUBJECTS = {
    "zh": ("季度销售额", "退货率", "新用户留存", "仓储成本", "行程确认", "客户满意度"),
    "en": ("quarterly revenue", "checkout latency", "return rate", "retention", "trip plan", "storage costs"),
}
_QUESTIONS = {
    "zh": (
        "请帮我安排去{city}的行程，重点看{subject}。",
        "{city}下周天气怎么样？需要带伞吗？",
        "查一下{subject}为什么下降了，给出三条原因。",
        "我叫{name}，想知道订单{number}的进度。",
        "把{subject}的数据整理成表格，并说明异常值。",
        "推荐一款适合{name}的礼物，预算{amount}元。",
    ),
    "en": (
        "Plan a trip to {city} and mind the {subject}.",
        "Why did {subject} drop last week? Give three reasons.",
        "I'm {name}; where is order {number}?",
        "Review the change in module {number} and run its tests.",
        "Compare what is known about {subject} in {city} with last year.",
        "Summarise the incident of {number} for {name}.",
    ),
}
_THOUGHTS = {
    "zh": (
        "用户想了解{subject}，我先调用{tool}获取数据。",
        "上一步的结果还不够，需要再用{tool}核对一次。",
        "信息不完整，先用{tool}确认{city}的情况，再决定下一步。",
        "根据观察结果，下一步应当使用{tool}。",
    ),
    "en": (
        "The user asks about {subject}; {tool} should have the data.",
        "That is not enough yet: check with {tool}.",
        "Before answering I need {tool} for {city}.",
        "The observation points to {subject}; verify it with {tool}.",
    ),
}
_ANSWERS = {
    "zh": (
        "已经查到结果：{subject}总体平稳，{city}的情况最好，建议继续观察。",
        "{name}，您的请求已处理完成，编号{number}。",
        "综合来看，主要原因有三个：季节因素、价格调整，以及{city}的供应延迟。",
    ),
    "en": (
        "Done: {subject} is steady overall; {city} looks best. I suggest watching it for a week.",
        "{name}, your request is complete; the reference is {number}.",
        "Three reasons stand out: season, a price change, and a delay in {city}.",
    ),
}
_PARAGRAPHS = {
    "zh": (
        "本节说明了{subject}的统计口径：按自然日汇总，剔除测试账号，并对缺失值做了插补。",
        "从{city}的样本来看，周末的请求量明显高于工作日，延迟的九十五分位数也随之上升。",
        "值班人员{name}在检查编号{number}时发现，重试次数超过阈值后，下游服务开始排队。",
    ),
    "en": (
        "This section defines {subject}: summed by calendar day, without test accounts, gaps interpolated. ",
        "The sample from {city} shows far more requests at weekends, and the 95th percentile follows. ",
        "On call, {name} saw in case {number} that once retries passed the limit, the services below began to queue. ",
    ),
}
_RULES = {
    "zh": "你是{agent}，一个严谨的智能助手。先思考，再调用工具，最后用简体中文回答；不要编造数据。",
    "en": "You are {agent}, a careful assistant. Think first, then call tools, then answer; never make data up. ",
}


# json.dumps makes an encoder for every call that has an option.
to_json = json.JSONEncoder(ensure_ascii=False).encode


def fill(draw: Draw, template: str, language: str, tool: str = "") -> str:
    """A template with its places filled."""
    return template.format(
        city=draw.one(_CITIES[language]),
        name=draw.one(_NAMES[language]),
        subject=draw.one(_SUBJECTS[language]),
        number=draw.integer(100000, 999999),
        amount=draw.integer(5, 500) * 10,
        tool=tool,
    )


def question(draw: Draw, language: str) -> str:
    """What the user asks."""
    return fill(draw, draw.one(_QUESTIONS[language]), language)


def thought(draw: Draw, language: str, tool: str) -> str:
    """Why the agent calls the tool."""
    return fill(draw, draw.one(_THOUGHTS[language]), language, tool)


def answer(draw: Draw, language: str) -> str:
    """What the agent answers; now and then at length."""
    if draw.chance(0.05):
        return long_text(draw, language, 2000, 5000)
    return fill(draw, draw.one(_ANSWERS[language]), language)


def long_text(draw: Draw, language: str, low: int = 2000, high: int = 20000) -> str:
    """Paragraphs of about so many bytes."""
    paragraphs = [fill(draw, template, language) for template in _PARAGRAPHS[language]]
    size = draw.integer(low, high)
    round_size = sum(len(text.encode()) for text in paragraphs) + 12
    rounds = max(1, size // round_size)
    return "\n".join(f"{number}. " + "".join(paragraphs) for number in range(1, rounds + 1))


@lru_cache(maxsize=64)
def system_prompt(agent: Agent) -> str:
    """The agent's system prompt: always the same for one agent."""
    draw = Draw("prompt", agent.name)
    text = _RULES[agent.language].format(agent=agent.name)
    for tool in agent.tools:
        text += f"\n- {tool.name}({', '.join(tool.arguments)}): {tool.about}."
    while len(text) < agent.prompt_length:
        text += "\n" + fill(draw, draw.one(_PARAGRAPHS[agent.language]), agent.language)
    return text


def arguments(draw: Draw, agent: Agent, tool: Tool) -> str:
    """Arguments of a tool call as JSON, written as models write it."""
    values = {name: _argument(draw, agent.language, name) for name in tool.arguments}
    return to_json(values)


def _argument(draw: Draw, language: str, name: str) -> str | int:
    number = draw.integer(100000, 999999)
    if name in ("city", "destination"):
        return draw.one(_CITIES[language])
    if name == "date":
        return f"2026-{draw.integer(1, 12):02d}-{draw.integer(1, 28):02d}"
    if name == "name":
        return draw.one(_NAMES[language])
    if name in ("count", "amount"):
        return draw.integer(1, 5000)
    if name in ("number", "table", "metric", "service"):
        return f"{name[0].upper()}{number}"
    if name == "mail":
        return f"user{number}@example.com"
    if name == "url":
        return f"https://docs.example.com/{draw.hex(6)}/page-{number}.html"
    if name == "path":
        return f"src/module_{number % 97}/file_{draw.hex(4)}.py"
    if name == "sql":
        return f"SELECT day, sum(amount) FROM orders WHERE region = '{draw.one(_CITIES[language])}' AND id > {number}"
    if name == "code":
        return f"import statistics\nprint(statistics.fmean([{number}, {draw.integer(1, 99)}]))"
    return fill(draw, "{subject} {city} {number}", language)


def tool_result(draw: Draw, agent: Agent, tool: Tool) -> str:
    """What a tool gives back: JSON, or a long text."""
    if draw.chance(tool.long_share):
        return long_text(draw, agent.language)
    rows = [
        {"id": draw.integer(1, 99999), "name": draw.one(_CITIES[agent.language]), "value": draw.integer(1, 9999) / 10}
        for _ in range(draw.integer(1, 4))
    ]
    return to_json({"ok": True, "tool": tool.name, "rows": rows})


def tokens_of(text: str) -> int:
    """About how many tokens a text has: 4 bytes of ASCII, or two thirds of a Chinese character, each."""
    if text.isascii():
        return 1 + len(text) // 4
    wide = (len(text.encode()) - len(text)) // 2
    return 1 + (len(text) - wide) // 4 + wide * 3 // 5
