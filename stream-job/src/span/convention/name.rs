//! What a span's name says, where its attributes do not.

use super::kind::{gen_ai_operation, step_type_named};
use crate::span::clean::StepType;

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameHint<'a> {
    pub(crate) step_type: StepType,
    /// The word that says so: `invoke_agent`, `chat`, `tool`.
    pub(crate) word: &'a str,
    /// What the step is done on or by: the model, tool or agent, as the step type has it; may be empty.
    pub(crate) subject: &'a str,
}

/// OTLP's span kinds of the far end of a call or a message: no step of an agent is one.
const FAR_END: [i32; 3] = [2, 4, 5];

/// Operations that are common words as well; they count only as `chat gpt-4o`, in two words at most.
const COMMON_WORDS: [&str; 7] = [
    "chat",
    "plan",
    "completion",
    "embeddings",
    "retrieval",
    "rerank",
    "generate_content",
];

/// Reads the names that the conventions prescribe: `chat gpt-4o`, `execute_tool search`, `invoke_agent planner`
/// (OTel GenAI); `openai.chat`, `search.tool`, `trip.workflow` (OpenLLMetry); `tools/call search` (MCP); and a step
/// type alone. The names of a server's, producer's or consumer's span say nothing.
pub(crate) fn read(name: &str, kind: i32) -> Option<NameHint<'_>> {
    if FAR_END.contains(&kind) {
        return None;
    }
    let name = name.trim();
    step_type_alone(name)
        .or_else(|| operation_first(name))
        .or_else(|| kind_last(name))
}

/// `think`, `act`, `observe`, `response`. The other types' names are too common to say anything.
fn step_type_alone(name: &str) -> Option<NameHint<'_>> {
    let step_type = step_type_named(name)?;
    step_type.is_step().then_some(NameHint {
        step_type,
        word: name,
        subject: "",
    })
}

fn operation_first(name: &str) -> Option<NameHint<'_>> {
    let (operation, subject) = name.split_once(' ').unwrap_or((name, ""));
    let subject = subject.trim();
    if operation == "tools/call" {
        return Some(NameHint {
            step_type: StepType::Act,
            word: operation,
            subject,
        });
    }
    // Prescribed in lower case; `Plan trip` is somebody's sentence.
    if operation.bytes().any(|byte| byte.is_ascii_uppercase())
        || COMMON_WORDS.contains(&operation) && subject.contains(' ')
    {
        return None;
    }
    let step_type = gen_ai_operation(operation)?;
    Some(NameHint {
        step_type,
        word: operation,
        subject,
    })
}

fn kind_last(name: &str) -> Option<NameHint<'_>> {
    let (subject, last) = name.rsplit_once('.')?;
    let step_type = match last {
        "workflow" | "agent" => StepType::Session,
        "tool" => StepType::Act,
        "task" => StepType::Chain,
        "chat" | "completion" | "completions" => StepType::Think,
        "embeddings" => StepType::Embedding,
        "rerank" => StepType::Rerank,
        _ => return None,
    };
    // `ChatOpenAI.chat` names a class and `openai.chat` a vendor: neither is a model.
    let subject = match step_type {
        StepType::Session | StepType::Act | StepType::Chain => subject,
        _ => "",
    };
    (!name.contains(' ') || !subject.is_empty()).then_some(NameHint {
        step_type,
        word: last,
        subject,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Option<(StepType, &str)> {
        read(name, 1).map(|hint| (hint.step_type, hint.subject))
    }

    #[test]
    fn names_that_a_convention_prescribes_are_understood() {
        assert_eq!(of("chat gpt-4o"), Some((StepType::Think, "gpt-4o")));
        assert_eq!(of("text_completion m"), Some((StepType::Think, "m")));
        assert_eq!(
            of("execute_tool get_weather"),
            Some((StepType::Act, "get_weather"))
        );
        assert_eq!(
            of("invoke_agent Math Tutor"),
            Some((StepType::Session, "Math Tutor"))
        );
        assert_eq!(of("invoke_workflow w"), Some((StepType::Session, "w")));
        assert_eq!(
            of("create_agent Math Tutor"),
            Some((StepType::Other, "Math Tutor"))
        );
        assert_eq!(of("embeddings e-3"), Some((StepType::Embedding, "e-3")));
        assert_eq!(of("ChatOpenAI.chat"), Some((StepType::Think, "")));
        assert_eq!(of("openai.completion"), Some((StepType::Think, "")));
        assert_eq!(of("openai.embeddings"), Some((StepType::Embedding, "")));
        assert_eq!(of("trip.workflow"), Some((StepType::Session, "trip")));
        assert_eq!(of("planner.agent"), Some((StepType::Session, "planner")));
        assert_eq!(of("get_weather.tool"), Some((StepType::Act, "get_weather")));
        assert_eq!(of("summarise.task"), Some((StepType::Chain, "summarise")));
        assert_eq!(of("tools/call search"), Some((StepType::Act, "search")));
        assert_eq!(of("observe"), Some((StepType::Observe, "")));
    }

    #[test]
    fn sentences_and_other_peoples_names_say_nothing() {
        for name in [
            "",
            "GET /chat",
            "chat room join",
            "Plan trip",
            "plan a long trip",
            "session",
            "other",
            "chain",
            "SELECT orders",
            "user.agents",
            "mail.send",
            "we met the agent.chat",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn the_far_end_of_a_call_is_no_step_whatever_its_name() {
        for kind in [2, 4, 5] {
            assert_eq!(read("chat gpt-4o", kind), None);
        }
        assert!(read("chat gpt-4o", 3).is_some());
        assert!(read("chat gpt-4o", 0).is_some());
    }
}
