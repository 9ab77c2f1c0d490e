//! The attribute keys that mean something to us, and a hash table of them that is laid out by the compiler.
//!
//! A span has about a dozen attributes and there are over a hundred keys to tell apart, so a chain of comparisons
//! would be the dearest part of the mapping. One probe of a table of bytes takes about 3 ns.

macro_rules! keys {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// A key that the mapping reads.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Key {
            $($name),*
        }

        impl Key {
            /// All keys, in the order of their discriminants.
            pub(crate) const ALL: &[Key] = &[$(Key::$name),*];
            /// What they are called on the wire, in the same order.
            const TEXTS: &[&str] = &[$($text),*];
        }
    };
}

keys! {
    // Our own.
    AgentStepType = "agent.step.type",
    AgentStepNumber = "agent.step.number",
    AgentStepNo = "agent.step.no",
    AgentStepIndex = "agent.step.index",
    AgentName = "agent.name",
    AgentCostUsd = "agent.cost_usd",
    AgentInput = "agent.input",
    AgentOutput = "agent.output",
    AgentContent = "agent.content",
    AgentToolName = "agent.tool.name",
    AgentToolArguments = "agent.tool.arguments",
    AgentToolResult = "agent.tool.result",
    // Resource, identity and errors, common to all.
    ServiceName = "service.name",
    ServiceNamespace = "service.namespace",
    SessionId = "session.id",
    UserId = "user.id",
    EndUserId = "enduser.id",
    ErrorType = "error.type",
    ErrorMessage = "error.message",
    ExceptionType = "exception.type",
    ExceptionMessage = "exception.message",
    ExceptionStack = "exception.stacktrace",
    // OpenInference.
    OiSpanKind = "openinference.span.kind",
    OiModel = "llm.model_name",
    OiResponseModel = "llm.response.model_name",
    OiRequestModel = "llm.request.model_name",
    OiEmbeddingModel = "embedding.model_name",
    OiRerankerModel = "reranker.model_name",
    OiInvocation = "llm.invocation_parameters",
    OiProvider = "llm.provider",
    OiSystem = "llm.system",
    OiTokensIn = "llm.token_count.prompt",
    OiTokensOut = "llm.token_count.completion",
    OiTokensTotal = "llm.token_count.total",
    OiCacheRead = "llm.token_count.prompt_details.cache_read",
    OiCost = "llm.cost.total",
    OiCostIn = "llm.cost.prompt",
    OiCostOut = "llm.cost.completion",
    OiInput = "input.value",
    OiOutput = "output.value",
    OiToolName = "tool.name",
    OiToolParameters = "tool.parameters",
    OiCallName = "tool_call.function.name",
    OiCallArguments = "tool_call.function.arguments",
    // OpenTelemetry GenAI, the current spellings.
    GenAiOperation = "gen_ai.operation.name",
    GenAiProvider = "gen_ai.provider.name",
    GenAiRequestModel = "gen_ai.request.model",
    GenAiResponseModel = "gen_ai.response.model",
    GenAiTokensIn = "gen_ai.usage.input_tokens",
    GenAiTokensOut = "gen_ai.usage.output_tokens",
    GenAiTokensTotal = "gen_ai.usage.total_tokens",
    GenAiCacheRead = "gen_ai.usage.cache_read.input_tokens",
    GenAiCost = "gen_ai.usage.cost",
    GenAiToolName = "gen_ai.tool.name",
    GenAiToolArguments = "gen_ai.tool.call.arguments",
    GenAiToolResult = "gen_ai.tool.call.result",
    GenAiAgentName = "gen_ai.agent.name",
    GenAiConversation = "gen_ai.conversation.id",
    GenAiRetrievalQuery = "gen_ai.retrieval.query.text",
    GenAiRetrievalDocuments = "gen_ai.retrieval.documents",
    GenAiInput = "gen_ai.input.messages",
    GenAiOutput = "gen_ai.output.messages",
    // OpenTelemetry GenAI, older or package-specific spellings.
    GenAiSystem = "gen_ai.system",
    GenAiOldTokensIn = "gen_ai.usage.prompt_tokens",
    GenAiOldTokensOut = "gen_ai.usage.completion_tokens",
    GenAiOldPrompt = "gen_ai.prompt",
    GenAiOldCompletion = "gen_ai.completion",
    GenAiOldCacheRead = "gen_ai.usage.cache_read_input_tokens",
    GenAiDetailCacheRead = "gen_ai.usage.details.cache_read_tokens",
    GenAiDetailCacheReadIn = "gen_ai.usage.details.cache_read_input_tokens",
    PydanticCost = "operation.cost",
    PydanticMessages = "pydantic_ai.all_messages",
    PydanticResult = "final_result",
    PydanticToolArguments = "tool_arguments",
    PydanticToolResponse = "tool_response",
    // OpenLLMetry.
    TlSpanKind = "traceloop.span.kind",
    TlEntityName = "traceloop.entity.name",
    TlEntityInput = "traceloop.entity.input",
    TlEntityOutput = "traceloop.entity.output",
    TlSession = "traceloop.association.properties.session_id",
    TlThread = "traceloop.association.properties.thread_id",
    TlConversation = "traceloop.association.properties.conversation_id",
    TlUser = "traceloop.association.properties.user_id",
    TlRequestType = "llm.request.type",
    TlRequestModel = "llm.request.model",
    TlResponseModel = "llm.response.model",
    TlTokensIn = "llm.usage.prompt_tokens",
    TlTokensOut = "llm.usage.completion_tokens",
    TlTokensTotal = "llm.usage.total_tokens",
    TlTaskStatus = "gen_ai.task.status",
    TlTaskInput = "gen_ai.task.input",
    TlTaskOutput = "gen_ai.task.output",
    TlGenAiUser = "gen_ai.user",
    TlLlmUser = "llm.user",
}

