//! Messages to and from a model as text that a person reads: one `role: text` a line, the role left out where it says
//! nothing. Media are named, not shown; a tool call reads `get_weather({"city":"Paris"})`.

use std::borrow::Cow;

use super::json::Json;
use crate::span::view::Attr;

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the model; a single message of the user's needs no role.
    Input,
    /// From the model; nothing needs a role.
    Output,
}

/// A text under construction.
pub(crate) struct Transcript {
    text: String,
    direction: Direction,
    /// Start of the first message's text, where its role would have to go if a second one came.
    first_role: Option<String>,
    messages: usize,
}

impl Transcript {
    /// An empty one; `capacity` is how many bytes it will about have.
    pub(crate) fn new(direction: Direction, capacity: usize) -> Self {
        Transcript {
            text: String::with_capacity(capacity),
            direction,
            first_role: None,
            messages: 0,
        }
    }

    /// Adds a message, given by its role and what appends its text. A message without text is left out.
    pub(crate) fn add(&mut self, role: &str, append: impl FnOnce(&mut String)) {
        let start = self.text.len();
        if self.messages > 0 {
            self.text.push('\n');
            self.push_role(role);
        }
        let body = self.text.len();
        append(&mut self.text);
        if self.text.len() == body {
            self.text.truncate(start);
            return;
        }
        if self.messages == 0 {
            self.first_role = Some(role.to_owned());
        }
        self.messages += 1;
    }

    fn push_role(&mut self, role: &str) {
        if self.direction == Direction::Input && !role.is_empty() {
            self.text.push_str(role);
            self.text.push_str(": ");
        }
    }

    /// The text; `None` where no message had any.
    pub(crate) fn finish(mut self) -> Option<String> {
        let role = self.first_role.take()?;
        let alone = self.messages == 1 && matches!(role.as_str(), "user" | "");
        if self.direction == Direction::Input && !alone && !role.is_empty() {
            self.text.insert_str(0, &format!("{role}: "));
        }
        Some(self.text)
    }
}

/// Reads messages out of JSON: OTel's `[{"role", "parts": […]}]`, OpenAI's `[{"role", "content"}]` and its relatives, a
/// single such message, or an object with `messages`. `None` where the text is no such thing.
pub(crate) fn from_json(text: &str, direction: Direction) -> Option<String> {
    let json = Json::parse_container(text)?;
    // About half of a message's JSON is text.
    let mut transcript = Transcript::new(direction, text.len() / 2);
    add_json(&mut transcript, &json);
    transcript.finish()
}

/// Reads a conversation out of a value that may be anything: every message has to show that it is one, by a role or as
/// LangChain's `{"type": "ai", "data": {…}}`. Of an output the last message is read, as a run's output is often its
/// whole conversation.
pub(crate) fn conversation(text: &str, direction: Direction) -> Option<String> {
    // Most values are something else; their parse is saved by a look at what they start with.
    let start = text.trim_start();
    let start = start.get(..start.floor_char_boundary(16)).unwrap_or(start);
    if !["\"messages\"", "\"role\"", "\"type\""]
        .iter()
        .any(|name| start.contains(name))
    {
        return None;
    }
    let json = Json::parse_container(text)?;
    let messages = match json.member("messages").unwrap_or(&json) {
        Json::Array(messages) => messages.as_slice(),
        message => std::slice::from_ref(message),
    };
    let is_message =
        |message: &Json<'_>| langchain(message).is_some() || message.member("role").is_some();
    if messages.is_empty() || !messages.iter().all(is_message) {
        return None;
    }
    let read = match direction {
        Direction::Input => messages,
        Direction::Output => &messages[messages.len() - 1..],
    };
    let mut transcript = Transcript::new(direction, 0);
    read.iter()
        .for_each(|message| add_json(&mut transcript, message));
    transcript.finish()
}

/// The role and the body of one of LangChain's serialised messages.
fn langchain<'m, 'a>(message: &'m Json<'a>) -> Option<(&'m str, &'m Json<'a>)> {
    let role = match message.member("type")?.as_text()? {
        "human" => "user",
        "ai" => "assistant",
        role @ ("system" | "tool") => role,
        _ => return None,
    };
    let data = message.member("data")?;
    data.member("content").is_some().then_some((role, data))
}

/// Adds what [`from_json`] reads.
pub(crate) fn add_json(transcript: &mut Transcript, json: &Json<'_>) {
    match json {
        Json::Array(messages) => messages
            .iter()
            .for_each(|message| add_json(transcript, message)),
        Json::Object(_) => {
            if let Some(messages @ Json::Array(_)) = json.member("messages") {
                add_json(transcript, messages);
            } else if let Some((role, data)) = langchain(json) {
                transcript.add(role, |out| push_message(out, data));
            } else if let Some(message @ Json::Object(_)) = json.member("message") {
                add_json(transcript, message);
            } else {
                let role = json
                    .member("role")
                    .and_then(Json::as_text)
                    .unwrap_or_default();
                transcript.add(role, |out| push_message(out, json));
            }
        }
        Json::Text(text) => transcript.add("", |out| out.push_str(text)),
        _ => {}
    }
}

pub(crate) fn push_message(out: &mut String, message: &Json<'_>) {
    for name in ["content", "parts", "text"] {
        if let Some(content) = message.member(name) {
            push_content(out, content);
        }
    }
    for call in message.member("tool_calls").map_or(&[][..], Json::elements) {
        push_part(out, call);
    }
}

/// Appends a message's content: a text, a part, or a list of either.
fn push_content(out: &mut String, content: &Json<'_>) {
    match content {
        Json::Text(text) => push_piece(out, text),
        Json::Array(parts) => parts.iter().for_each(|part| push_content(out, part)),
        Json::Object(_) => push_part(out, content),
        _ => {}
    }
}

