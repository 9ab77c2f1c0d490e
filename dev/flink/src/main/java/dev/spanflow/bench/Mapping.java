package dev.spanflow.bench;

import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/**
 * From attributes to what a step is counted by. Precedence: agent.* before OpenInference, OTel GenAI and OpenLLMetry; see
 * docs/conventions.md. What a span says by its name alone, or by its attributes without a kind, is not read here.
 */
final class Mapping {
    private static final Map<String, String> OWN = table(
            "session", "session", "think", "think", "act", "act", "observe", "observe", "response", "response",
            "embedding", "embedding", "retrieval", "retrieval", "rerank", "rerank", "guardrail", "guardrail",
            "evaluate", "evaluate", "chain", "chain", "other", "other");
    private static final Map<String, String> OPENINFERENCE = table(
            "llm", "think", "tool", "act", "agent", "session", "chain", "chain", "embedding", "embedding",
            "retriever", "retrieval", "reranker", "rerank", "guardrail", "guardrail", "evaluator", "evaluate");
    private static final Map<String, String> GENAI = table(
            "chat", "think", "text_completion", "think", "generate_content", "think", "plan", "think", "completion", "think",
            "execute_tool", "act", "invoke_agent", "session", "invoke_workflow", "session", "embeddings", "embedding",
            "retrieval", "retrieval", "rerank", "rerank", "create_agent", "other", "execute_task", "chain",
            "llm_request", "think", "vector_db_retrieve", "retrieval", "guardrail.run", "guardrail", "guard", "guardrail");
    private static final Map<String, String> TRACELOOP = table(
            "workflow", "session", "agent", "session", "tool", "act", "task", "chain", "execute_task", "chain");
    private static final Map<String, String> REQUEST_TYPE = table(
            "chat", "think", "completion", "think", "embedding", "embedding", "rerank", "rerank");

    private Mapping() {}

    private static Map<String, String> table(String... namesAndTypes) {
        Map<String, String> table = new HashMap<>();
        for (int i = 0; i < namesAndTypes.length; i += 2) {
            table.put(namesAndTypes[i], namesAndTypes[i + 1]);
        }
        return table;
    }

    /** Fills in all of a step but its times. {@code failed} is what status and events say. */
    static void apply(Facts resource, Facts span, boolean isRoot, boolean failed, Step step) {
        StepKey key = step.key;
        key.agent = agent(resource, span);
        key.stepType = stepType(span, isRoot);
        key.toolName = toolName(span);
        key.model = span.firstText(Keys.MODEL, Keys.MODEL_END);
        step.failed = failed || span.has(Keys.ERROR_TYPE) || "failure".equalsIgnoreCase(span.text(Keys.TASK_STATUS));
        tokens(span, step);
        step.costNanousd = cost(span);
    }

    private static String agent(Facts resource, Facts span) {
        String service = resource.text(Keys.SERVICE_NAME);
        String agent = service;
        if (service == null || service.startsWith("unknown_service")) {
            String name = span.firstText(Keys.AGENT_NAME, Keys.AGENT_NAME_END);
            agent = name.isEmpty() ? "unknown" : name;
        }
        String namespace = resource.text(Keys.SERVICE_NAMESPACE);
        return namespace == null ? agent : namespace + "/" + agent;
    }

    private static String stepType(Facts span, boolean isRoot) {
        String type = look(OWN, span.text(Keys.STEP_TYPE));
        if (type == null) {
            type = look(OPENINFERENCE, span.text(Keys.OPENINFERENCE_KIND));
            // A chain at the root is the whole run.
            type = isRoot && "chain".equals(type) ? "session" : type;
        }
        type = type != null ? type : look(GENAI, span.text(Keys.GENAI_OPERATION));
        type = type != null ? type : look(TRACELOOP, span.text(Keys.TRACELOOP_KIND));
        type = type != null ? type : look(REQUEST_TYPE, span.text(Keys.REQUEST_TYPE));
        return type != null ? type : "other";
    }

    private static String look(Map<String, String> table, String name) {
        if (name == null) {
            return null;
        }
        String type = table.get(name);
        return type != null ? type : table.get(name.trim().toLowerCase(Locale.ROOT));
    }

    private static String toolName(Facts span) {
        String tool = span.firstText(Keys.TOOL, Keys.TOOL_END);
        if (tool.isEmpty() && "tool".equals(span.text(Keys.TRACELOOP_KIND))) {
            return span.firstText(Keys.TRACELOOP_ENTITY, Keys.TRACELOOP_ENTITY + 1);
        }
        return tool;
    }

    /** Where only the total and one of the two are known, the other is what remains. */
    private static void tokens(Facts span, Step step) {
        long input = span.tokens(Keys.TOKENS_IN, Keys.TOKENS_IN_END);
        long output = span.tokens(Keys.TOKENS_OUT, Keys.TOKENS_OUT_END);
        if (input < 0 || output < 0) {
            long total = Math.max(0, span.tokens(Keys.TOKENS_TOTAL, Keys.TOKENS_TOTAL_END));
            if (input < 0) {
                input = Math.max(0, total - Math.max(0, output));
                output = Math.max(0, output);
            } else {
                output = Math.max(0, total - input);
            }
        }
        step.inputTokens = input;
        step.outputTokens = output;
    }

    private static long cost(Facts span) {
        long cost = span.nanousd(Keys.COST, Keys.COST_END);
        if (cost < 0) {
            long input = span.nanousd(Keys.COST_IN, Keys.COST_IN + 1);
            long output = span.nanousd(Keys.COST_OUT, Keys.COST_OUT + 1);
            cost = input < 0 && output < 0 ? -1 : Math.max(0, input) + Math.max(0, output);
        }
        cost = cost >= 0 ? cost : span.nanousd(Keys.LATER_COST, Keys.LATER_COST_END);
        return Math.max(0, cost);
    }
}
