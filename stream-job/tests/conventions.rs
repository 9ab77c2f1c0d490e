//! Spans as real instrumentation packages send them (`tests/fixtures/conventions`), mapped to clean spans.
//!
//! Each fixture is what the package's OTLP exporter sent, message by message, against a stand-in for a model. The
//! tables below say, span by span in the order sent, what contracts.md asks for; they were checked by hand against the
//! attributes that the packages wrote.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use stream_job::decode::document::{self, DocumentOptions};
use stream_job::decode::protobuf::{WalkOptions, Walker};
use stream_job::span::clean::CleanSpan;
use stream_job::span::validate::Limits;
use stream_job::span::view::{ResourceView, ScopeView, SpanView};
use stream_job::span::{CleanSettings, clean, validate};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/conventions")
}

/// Visits the spans of a package's messages in the order sent.
fn each(package: &str, mut visit: impl FnMut(&CleanSpan<'_>)) {
    let mut files: Vec<PathBuf> = fs::read_dir(fixtures().join(package))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    files.sort();
    assert!(
        files.len() > 1,
        "{package}: a trace comes in several messages"
    );
    let mut walker = Walker::new(WalkOptions::default());
    let settings = CleanSettings::default();
    for file in files {
        let message = fs::read(&file).unwrap();
        let visit_span =
            |resource: &ResourceView<'_>, scope: &ScopeView<'_>, span: &SpanView<'_>| {
                let now_ms = i64::try_from(span.end_time_unix_nano / 1_000_000).unwrap();
                validate(span, &Limits::default(), now_ms).unwrap();
                visit(&clean(resource, scope, span, &settings));
            };
        let spans = walker.walk(&message, false, visit_span).unwrap();
        assert!(spans > 0, "{}", file.display());
    }
}

