package dev.spanflow.bench;

import java.util.HashMap;
import java.util.Map;

/** The attribute keys that the mapping reads, as numbers; see stream-job/src/span/convention/keys.rs. */
final class Keys {
    /** Names, by number. */
    static final String[] NAMES = {
        "agent.step.type", "openinference.span.kind", "gen_ai.operation.name", "traceloop.span.kind", "llm.request.type",
        "agent.tool.name", "tool.name", "tool_call.function.name", "gen_ai.tool.name", "traceloop.entity.name",
        "llm.model_name", "llm.response.model_name", "llm.request.model_name", "embedding.model_name", "reranker.model_name",
        "gen_ai.response.model", "gen_ai.request.model", "llm.response.model", "llm.request.model",
        "llm.token_count.prompt", "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens",
        "llm.token_count.completion", "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens",
        "llm.token_count.total", "gen_ai.usage.total_tokens", "llm.usage.total_tokens",
        "agent.cost_usd", "llm.cost.total", "llm.cost.prompt", "llm.cost.completion", "gen_ai.usage.cost", "operation.cost",
        "agent.name", "gen_ai.agent.name", "error.type", "gen_ai.task.status", "service.name", "service.namespace",
    };
    static final int COUNT = NAMES.length;

    static final int STEP_TYPE = 0;
    static final int OPENINFERENCE_KIND = 1;
    static final int GENAI_OPERATION = 2;
    static final int TRACELOOP_KIND = 3;
    static final int REQUEST_TYPE = 4;
    /** Each list from here on is a range of numbers, in the order of precedence. */
    static final int TOOL = 5;
    static final int TOOL_END = 9;
    static final int TRACELOOP_ENTITY = 9;
    static final int MODEL = 10;
    static final int MODEL_END = 19;
    static final int TOKENS_IN = 19;
    static final int TOKENS_IN_END = 23;
    static final int TOKENS_OUT = 23;
    static final int TOKENS_OUT_END = 27;
    static final int TOKENS_TOTAL = 27;
    static final int TOKENS_TOTAL_END = 30;
    static final int COST = 30;
    static final int COST_END = 32;
    static final int COST_IN = 32;
    static final int COST_OUT = 33;
    static final int LATER_COST = 34;
    static final int LATER_COST_END = 36;
    static final int AGENT_NAME = 36;
    static final int AGENT_NAME_END = 38;
    static final int ERROR_TYPE = 38;
    static final int TASK_STATUS = 39;
    static final int SERVICE_NAME = 40;
    static final int SERVICE_NAMESPACE = 41;

    private static final Map<String, Integer> NUMBERS = new HashMap<>(4 * COUNT);

    static {
        for (int number = 0; number < COUNT; number++) {
            NUMBERS.put(NAMES[number], number);
        }
    }

    private Keys() {}

    /** The number of a key, or -1. */
    static int of(String name) {
        Integer number = NUMBERS.get(name);
        return number == null ? -1 : number;
    }
}