/// Appends a part by its type: text, reasoning, a tool call, a tool's answer, or the name of a medium.
fn push_part(out: &mut String, part: &Json<'_>) {
    let kind = part
        .member("type")
        .and_then(Json::as_text)
        .unwrap_or_default();
    let function = part.member("function").unwrap_or(part);
    if let Some(name) = function.member("name").and_then(Json::as_text) {
        let arguments = ["arguments", "input", "args"]
            .iter()
            .find_map(|name| function.member(name));
        if arguments.is_some() || matches!(kind, "tool_call" | "function" | "tool_use") {
            return push_call(out, name, arguments);
        }
    }
    for name in [
        "content",
        "text",
        "response",
        "result",
        "output",
        "thinking",
        "reasoning",
    ] {
        match part.member(name) {
            None | Some(Json::Null) => {}
            Some(Json::Text(text)) => return push_piece(out, text),
            Some(nested @ Json::Array(_)) => return push_content(out, nested),
            Some(other) => {
                separate(out);
                return other.write(out);
            }
        }
    }
    if !kind.is_empty() {
        separate(out);
        out.push('[');
        out.push_str(kind);
        out.push(']');
    }
}

fn push_call(out: &mut String, name: &str, arguments: Option<&Json<'_>>) {
    separate(out);
    out.push_str(name);
    out.push('(');
    match arguments {
        Some(Json::Text(text)) => out.push_str(text),
        Some(arguments) => arguments.write(out),
        None => {}
    }
    out.push(')');
}

fn push_piece(out: &mut String, text: &str) {
    if !text.is_empty() {
        separate(out);
        out.push_str(text);
    }
}

/// Pieces of one message stand on lines of their own. The text that a role or a line's start left open is gone on with.
fn separate(out: &mut String) {
    if !(out.is_empty() || out.ends_with('\n') || out.ends_with(": ")) {
        out.push('\n');
    }
}

/// One numbered attribute, as `llm.input_messages.3.message.tool_calls.0.tool_call.function.name` has it: sorting by
/// (message, place, item) gives the reading order whatever order they were sent in.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Numbered<'a> {
    message: u32,
    place: Place,
    item: u32,
    field: Field,
    text: Cow<'a, str>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Role,
    Content,
    Parts,
    Calls,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Text,
    Name,
    Arguments,
}

/// Reads messages that are spread over numbered attributes under a prefix, as OpenInference and older OpenLLMetry do.
pub(crate) fn from_numbered<'a>(
    attributes: &'a [Attr<'a>],
    prefix: &str,
    direction: Direction,
) -> Option<String> {
    let mut found: Vec<Numbered<'a>> = attributes
        .iter()
        .filter_map(|attribute| numbered(attribute, prefix))
        .collect();
    found.sort();
    let length = found.iter().map(|n| n.text.len() + 16).sum();
    let mut transcript = Transcript::new(direction, length);
    for message in found.chunk_by(|a, b| a.message == b.message) {
        let role = match &message[0] {
            first if first.place == Place::Role => first.text.as_ref(),
            _ => "",
        };
        transcript.add(role, |out| push_numbered(out, message));
    }
    transcript.finish()
}

fn numbered<'a>(attribute: &'a Attr<'a>, prefix: &str) -> Option<Numbered<'a>> {
    let (message, rest) = attribute.key.strip_prefix(prefix)?.split_once('.')?;
    let rest = rest.strip_prefix("message.").unwrap_or(rest);
    let (place, item, field) = match rest {
        "role" => (Place::Role, 0, Field::Text),
        "content" => (Place::Content, 0, Field::Text),
        _ => {
            let (list, rest) = rest.split_once('.')?;
            let (item, rest) = rest.split_once('.')?;
            let (place, field) = match (list, rest.rsplit('.').next()?) {
                ("contents", "text") => (Place::Parts, Field::Text),
                ("contents", "type") => (Place::Parts, Field::Name),
                ("tool_calls", "name") => (Place::Calls, Field::Name),
                ("tool_calls", "arguments") => (Place::Calls, Field::Arguments),
                _ => return None,
            };
            (place, item.parse().ok()?, field)
        }
    };
    Some(Numbered {
        message: message.parse().ok()?,
        place,
        item,
        field,
        text: attribute.value.text(),
    })
}

fn push_numbered(out: &mut String, message: &[Numbered<'_>]) {
    for item in message.chunk_by(|a, b| (a.place, a.item) == (b.place, b.item)) {
        let field = |wanted| {
            item.iter()
                .find(|n| n.field == wanted)
                .map(|n| n.text.as_ref())
        };
        match item[0].place {
            Place::Role => {}
            Place::Content => push_sent(out, field(Field::Text).unwrap_or_default()),
            Place::Parts => match (field(Field::Text), field(Field::Name)) {
                (Some(text), _) => push_piece(out, text),
                (None, Some(kind)) => push_piece(out, &format!("[{kind}]")),
                (None, None) => {}
            },
            Place::Calls => {
                separate(out);
                out.push_str(field(Field::Name).unwrap_or_default());
                out.push('(');
                out.push_str(field(Field::Arguments).unwrap_or_default());
                out.push(')');
            }
        }
    }
}

/// A content that was itself sent as a JSON list of parts is read as such; `[1, 2]` and the like stay as they are.
fn push_sent(out: &mut String, text: &str) {
    if text.starts_with("[{")
        && let Some(parts @ Json::Array(_)) = Json::parse_container(text)
    {
        let before = out.len();
        push_content(out, &parts);
        if out.len() > before {
            return;
        }
    }
    push_piece(out, text);
}