impl Key {
    /// How many there are.
    pub(crate) const COUNT: usize = Key::ALL.len();

    /// The key's name on the wire.
    #[cfg(test)]
    pub(crate) fn text(self) -> &'static str {
        Key::TEXTS[self as usize]
    }

    /// The key of this name, where it is one that we read.
    #[inline]
    pub(crate) fn of(name: &str) -> Option<Key> {
        let mut slot = slot_of(name.as_bytes());
        loop {
            match SLOTS[slot] {
                FREE => return None,
                index if Key::TEXTS[usize::from(index)] == name => {
                    return Some(Key::ALL[usize::from(index)]);
                }
                _ => slot = (slot + 1) % SLOT_COUNT,
            }
        }
    }
}

/// At most one slot in five is taken, so a key that is not ours nearly always meets a free one at once.
const SLOT_COUNT: usize = 512;
const FREE: u8 = u8::MAX;
static SLOTS: [u8; SLOT_COUNT] = lay_out();

const fn lay_out() -> [u8; SLOT_COUNT] {
    assert!(Key::COUNT < FREE as usize, "a slot is one byte");
    let mut slots = [FREE; SLOT_COUNT];
    let mut index = 0;
    while index < Key::COUNT {
        let mut slot = slot_of(Key::TEXTS[index].as_bytes());
        while slots[slot] != FREE {
            slot = (slot + 1) % SLOT_COUNT;
        }
        slots[slot] = index as u8;
        index += 1;
    }
    slots
}

/// Length, first eight and last eight bytes tell nearly all keys apart; the middle need not be read.
const fn slot_of(name: &[u8]) -> usize {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let (head, tail) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => (short(name), 0),
    };
    let mixed = (head ^ tail.wrapping_mul(MIX) ^ name.len() as u64).wrapping_mul(MIX);
    (mixed >> 55) as usize
}

const fn short(name: &[u8]) -> u64 {
    let mut packed = 0;
    let mut index = 0;
    while index < name.len() {
        packed = packed << 8 | name[index] as u64;
        index += 1;
    }
    packed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_key_is_found_by_its_name_and_no_name_is_there_twice() {
        for &key in Key::ALL {
            assert_eq!(Key::of(key.text()), Some(key), "{}", key.text());
        }
    }

    #[test]
    fn names_that_are_not_ours_are_not_found() {
        for name in [
            "",
            "a",
            "session.ie",
            "llm.model_namf",
            "http.request.method",
            "gen_ai",
        ] {
            assert_eq!(Key::of(name), None, "{name}");
        }
    }
}
