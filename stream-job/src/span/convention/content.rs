//! What went into a step and what came out of it, as text that a person reads.

use std::borrow::Cow;

use super::arguments;
use super::facts::Facts;
use super::json::Json;
use super::keys::Key;
use super::message::{self, Direction, Transcript};
use crate::span::clean::StepType;
use crate::span::view::{EventView, Value};

type Text<'a> = Option<Cow<'a, str>>;

/// What a step's content is read from.
pub(crate) struct Source<'a, 'f> {
    pub(crate) facts: &'f Facts<'a>,
    pub(crate) events: &'a [EventView<'a>],
    pub(crate) step_type: StepType,
}

impl<'a> Source<'a, '_> {
    /// The input; of a tool call, its arguments.
    pub(crate) fn input(&self) -> Cow<'a, str> {
        let act = self.step_type == StepType::Act;
        self.own_content(act)
            .or_else(|| {
                if act {
                    arguments::read(self.facts)
                } else {
                    None
                }
            })
            .or_else(|| self.facts.text(Key::AgentInput))
            .or_else(|| self.open_inference(Key::OiInput, "llm.input_messages.", Direction::Input))
            .or_else(|| self.gen_ai(Direction::Input))
            .or_else(|| self.facts.text(Key::GenAiRetrievalQuery))
            .or_else(|| {
                self.facts
                    .first_text(&[Key::TlEntityInput, Key::TlTaskInput])
            })
            .or_else(|| self.numbered("gen_ai.prompt.", Direction::Input))
            .or_else(|| self.messages(Key::PydanticMessages, Direction::Input))
            .unwrap_or_default()
    }

    /// The output; of a tool call, its result.
    pub(crate) fn output(&self) -> Cow<'a, str> {
        const OWN: [Key; 2] = [Key::AgentToolResult, Key::AgentOutput];
        const TASK: [Key; 2] = [Key::TlEntityOutput, Key::TlTaskOutput];
        const PYDANTIC: [Key; 2] = [Key::PydanticResult, Key::PydanticToolResponse];
        let act = self.step_type == StepType::Act;
        self.own_content(!act)
            .or_else(|| self.facts.first_text(&OWN))
            .or_else(|| {
                self.open_inference(Key::OiOutput, "llm.output_messages.", Direction::Output)
            })
            .or_else(|| self.facts.text(Key::GenAiToolResult))
            .or_else(|| self.gen_ai(Direction::Output))
            .or_else(|| self.facts.text(Key::GenAiRetrievalDocuments))
            .or_else(|| self.facts.first_text(&TASK).map(unquoted))
            .or_else(|| self.numbered("gen_ai.completion.", Direction::Output))
            .or_else(|| self.facts.first_text(&PYDANTIC))
            .unwrap_or_default()
    }

    /// `agent.content`: the input of an act, the output of any other step.
    fn own_content(&self, wanted: bool) -> Text<'a> {
        self.facts.text(Key::AgentContent).filter(|_| wanted)
    }

    /// OpenInference's value; where that is JSON, the messages that stand beside it or in it, if there are any.
    fn open_inference(&self, key: Key, prefix: &str, direction: Direction) -> Text<'a> {
        let value = self.facts.text(key);
        let Some(text) = value.as_deref() else {
            return self.numbered(prefix, direction);
        };
        if !text.trim_start().starts_with(['{', '[']) {
            return value;
        }
        self.numbered(prefix, direction)
            .or_else(|| message::conversation(text, direction).map(Cow::Owned))
            .or(value)
    }

    fn numbered(&self, prefix: &str, direction: Direction) -> Text<'a> {
        if !self.facts.numbered {
            return None;
        }
        message::from_numbered(self.facts.attributes, prefix, direction).map(Cow::Owned)
    }

    /// An attribute that holds messages; as sent where it can't be read as such.
    fn messages(&self, key: Key, direction: Direction) -> Text<'a> {
        let text = self.facts.text(key)?;
        Some(readable(text, direction))
    }

    /// OTel's messages: in attributes, else in events, of the present and of older conventions.
    fn gen_ai(&self, direction: Direction) -> Text<'a> {
        let (now, old) = match direction {
            Direction::Input => (Key::GenAiInput, Key::GenAiOldPrompt),
            Direction::Output => (Key::GenAiOutput, Key::GenAiOldCompletion),
        };
        self.messages(now, direction)
            .or_else(|| self.messages(old, direction))
            .or_else(|| from_events(self.events, direction))
    }
}

fn readable(text: Cow<'_, str>, direction: Direction) -> Cow<'_, str> {
    match message::from_json(&text, direction) {
        Some(read) => Cow::Owned(read),
        None => text,
    }
}

/// A JSON string is given without its quotes and escapes.
fn unquoted(text: Cow<'_, str>) -> Cow<'_, str> {
    match text.starts_with('"').then(|| Json::parse(&text)).flatten() {
        Some(Json::Text(inner)) => Cow::Owned(inner.into_owned()),
        _ => text,
    }
}

/// The role that an event's name stands for, and which way the message goes.
fn event_role(name: &str) -> Option<(&'static str, Direction)> {
    Some(match name {
        "gen_ai.content.prompt" => ("", Direction::Input),
        "gen_ai.system.message" => ("system", Direction::Input),
        "gen_ai.user.message" => ("user", Direction::Input),
        "gen_ai.assistant.message" => ("assistant", Direction::Input),
        "gen_ai.tool.message" => ("tool", Direction::Input),
        "gen_ai.content.completion" | "gen_ai.choice" => ("", Direction::Output),
        _ => return None,
    })
}

/// Attributes of an event that may hold what was said, the plainest first.
const EVENT_CONTENT: [&str; 7] = [
    "gen_ai.event.content",
    "gen_ai.prompt",
    "gen_ai.completion",
    "content",
    "message",
    "tool_calls",
    "body",
];

/// Messages that were sent as events of the span.
fn from_events<'a>(events: &'a [EventView<'a>], direction: Direction) -> Text<'a> {
    let mut transcript = Transcript::new(direction, 0);
    for event in events {
        if event.name == "gen_ai.client.inference.operation.details"
            && let Some(text) = details(event, direction)
        {
            return Some(readable(text, direction));
        }
        let Some((role, way)) = event_role(&event.name) else {
            continue;
        };
        let content = EVENT_CONTENT
            .iter()
            .find_map(|name| event_text(event, name));
        if let (true, Some(content)) = (way == direction, content) {
            match Json::parse_container(&content) {
                // A message with a role of its own, or a list of such.
                Some(json) if json.member("role").is_some() || role.is_empty() => {
                    message::add_json(&mut transcript, &json);
                }
                Some(json @ Json::Object(_)) => {
                    transcript.add(role, |out| message::push_message(out, &json));
                }
                _ => transcript.add(role, |out| out.push_str(&content)),
            }
        }
    }
    transcript.finish().map(Cow::Owned)
}

fn details<'a>(event: &'a EventView<'a>, direction: Direction) -> Text<'a> {
    event_text(
        event,
        match direction {
            Direction::Input => "gen_ai.input.messages",
            Direction::Output => "gen_ai.output.messages",
        },
    )
}

fn event_text<'a>(event: &'a EventView<'a>, name: &str) -> Text<'a> {
    event
        .attributes
        .iter()
        .find(|attribute| attribute.key == name && !matches!(attribute.value, Value::Empty))
        .map(|attribute| attribute.value.text())
        .filter(|text| !text.is_empty())
}