/// Checks a package against a table, `-` for what is empty:
/// name | step type, convention | agent | session, user | model | tokens in, out, from cache | tool | status, error type
fn check(package: &str, expected: &str) {
    let mut table = String::new();
    each(package, |span| {
        let or_dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        writeln!(
            table,
            "{} | {} {} | {} | {} {} | {} | {} {} {} | {} | {} {}",
            span.name,
            span.step_type.as_str(),
            span.convention.as_str(),
            or_dash(&span.agent),
            or_dash(&span.session_id),
            or_dash(&span.user_id),
            or_dash(&span.model),
            span.input_tokens,
            span.output_tokens,
            span.cache_read_tokens,
            or_dash(&span.tool_name),
            span.status.as_str(),
            or_dash(&span.error_type),
        )
        .unwrap();
    });
    let tidy = |text: &str| {
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(tidy(&table), tidy(expected), "{package}");
}

// Decorators around the openai package: an agent, a chain, a tool. `look_up` without an agent around it is a root.
#[test]
fn openinference_openai_spans_come_out_as_the_contract_says() {
    check(
        "openinference-openai",
        "
        ChatCompletion   | think openinference     | weather-agent | session-1 user-1 | gpt-4o-2024-08-06      | 60 12 16 | -           | ok -
        ChatCompletion   | think openinference     | weather-agent | session-1 user-1 | gpt-4o-2024-08-06      | 80 12 16 | -           | ok -
        get_weather      | act openinference       | weather-agent | session-1 user-1 | -                      | 0 0 0    | get_weather | ok -
        look_up          | chain openinference     | weather-agent | session-1 user-1 | -                      | 0 0 0    | -           | ok -
        answer           | session openinference   | weather-agent | session-1 user-1 | -                      | 0 0 0    | -           | ok -
        get_weather      | act openinference       | weather-agent | session-2 user-2 | -                      | 0 0 0    | get_weather | error ValueError
        look_up          | session openinference   | weather-agent | session-2 user-2 | -                      | 0 0 0    | -           | error ValueError
        ChatCompletion   | think openinference     | weather-agent | session-2 user-2 | broken                 | 0 0 0    | -           | error openai.InternalServerError
        CreateEmbeddings | embedding openinference | weather-agent | - -              | text-embedding-3-small | 5 0 0    | -           | ok -
        ",
    );
}

// LangGraph: the root is a CHAIN, its nodes are CHAINs too. No service name was set, and no span names its agent.
#[test]
fn openinference_langchain_spans_come_out_as_the_contract_says() {
    check(
        "openinference-langchain",
        "
        ChatOpenAI  | think openinference   | unknown | session-1 user-1 | gpt-4o-2024-08-06 | 50 12 16 | -           | ok -
        model       | chain openinference   | unknown | session-1 user-1 | -                 | 0 0 0    | -           | ok -
        get_weather | act openinference     | unknown | session-1 user-1 | -                 | 0 0 0    | get_weather | ok -
        tools       | chain openinference   | unknown | session-1 user-1 | -                 | 0 0 0    | -           | ok -
        ChatOpenAI  | think openinference   | unknown | session-1 user-1 | gpt-4o-2024-08-06 | 70 12 16 | -           | ok -
        model       | chain openinference   | unknown | session-1 user-1 | -                 | 0 0 0    | -           | ok -
        weather     | session openinference | unknown | session-1 user-1 | -                 | 0 0 0    | -           | ok -
        ChatOpenAI  | think openinference   | unknown | session-2 -      | broken            | 0 0 0    | -           | error langchain_openai.chat_models.base.OpenAIAPIError
        model       | chain openinference   | unknown | session-2 -      | -                 | 0 0 0    | -           | error langchain_openai.chat_models.base.OpenAIAPIError
        weather     | session openinference | unknown | session-2 -      | -                 | 0 0 0    | -           | error langchain_openai.chat_models.base.OpenAIAPIError
        ChatOpenAI  | think openinference   | unknown | session-2 -      | gpt-4o-2024-08-06 | 50 12 16 | -           | ok -
        model       | chain openinference   | unknown | session-2 -      | -                 | 0 0 0    | -           | ok -
        break_down  | act openinference     | unknown | session-2 -      | -                 | 0 0 0    | break_down  | error RuntimeError
        tools       | chain openinference   | unknown | session-2 -      | -                 | 0 0 0    | -           | error RuntimeError
        weather     | session openinference | unknown | session-2 -      | -                 | 0 0 0    | -           | error RuntimeError
        ",
    );
}

// A root AGENT over a CHAIN over the agents themselves, two of them after a handoff. A failed run's root is OK.
#[test]
fn openinference_openai_agents_spans_come_out_as_the_contract_says() {
    check(
        "openinference-openai-agents",
        "
        generation            | think openinference   | weather-agent | session-1 user-1 | gpt-4o | 50 12 0 | -                     | ok -
        get_weather           | act openinference     | weather-agent | session-1 user-1 | -      | 0 0 0   | get_weather           | ok -
        turn                  | chain openinference   | weather-agent | session-1 user-1 | -      | 0 0 0   | -                     | ok -
        generation            | think openinference   | weather-agent | session-1 user-1 | gpt-4o | 70 12 0 | -                     | ok -
        turn                  | chain openinference   | weather-agent | session-1 user-1 | -      | 0 0 0   | -                     | ok -
        forecaster            | session openinference | weather-agent | session-1 user-1 | -      | 0 0 0   | -                     | ok -
        Agent workflow        | chain openinference   | weather-agent | session-1 user-1 | -      | 0 0 0   | -                     | ok -
        Agent workflow        | session openinference | weather-agent | session-1 user-1 | -      | 0 0 0   | -                     | ok -
        generation            | think openinference   | weather-agent | session-2 -      | gpt-4o | 50 12 0 | -                     | ok -
        handoff to forecaster | act openinference     | weather-agent | session-2 -      | -      | 0 0 0   | handoff to forecaster | ok -
        turn                  | chain openinference   | weather-agent | session-2 -      | -      | 0 0 0   | -                     | ok -
        concierge             | session openinference | weather-agent | session-2 -      | -      | 0 0 0   | -                     | ok -
        generation            | think openinference   | weather-agent | session-2 -      | gpt-4o | 70 12 0 | -                     | ok -
        turn                  | chain openinference   | weather-agent | session-2 -      | -      | 0 0 0   | -                     | ok -
        forecaster            | session openinference | weather-agent | session-2 -      | -      | 0 0 0   | -                     | ok -
        Agent workflow        | chain openinference   | weather-agent | session-2 -      | -      | 0 0 0   | -                     | ok -
        Agent workflow        | session openinference | weather-agent | session-2 -      | -      | 0 0 0   | -                     | ok -
        generation            | think openinference   | weather-agent | session-2 -      | broken | 0 0 0   | -                     | error -
        turn                  | chain openinference   | weather-agent | session-2 -      | -      | 0 0 0   | -                     | ok -
        forecaster            | session openinference | weather-agent | session-2 -      | -      | 0 0 0   | -                     | error -
        Agent workflow        | chain openinference   | weather-agent | session-2 -      | -      | 0 0 0   | -                     | ok -
        Agent workflow        | session openinference | weather-agent | session-2 -      | -      | 0 0 0   | -                     | ok -
        ",
    );
}

// Workflow, agent, task and tool by decorator.
#[test]
fn traceloop_sdk_spans_come_out_as_the_contract_says() {
    check(
        "traceloop-sdk",
        "
        openai.chat              | think openllmetry     | weather-agent | session-1 user-1 | gpt-4o-2024-08-06      | 60 12 16 | -           | unset -
        openai.chat              | think openllmetry     | weather-agent | session-1 user-1 | gpt-4o-2024-08-06      | 80 12 16 | -           | unset -
        get_weather.tool         | act openllmetry       | weather-agent | session-1 user-1 | -                      | 0 0 0    | get_weather | unset -
        look_up.task             | chain openllmetry     | weather-agent | session-1 user-1 | -                      | 0 0 0    | -           | unset -
        forecaster.agent         | session openllmetry   | weather-agent | session-1 user-1 | -                      | 0 0 0    | -           | unset -
        weather_report.workflow  | session openllmetry   | weather-agent | session-1 user-1 | -                      | 0 0 0    | -           | unset -
        get_weather.tool         | act openllmetry       | weather-agent | session-2 user-2 | -                      | 0 0 0    | get_weather | error ValueError
        openai.chat              | think openllmetry     | weather-agent | session-2 user-2 | broken                 | 0 0 0    | -           | error InternalServerError
        look_up.task             | chain openllmetry     | weather-agent | session-2 user-2 | -                      | 0 0 0    | -           | error ValueError
        weather_failure.workflow | session openllmetry   | weather-agent | session-2 user-2 | -                      | 0 0 0    | -           | error ValueError
        openai.embeddings        | embedding openllmetry | weather-agent | session-2 user-2 | text-embedding-3-small | 5 0 0    | -           | unset -
        ",
    );
}

// The same calls with OpenLLMetry of 2024: what fails never ends its span, so the last one's parent never comes.
#[test]
fn old_traceloop_sdk_spans_come_out_as_the_contract_says() {
    check(
        "traceloop-sdk-0.33",
        "
        openai.chat             | think openllmetry     | weather-agent | session-1 user-1 | gpt-4o-2024-08-06      | 60 12 0 | -           | unset -
        openai.chat             | think openllmetry     | weather-agent | session-1 user-1 | gpt-4o-2024-08-06      | 80 12 0 | -           | unset -
        get_weather.tool        | act openllmetry       | weather-agent | session-1 user-1 | -                      | 0 0 0   | get_weather | unset -
        look_up.task            | chain openllmetry     | weather-agent | session-1 user-1 | -                      | 0 0 0   | -           | unset -
        forecaster.agent        | session openllmetry   | weather-agent | session-1 user-1 | -                      | 0 0 0   | -           | unset -
        weather_report.workflow | session openllmetry   | weather-agent | session-1 user-1 | -                      | 0 0 0   | -           | unset -
        openai.embeddings       | embedding openllmetry | weather-agent | session-2 user-2 | text-embedding-3-small | 5 0 0   | -           | unset -
        ",
    );
}

// OpenTelemetry's own. create_agent has a trace of its own; only the agent's span has conversation and user.
#[test]
fn openai_v2_spans_come_out_as_the_contract_says() {
    check(
        "openai-v2",
        "
        create_agent forecaster           | other genai     | weather-agent | - -              | -                      | 0 0 0   | -           | unset -
        execute_tool get_weather          | act genai       | weather-agent | - -              | -                      | 0 0 0   | get_weather | unset -
        chat gpt-4o                       | think genai     | weather-agent | - -              | gpt-4o-2024-08-06      | 60 12 0 | -           | unset -
        chat gpt-4o                       | think genai     | weather-agent | - -              | gpt-4o-2024-08-06      | 80 12 0 | -           | unset -
        invoke_agent forecaster           | session genai   | weather-agent | session-1 user-1 | -                      | 0 0 0   | -           | unset -
        chat broken                       | think genai     | weather-agent | - -              | broken                 | 0 0 0   | -           | error InternalServerError
        embeddings text-embedding-3-small | embedding genai | weather-agent | - -              | text-embedding-3-small | 5 0 0   | -           | unset -
        ",
    );
}

// Every span has the conversation; the agent's span has no usage of its own.
#[test]
fn pydantic_ai_spans_come_out_as_the_contract_says() {
    check(
        "pydantic-ai",
        "
        chat gpt-4o              | think genai   | weather-agent | session-1 - | gpt-4o-2024-08-06 | 60 12 16 | -           | unset -
        execute_tool get_weather | act genai     | weather-agent | session-1 - | -                 | 0 0 0    | get_weather | unset -
        chat gpt-4o              | think genai   | weather-agent | session-1 - | gpt-4o-2024-08-06 | 80 12 16 | -           | unset -
        invoke_agent forecaster  | session genai | weather-agent | session-1 - | -                 | 0 0 0    | -           | unset -
        chat broken              | think genai   | weather-agent | session-1 - | broken            | 0 0 0    | -           | error pydantic_ai.exceptions.ModelServerError
        invoke_agent forecaster  | session genai | weather-agent | session-1 - | -                 | 0 0 0    | -           | error pydantic_ai.exceptions.ModelServerError
        chat gpt-4o              | think genai   | weather-agent | session-1 - | gpt-4o-2024-08-06 | 60 12 16 | -           | unset -
        execute_tool break_down  | act genai     | weather-agent | session-1 - | -                 | 0 0 0    | break_down  | error RuntimeError
        invoke_agent forecaster  | session genai | weather-agent | session-1 - | -                 | 0 0 0    | -           | error RuntimeError
        ",
    );
}

/// What `read` makes of the first span of this name.
fn first<T>(package: &str, name: &str, read: impl Fn(&CleanSpan<'_>) -> T) -> T {
    let mut found = None;
    each(package, |span| {
        if span.name == name && found.is_none() {
            found = Some(read(span));
        }
    });
    found.unwrap()
}

#[test]
fn questions_and_answers_are_readable_in_every_package_that_sends_them() {
    const QUESTION: &str = "What is the weather in Paris?";
    const ANSWER: &str = "It is sunny in Paris, 21 degrees.";
    let said = |package, name| {
        first(package, name, |span| {
            (span.input.to_string(), span.output.to_string())
        })
    };
    for (package, root) in [
        ("openinference-openai", "answer"),
        ("openinference-langchain", "weather"),
    ] {
        assert_eq!(
            said(package, root),
            (QUESTION.to_owned(), ANSWER.to_owned()),
            "{package}"
        );
    }
    for (package, model_call) in [
        ("openinference-openai", "ChatCompletion"),
        ("openinference-langchain", "ChatOpenAI"),
        ("openinference-openai-agents", "generation"),
        ("traceloop-sdk", "openai.chat"),
        ("traceloop-sdk-0.33", "openai.chat"),
        ("pydantic-ai", "chat gpt-4o"),
    ] {
        let (input, output) = said(package, model_call);
        assert!(input.ends_with(QUESTION), "{package}: {input}");
        let call = output.replace(": ", ":");
        assert_eq!(call, r#"get_weather({"city":"Paris"})"#, "{package}");
    }
    assert_eq!(said("traceloop-sdk", "weather_report.workflow").1, ANSWER);
    assert_eq!(said("pydantic-ai", "invoke_agent forecaster").1, ANSWER);
}

#[test]
fn tools_have_their_result_and_equal_arguments_hash_alike_across_packages() {
    let tool = |package, name| {
        first(package, name, |span| {
            (span.output.to_string(), span.args_hash)
        })
    };
    let (result, hash) = tool("openinference-openai", "get_weather");
    assert_eq!(result, "sunny, 21 degrees");
    assert_ne!(hash, 0);
    assert_eq!(
        tool("openinference-openai-agents", "get_weather"),
        (result.clone(), hash)
    );
    assert_eq!(
        tool("pydantic-ai", "execute_tool get_weather"),
        (result.clone(), hash)
    );
    assert_eq!(tool("openai-v2", "execute_tool get_weather").1, hash);
    assert_eq!(tool("openinference-langchain", "get_weather").0, result);
    assert_eq!(tool("traceloop-sdk", "get_weather.tool").0, result);
}

#[test]
fn a_failed_tool_has_message_and_stack_of_its_exception() {
    for (package, name, message) in [
        (
            "openinference-langchain",
            "break_down",
            "the tool broke down",
        ),
        (
            "pydantic-ai",
            "execute_tool break_down",
            "the tool broke down",
        ),
        ("traceloop-sdk", "weather_failure.workflow", "no such city"),
    ] {
        let (error, stack) = first(package, name, |span| {
            (span.error_message.to_string(), span.error_stack.to_string())
        });
        assert_eq!(error, message, "{package}");
        assert!(stack.starts_with("Traceback"), "{package}: {stack}");
    }
}

#[test]
fn the_cost_that_a_package_works_out_is_kept_in_nano_dollars() {
    let cost = first("pydantic-ai", "chat gpt-4o", |span| span.cost_nanousd);
    assert_eq!(cost, 250_000);
}

#[test]
fn a_session_document_comes_out_as_the_contract_says() {
    let payload = br#"{"session_id":"s","conversation_id":"c","user_id":"u","spans":[
        {"span_id":"1","name":"ponder","start_time":"2026-01-02T03:04:05Z","duration_ms":5,
         "attributes":{"step_type":"think","content":"I should search."}},
        {"span_id":"2","parent_span_id":"1","name":"look","start_time":"2026-01-02T03:04:06Z","duration_ms":5,
         "attributes":{"step_type":"act","content":"{\"q\": 1}","tool_name":"search","status":"error",
                       "error_message":"no network"}},
        {"span_id":"3","parent_span_id":"1","name":"tell","start_time":"2026-01-02T03:04:07Z","duration_ms":5,
         "attributes":{"step_type":"response","content":"Sorry.","status":"success"}}]}"#;
    let bytes = document::transcode(payload, None, &DocumentOptions::default()).unwrap();
    let settings = CleanSettings::default();
    let mut steps = Vec::new();
    let visit = |resource: &ResourceView<'_>, scope: &ScopeView<'_>, span: &SpanView<'_>| {
        let span = clean(resource, scope, span, &settings);
        assert_eq!(span.convention.as_str(), "document");
        assert_eq!(
            [&span.agent, &span.session_id, &span.user_id],
            ["document", "s", "u"]
        );
        assert_eq!(
            (span.conversation_id.as_ref(), span.trace_ref.as_ref()),
            ("c", "s/c")
        );
        assert_eq!(span.args_hash != 0, span.tool_name == "search");
        steps.push(format!(
            "{} {} | {} -> {} | {} {}",
            span.span_ref,
            span.step_type.as_str(),
            span.input,
            span.output,
            span.status.as_str(),
            span.error_message
        ));
    };
    Walker::new(WalkOptions::default())
        .walk(&bytes, true, visit)
        .unwrap();
    assert_eq!(
        steps,
        [
            "1 think |  -> I should search. | unset ",
            "2 act | {\"q\": 1} ->  | error no network",
            "3 response |  -> Sorry. | ok ",
        ]
    );
}
