//! A pull reader of JSON (RFC 8259) that knows where it is: every error has the value's path and byte position.
//!
//! It reads the payload in place and builds no tree: a value that nobody asks for costs a scan, and memory stays
//! bounded by the payload. Names within one object must be unique; of two values under one name, neither could be
//! trusted.

mod names;

use std::borrow::Cow;
use std::fmt::Write as _;

use names::Names;

/// Levels of objects and arrays that are followed. An attribute nested 64 deep, the walk's limit, takes about 200 as
/// OTLP writes it.
pub(crate) const MAX_LEVELS: usize = 256;

/// What is wrong with the JSON, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonFault {
    pub(crate) at: usize,
    pub(crate) path: String,
    pub(crate) problem: String,
}

type Result<T> = std::result::Result<T, JsonFault>;

/// The kind of the next value, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

#[derive(Clone, Debug)]
enum Step<'a> {
    Key(Cow<'a, str>),
    Index(usize),
}

/// A position in a JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    path: Vec<Step<'a>>,
}

impl<'a> Reader<'a> {
    /// A reader at the start of a payload, behind a byte order mark.
    pub(crate) fn new(payload: &'a [u8]) -> Result<Self> {
        match std::str::from_utf8(payload) {
            Ok(text) => Ok(Reader {
                text,
                at: if text.starts_with('\u{feff}') { 3 } else { 0 },
                path: Vec::new(),
            }),
            Err(error) => Err(JsonFault {
                at: error.valid_up_to(),
                path: "$".to_owned(),
                problem: "the bytes here are not UTF-8, which JSON has to be".to_owned(),
            }),
        }
    }

    /// Position in the payload.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Goes back to an earlier position, within so many [`Reader::levels`].
    pub(crate) fn back_to(&mut self, at: usize, levels: usize) {
        self.at = at;
        self.path.truncate(levels);
    }

    /// How many objects and arrays the next value is within.
    pub(crate) fn levels(&self) -> usize {
        self.path.len()
    }

