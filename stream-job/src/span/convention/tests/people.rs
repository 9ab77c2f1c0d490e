//! Who acted, for whom.

use std::borrow::Cow;

use super::Sent;

#[test]
fn the_agent_is_the_service_else_the_spans_agent_else_unknown() {
    let agent = |sent: Sent| sent.clean().agent.into_owned();
    assert_eq!(agent(Sent::new("x")), "unknown");
    assert_eq!(
        agent(Sent::new("x").resource("service.name", "shop")),
        "shop"
    );
    assert_eq!(
        agent(Sent::new("x").resource("service.name", "unknown_service:python")),
        "unknown"
    );
    assert_eq!(
        agent(
            Sent::new("x")
                .resource("service.name", "unknown_service")
                .with("agent.name", "bot")
        ),
        "bot"
    );
    assert_eq!(
        agent(Sent::new("x").with("gen_ai.agent.name", "bot")),
        "bot"
    );
    assert_eq!(
        agent(
            Sent::new("x")
                .resource("service.namespace", "retail")
                .resource("service.name", "shop")
                .with("gen_ai.agent.name", "bot")
        ),
        "retail/shop"
    );
    assert_eq!(
        agent(Sent::new("x").resource("service.namespace", "retail")),
        "retail/unknown"
    );
}

#[test]
fn the_spans_own_agent_name_is_kept_beside_the_service() {
    let sent = Sent::new("planner.agent")
        .resource("service.name", "shop")
        .with("traceloop.span.kind", "agent")
        .with("traceloop.entity.name", "planner");
    let span = sent.clean();
    assert_eq!(
        (span.agent.as_ref(), span.agent_name.as_ref()),
        ("shop", "planner")
    );
    assert_eq!(span.service_name, "shop");
}

#[test]
fn session_conversation_and_user_are_read_from_every_convention() {
    let ids = |sent: &Sent| {
        let span = sent.clean();
        [span.session_id, span.conversation_id, span.user_id].map(Cow::into_owned)
    };
    assert_eq!(ids(&Sent::new("x")), ["", "", ""]);
    assert_eq!(
        ids(&Sent::new("x").with("session.id", "s").with("user.id", "u")),
        ["s", "", "u"]
    );
    assert_eq!(
        ids(&Sent::new("x").with("gen_ai.conversation.id", "c")),
        ["c", "c", ""]
    );
    let both = Sent::new("x")
        .with("gen_ai.conversation.id", "c")
        .with("session.id", "s");
    assert_eq!(ids(&both), ["s", "c", ""]);
    let traceloop = Sent::new("x")
        .with("traceloop.association.properties.session_id", "s")
        .with("traceloop.association.properties.user_id", "u");
    assert_eq!(ids(&traceloop), ["s", "", "u"]);
    let thread = Sent::new("x").with("traceloop.association.properties.thread_id", "t");
    assert_eq!(ids(&thread), ["t", "t", ""]);
    assert_eq!(ids(&Sent::new("x").with("session.id", 42)), ["42", "", ""]);
}

#[test]
fn the_resources_ids_count_only_where_the_span_has_none() {
    let sent = Sent::new("x")
        .resource("session.id", "r")
        .resource("user.id", "ru");
    assert_eq!(sent.clean().session_id, "r");
    assert_eq!(sent.clean().user_id, "ru");
    let sent = sent
        .with("gen_ai.conversation.id", "c")
        .with("user.id", "u");
    assert_eq!(sent.clean().session_id, "c");
    assert_eq!(sent.clean().user_id, "u");
}

#[test]
fn a_span_without_a_session_says_so() {
    let sent = Sent::new("x")
        .child()
        .with("openinference.span.kind", "TOOL");
    assert_eq!(sent.clean().session_id, "");
    assert_eq!(sent.clean().user_id, "");
}
