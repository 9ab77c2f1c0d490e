//! How a step went, on which model, at what cost.

use super::Sent;
use crate::span::clean::Status;

#[test]
fn success_comes_as_unset_or_ok_and_stays_so() {
    assert_eq!(Sent::new("x").clean().status, Status::Unset);
    assert_eq!(Sent::new("x").status(1, "").clean().status, Status::Ok);
    assert_eq!(Sent::new("x").status(9, "").clean().status, Status::Unset);
}

#[test]
fn an_ok_parent_of_a_failed_child_stays_ok() {
    let sent = Sent::new("invoke_agent a")
        .status(1, "")
        .with("gen_ai.operation.name", "invoke_agent");
    let span = sent.clean();
    assert_eq!((span.status, span.error_type.as_ref()), (Status::Ok, ""));
}

#[test]
fn an_exception_event_makes_an_error_even_of_an_ok() {
    for code in [0, 1, 2] {
        let sent = Sent::new("x").status(code, "").event(
            "exception",
            &[
                ("exception.type", "ValueError"),
                ("exception.message", "no city"),
                ("exception.stacktrace", "at line 1"),
                ("exception.escaped", "False"),
            ],
        );
        let span = sent.clean();
        assert_eq!(span.status, Status::Error, "status code {code}");
        assert_eq!(span.error_type, "ValueError");
        assert_eq!(span.error_message, "no city");
        assert_eq!(span.error_stack, "at line 1");
    }
}

#[test]
fn an_error_type_makes_an_error_and_outranks_the_exceptions_type() {
    let sent = Sent::new("x")
        .with("error.type", "timeout")
        .event("exception", &[("exception.type", "APITimeoutError")]);
    let span = sent.clean();
    assert_eq!(
        (span.status, span.error_type.as_ref()),
        (Status::Error, "timeout")
    );
    assert_eq!(
        Sent::new("x").with("error.type", "500").clean().status,
        Status::Error
    );
    assert_eq!(
        Sent::new("x").with("error.type", "").clean().status,
        Status::Unset
    );
}

#[test]
fn the_last_exception_tells_the_error() {
    let sent = Sent::new("x")
        .event(
            "exception",
            &[
                ("exception.type", "RateLimit"),
                ("exception.message", "1st try"),
            ],
        )
        .event(
            "exception",
            &[
                ("exception.type", "GaveUp"),
                ("exception.message", "after 3 tries"),
            ],
        )
        .event("log", &[("exception.type", "NoSuchThing")]);
    let span = sent.clean();
    assert_eq!(
        (span.error_type.as_ref(), span.error_message.as_ref()),
        ("GaveUp", "after 3 tries")
    );
}

#[test]
fn an_error_status_alone_gives_its_message() {
    let sent = Sent::new("x").status(2, "HTTP 500");
    let span = sent.clean();
    assert_eq!(span.status, Status::Error);
    assert_eq!(
        (span.error_message.as_ref(), span.status_message.as_ref()),
        ("HTTP 500", "HTTP 500")
    );
}

#[test]
fn a_status_message_is_no_error_by_itself() {
    let sent = Sent::new("x").status(1, "fine");
    let span = sent.clean();
    assert_eq!((span.status, span.error_message.as_ref()), (Status::Ok, ""));
    assert_eq!(span.status_message, "fine");
}

#[test]
fn a_failed_task_of_openllmetry_is_an_error() {
    let task = |status| {
        Sent::new("x.task")
            .with("traceloop.span.kind", "task")
            .with("gen_ai.task.status", status)
    };
    assert_eq!(task("failure").clean().status, Status::Error);
    assert_eq!(task("success").clean().status, Status::Unset);
}

#[test]
fn the_model_that_answered_outranks_the_one_asked_for() {
    let sent = Sent::new("x")
        .with("gen_ai.request.model", "gpt-4o")
        .with("gen_ai.response.model", "gpt-4o-2024-08-06");
    assert_eq!(sent.clean().model, "gpt-4o-2024-08-06");
    assert_eq!(sent.with("llm.model_name", "mine").clean().model, "mine");
    assert_eq!(
        Sent::new("x")
            .with("gen_ai.request.model", "gpt-4o")
            .clean()
            .model,
        "gpt-4o"
    );
    let sent = Sent::new("x")
        .with("agent.step.type", "think")
        .with("gen_ai.response.model", "m");
    assert_eq!(sent.clean().model, "m");
}

#[test]
fn the_provider_is_read_under_its_old_and_new_names() {
    let provider = |key| {
        Sent::new("x")
            .with(key, "azure")
            .clean()
            .provider
            .into_owned()
    };
    for key in [
        "gen_ai.provider.name",
        "gen_ai.system",
        "llm.provider",
        "llm.system",
    ] {
        assert_eq!(provider(key), "azure", "{key}");
    }
    let sent = Sent::new("x")
        .with("llm.system", "openai")
        .with("llm.provider", "azure");
    assert_eq!(sent.clean().provider, "azure");
}

#[test]
fn tokens_are_read_under_all_their_names() {
    const CASES: &[(&str, &str)] = &[
        ("llm.token_count.prompt", "llm.token_count.completion"),
        ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"),
        (
            "gen_ai.usage.prompt_tokens",
            "gen_ai.usage.completion_tokens",
        ),
    ];
    for &(input, output) in CASES {
        let sent = Sent::new("x").with(input, 12).with(output, 3.0);
        let span = sent.clean();
        assert_eq!((span.input_tokens, span.output_tokens), (12, 3), "{input}");
    }
    for key in [
        "llm.token_count.prompt_details.cache_read",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
    ] {
        assert_eq!(
            Sent::new("x").with(key, 8).clean().cache_read_tokens,
            8,
            "{key}"
        );
    }
}

#[test]
fn a_total_gives_the_part_that_is_missing_and_never_a_part_that_is_there() {
    let tokens = |sent: Sent| {
        let span = sent.clean();
        (span.input_tokens, span.output_tokens)
    };
    let total = || Sent::new("x").with("llm.usage.total_tokens", 15);
    assert_eq!(tokens(total()), (15, 0));
    assert_eq!(
        tokens(total().with("gen_ai.usage.input_tokens", 12)),
        (12, 3)
    );
    assert_eq!(
        tokens(total().with("gen_ai.usage.output_tokens", 3)),
        (12, 3)
    );
    assert_eq!(
        tokens(total().with("gen_ai.usage.output_tokens", 30)),
        (0, 30)
    );
    assert_eq!(
        tokens(
            total()
                .with("gen_ai.usage.input_tokens", 1)
                .with("gen_ai.usage.output_tokens", 2)
        ),
        (1, 2)
    );
}

#[test]
fn the_cost_is_read_in_the_order_of_precedence() {
    let sent = Sent::new("x").with("gen_ai.usage.cost", 0.3);
    assert_eq!(sent.clean().cost_nanousd, 300_000_000);
    let sent = sent
        .with("llm.cost.prompt", 0.15)
        .with("llm.cost.completion", 0.05);
    assert_eq!(sent.clean().cost_nanousd, 200_000_000);
    let sent = sent.with("llm.cost.total", 0.2001);
    assert_eq!(sent.clean().cost_nanousd, 200_100_000);
    let sent = sent.with("agent.cost_usd", 0.1);
    assert_eq!(sent.clean().cost_nanousd, 100_000_000);
}