    /// The path of the value that is being read, as `$.spans[3].name`.
    pub(crate) fn path(&self) -> String {
        let mut out = "$".to_owned();
        for step in &self.path {
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Key(key) => write!(out, ".{key}"),
                Step::Index(index) => write!(out, "[{index}]"),
            };
        }
        out
    }

    /// An error about the value at `at`.
    #[cold]
    pub(crate) fn fault(&self, at: usize, problem: impl Into<String>) -> JsonFault {
        JsonFault {
            at,
            path: self.path(),
            problem: problem.into(),
        }
    }

    #[cold]
    fn expected(&self, what: &str) -> JsonFault {
        let found = match self.text[self.at..].chars().next() {
            None => "the end".to_owned(),
            Some(found) => format!("{found:?}"),
        };
        self.fault(self.at, format!("expected {what}, found {found}"))
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
    }

    /// The kind of the next value.
    pub(crate) fn peek(&mut self) -> Result<Kind> {
        self.skip_blank();
        match self.byte() {
            Some(b'n') => Ok(Kind::Null),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b'"') => Ok(Kind::String),
            Some(b'[') => Ok(Kind::Array),
            Some(b'{') => Ok(Kind::Object),
            _ => Err(self.expected("a value")),
        }
    }

    /// Whether the next value is `null`, which is then behind us.
    pub(crate) fn null(&mut self) -> Result<bool> {
        if self.peek()? != Kind::Null {
            return Ok(false);
        }
        self.word("null")?;
        Ok(true)
    }

    /// A boolean.
    pub(crate) fn boolean(&mut self) -> Result<bool> {
        self.skip_blank();
        match self.byte() {
            Some(b't') => self.word("true").map(|()| true),
            Some(b'f') => self.word("false").map(|()| false),
            _ => Err(self.expected("true or false")),
        }
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.expected(word));
        }
        self.at += word.len();
        Ok(())
    }

    /// A number as it stands in the text.
    pub(crate) fn number(&mut self) -> Result<&'a str> {
        self.skip_blank();
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.expected("a number")),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.expected("a digit"));
        }
        Ok(())
    }

    /// A string; borrowed where it has no escapes. An escaped half of a surrogate pair becomes U+FFFD: such halves
    /// come from programs that cut text within an emoji.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.skip_blank();
        if self.byte() != Some(b'"') {
            return Err(self.expected("a string"));
        }
        self.at += 1;
        let mut owned: Option<String> = None;
        loop {
            let start = self.at;
            let rest = &self.text.as_bytes()[start..];
            let length = rest
                .iter()
                .position(|&b| b == b'"' || b == b'\\' || b < 0x20);
            let Some(length) = length else {
                self.at = self.text.len();
                return Err(self.expected("the quote that ends the string"));
            };
            let plain = &self.text[start..start + length];
            self.at = start + length;
            match (rest[length], owned.take()) {
                (b'"', None) => {
                    self.at += 1;
                    return Ok(Cow::Borrowed(plain));
                }
                (b'"', Some(text)) => {
                    self.at += 1;
                    return Ok(Cow::Owned(text + plain));
                }
                (b'\\', text) => {
                    let mut text = text.unwrap_or_default();
                    text.push_str(plain);
                    text.push(self.escape()?);
                    owned = Some(text);
                }
                _ => {
                    let problem = "a control character stands in the string: it has to be escaped";
                    return Err(self.fault(self.at, problem));
                }
            }
        }
    }

    /// The character of the escape sequence that starts here.
    fn escape(&mut self) -> Result<char> {
        let start = self.at;
        self.at += 2;
        Ok(match self.text.as_bytes().get(start + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex4(start)?;
                let low = self.text.as_bytes().get(self.at..self.at + 2) == Some(b"\\u");
                if (0xd800..0xdc00).contains(&first) && low {
                    let back = self.at;
                    self.at += 2;
                    let second = self.hex4(back)?;
                    if (0xdc00..0xe000).contains(&second) {
                        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = back;
                }
                char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(self.fault(start, "unknown escape sequence in a string")),
        })
    }

    /// Four hexadecimal digits of the escape sequence at `start`.
    fn hex4(&mut self, start: usize) -> Result<u32> {
        let digits = self
            .text
            .as_bytes()
            .get(self.at..self.at + 4)
            .unwrap_or_default();
        let mut code = 0;
        for &digit in digits {
            match char::from(digit).to_digit(16) {
                Some(value) => code = code << 4 | value,
                None => return Err(self.fault(start, "\\u has to be followed by 4 hex digits")),
            }
        }
        if digits.len() < 4 {
            return Err(self.fault(start, "\\u has to be followed by 4 hex digits"));
        }
        self.at += 4;
        Ok(code)
    }

    fn enter(&mut self, bracket: u8, what: &str) -> Result<()> {
        self.skip_blank();
        if self.byte() != Some(bracket) {
            return Err(self.expected(what));
        }
        if self.path.len() >= MAX_LEVELS {
            let problem = format!("nested more than {MAX_LEVELS} levels deep");
            let mut fault = self.fault(self.at, problem);
            // The whole path would be longer than most records.
            fault.path = fault.path.chars().take(100).chain("…".chars()).collect();
            return Err(fault);
        }
        self.at += 1;
        Ok(())
    }

    /// Whether the list goes on: after a comma, or at its first element.
    fn goes_on(&mut self, first: bool, end: u8, what: &str) -> Result<bool> {
        self.skip_blank();
        match self.byte() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if first => Ok(true),
            _ => Err(self.expected(what)),
        }
    }

    /// An object: `field` is called at each value, with its name, and has to read that value.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<()>,
    ) -> Result<()> {
        self.enter(b'{', "an object")?;
        let mut names = Names::default();
        let mut first = true;
        while self.goes_on(first, b'}', "a comma or the end of the object")? {
            first = false;
            self.skip_blank();
            let at = self.at;
            let name = self.string()?;
            if !names.is_new(&name) {
                return Err(
                    self.fault(at, format!("the name {name:?} stands twice in this object"))
                );
            }
            self.skip_blank();
            if self.byte() != Some(b':') {
                return Err(self.expected("a colon"));
            }
            self.at += 1;
            self.path.push(Step::Key(name.clone()));
            field(self, &name)?;
            self.path.pop();
            names.keep(name);
        }
        Ok(())
    }

    /// An array: `item` is called at each value and has to read it.
    pub(crate) fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.enter(b'[', "an array")?;
        let mut count = 0;
        while self.goes_on(count == 0, b']', "a comma or the end of the array")? {
            self.path.push(Step::Index(count));
            item(self)?;
            self.path.pop();
            count += 1;
        }
        Ok(())
    }

    /// Reads over a value of any kind.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match self.peek()? {
            Kind::Null => self.word("null"),
            Kind::Bool => self.boolean().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::String => self.string().map(drop),
            Kind::Array => self.array(Self::skip),
            Kind::Object => self.object(|r, _| r.skip()),
        }
    }

    /// The end of the text: nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.skip_blank();
        match self.byte() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end of the payload")),
        }
    }
}

#[cfg(test)]
mod tests;
