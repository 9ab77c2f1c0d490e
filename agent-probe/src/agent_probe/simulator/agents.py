"""The simulated agents: what they are called, which model and tools they have, and what instruments them."""

from __future__ import annotations

from dataclasses import dataclass

CONVENTIONS = ("agent", "openinference", "genai", "openllmetry", "document")


@dataclass(frozen=True)
class Model:
    """A language model as its provider names it."""

    name: str
    provider: str
    median_ms: float
    # Price in nano-dollars a token.
    input_price: int
    output_price: int
    host: str
    # What the provider answers with, where it is not the name asked for.
    answered_as: str = ""

    @property
    def response_name(self) -> str:
        """The name in the response."""
        return self.answered_as or self.name


@dataclass(frozen=True)
class Tool:
    """A tool. ``arguments`` are names of the argument kinds that :mod:`text` can fill."""

    name: str
    about: str
    arguments: tuple[str, ...]
    median_ms: float
    # Probability that its result is a long text (2 to 20 kB).
    long_share: float = 0.02


@dataclass(frozen=True)
class Agent:
    """One kind of agent, run as ``instances`` processes."""

    name: str
    convention: str
    # Which package, or which generation of it, instruments the agent: see the modules of ``convention``.
    dialect: str
    language: str
    model: Model
    tools: tuple[Tool, ...]
    weight: float
    namespace: str = ""
    instances: int = 2
    # Retrieval steps before the answer: embedding, retrieval, rerank, guardrail.
    retrieval: tuple[str, ...] = ()
    # Length of the system prompt in characters.
    prompt_length: int = 300
    parallel_share: float = 0.15


_QWEN_MAX = Model("qwen-max", "dashscope", 1400, 1600, 6400, "dashscope.aliyuncs.com")
_QWEN_PLUS = Model("qwen-plus", "dashscope", 900, 400, 1200, "dashscope.aliyuncs.com")
_DEEPSEEK = Model("deepseek-chat", "deepseek", 1900, 270, 1100, "api.deepseek.com")
_GPT_MINI = Model("gpt-4o-mini", "openai", 700, 150, 600, "api.openai.com", "gpt-4o-mini-2024-07-18")
_GPT_41 = Model("gpt-4.1", "openai", 1100, 2000, 8000, "api.openai.com", "gpt-4.1-2025-04-14")
_CLAUDE = Model("claude-sonnet-4-5", "anthropic", 1800, 3000, 15000, "api.anthropic.com", "claude-sonnet-4-5-20250929")
_GEMINI = Model("gemini-2.5-flash", "gcp.gen_ai", 800, 300, 2500, "generativelanguage.googleapis.com")

_WEATHER = Tool("get_weather", "Weather of a city on a day", ("city", "date"), 180)
_FLIGHTS = Tool("search_flights", "Flights between two cities", ("city", "destination", "date"), 650, 0.05)
_HOTELS = Tool("search_hotels", "Hotels in a city", ("city", "date", "count"), 520, 0.05)
_BOOK = Tool("book_ticket", "Books a ticket", ("number", "name"), 900)
_ORDER = Tool("lookup_order", "Looks an order up", ("number",), 120)
_REFUND = Tool("refund_order", "Refunds an order", ("number", "amount"), 420)
_MAIL = Tool("send_email", "Sends an e-mail", ("mail", "subject"), 300)
_SEARCH = Tool("web_search", "Searches the web", ("query",), 800, 0.05)
_FETCH = Tool("fetch_page", "Fetches a web page as text", ("url",), 1100, 0.35)
_PYTHON = Tool("run_python", "Runs Python code", ("code",), 700)
_READ = Tool("read_file", "Reads a file of the repository", ("path",), 15, 0.25)
_TESTS = Tool("run_tests", "Runs the tests of a package", ("path", "count"), 4200, 0.15)
_GREP = Tool("grep_code", "Searches the code", ("query", "path"), 90)
_SQL = Tool("run_sql", "Runs a query", ("sql",), 350, 0.06)
_CHART = Tool("plot_chart", "Draws a chart", ("subject", "count"), 240)
_TABLE = Tool("describe_table", "Describes a table", ("table",), 60)
_GOODS = Tool("search_goods", "Searches the shop", ("query", "amount"), 260, 0.04)
_STOCK = Tool("check_stock", "Looks stock up", ("number",), 45)
_METRICS = Tool("query_metrics", "Runs a PromQL query", ("metric", "count"), 220)
_LOGS = Tool("read_logs", "Reads the logs of a service", ("service", "count"), 480, 0.3)
_RESTART = Tool("restart_service", "Restarts a service", ("service",), 2600)

AGENTS: tuple[Agent, ...] = (
    Agent("travel-planner", "agent", "probe", "zh", _QWEN_MAX, (_WEATHER, _FLIGHTS, _HOTELS, _BOOK), 2.0),
    Agent(
        "ops-runbook",
        "agent",
        "probe",
        "en",
        _GEMINI,
        (_METRICS, _LOGS, _RESTART),
        1.0,
        namespace="infra",
        prompt_length=900,
    ),
    Agent(
        "support-desk",
        "openinference",
        "langchain",
        "en",
        _GPT_MINI,
        (_ORDER, _REFUND, _MAIL),
        2.0,
        retrieval=("retrieval",),
    ),
    Agent(
        "shopping-guide",
        "openinference",
        "openai",
        "zh",
        _QWEN_PLUS,
        (_GOODS, _STOCK),
        1.0,
        retrieval=("guardrail", "embedding", "retrieval", "rerank"),
    ),
    Agent(
        "research-assistant",
        "genai",
        "anthropic",
        "en",
        _CLAUDE,
        (_SEARCH, _FETCH, _PYTHON),
        1.0,
        prompt_length=6500,
        retrieval=("embedding", "retrieval"),
    ),
    Agent("trip-concierge", "genai", "workflow", "zh", _GPT_41, (_WEATHER, _HOTELS, _SEARCH), 1.0),
    Agent(
        "code-reviewer",
        "openllmetry",
        "sdk",
        "en",
        _GPT_MINI,
        (_READ, _TESTS, _GREP),
        1.0,
        prompt_length=1500,
    ),
    Agent("data-analyst", "openllmetry", "old", "zh", _DEEPSEEK, (_SQL, _CHART, _TABLE), 1.0),
    Agent("jolly-assistant", "document", "document", "zh", _QWEN_PLUS, (_WEATHER, _SEARCH, _MAIL), 0.7, instances=1),
)


def agents_of(conventions: tuple[str, ...]) -> tuple[Agent, ...]:
    """The agents of the given conventions, in the order of :data:`AGENTS`."""
    return tuple(agent for agent in AGENTS if agent.convention in conventions)
