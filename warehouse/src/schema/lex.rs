//! As much of ClickHouse's lexical grammar as is needed to split a file into statements and to read a `CREATE TABLE`:
//! strings, quoted names, comments, words and punctuation, each with its place in the text.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bare word or a number.
    Word,
    /// `'…'`.
    Text,
    /// `` `…` `` or `"…"`.
    Name,
    /// A single other character.
    Sign,
}

/// A token and where it stands, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) start: usize,
}

impl Token<'_> {
    /// Whether this is the keyword `word`, in any case.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether this is the character `sign`.
    pub(crate) fn is_sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    /// Where the token ends, in bytes.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// The value of a string or the bare form of a name: quotes off, escapes undone.
    pub(crate) fn unquoted(&self) -> String {
        if !matches!(self.kind, Kind::Text | Kind::Name) {
            return self.text.to_owned();
        }
        let inner = self
            .text
            .get(1..self.text.len().saturating_sub(1))
            .unwrap_or_default();
        let quote = self.text.chars().next();
        let mut out = String::with_capacity(inner.len());
        let mut chars = inner.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '\\' {
                out.extend(chars.next());
            } else {
                if Some(c) == quote && chars.peek() == Some(&c) {
                    chars.next();
                }
                out.push(c);
            }
        }
        out
    }
}

/// The tokens of `sql`, comments and white space left out. An unclosed string or comment reaches to the end.
pub(crate) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let bytes = sql.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        let kind = match byte {
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at = find(sql, at, "\n");
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at = find(sql, at + 2, "*/");
                continue;
            }
            b'\'' | b'`' | b'"' => {
                at = end_of_quoted(bytes, at);
                if byte == b'\'' {
                    Kind::Text
                } else {
                    Kind::Name
                }
            }
            b if is_word_byte(b) => {
                while bytes.get(at).copied().is_some_and(is_word_byte) {
                    at += 1;
                }
                Kind::Word
            }
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ => {
                at += 1;
                Kind::Sign
            }
        };
        out.push(Token {
            kind,
            text: &sql[start..at],
            start,
        });
    }
    out
}

/// The statements of `sql`, split at the `;` that stand in no string, name or comment; empty ones are left out.
#[must_use]
pub fn statements(sql: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut first: Option<usize> = None;
    let mut last = 0;
    for token in tokens(sql) {
        if token.is_sign(";") {
            if let Some(start) = first.take() {
                out.push(&sql[start..last]);
            }
        } else {
            first.get_or_insert(token.start);
            last = token.end();
        }
    }
    if let Some(start) = first {
        out.push(&sql[start..last]);
    }
    out
}

/// Letters of other scripts count as part of a word, so that a cut never falls inside a character.
fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn find(sql: &str, from: usize, what: &str) -> usize {
    let from = from.min(sql.len());
    sql[from..]
        .find(what)
        .map_or(sql.len(), |i| from + i + what.len())
}

fn end_of_quoted(bytes: &[u8], open: usize) -> usize {
    let quote = bytes[open];
    let mut at = open + 1;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'\\' {
            at += 2;
        } else if byte == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 2;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_semicolon_in_a_string_name_or_comment_splits_nothing() {
        let sql =
            "SELECT ';' AS `a;b`; -- no; not here\n/* nor; here */ SELECT 'it''s;' , '\\';' ;;\n";
        assert_eq!(
            statements(sql),
            ["SELECT ';' AS `a;b`", "SELECT 'it''s;' , '\\';'"]
        );
    }

    #[test]
    fn a_last_statement_needs_no_semicolon_and_a_comment_is_no_statement() {
        assert_eq!(statements("SELECT 1"), ["SELECT 1"]);
        assert!(statements("-- nothing\n ; /* ; */").is_empty());
    }

    #[test]
    fn escapes_are_undone() {
        let unquote = |sql| tokens(sql).first().unwrap().unquoted();
        assert_eq!(unquote(r"'it\'s'"), "it's");
        assert_eq!(unquote("'it''s'"), "it's");
        assert_eq!(unquote(r#"'\\ "µs"'"#), r#"\ "µs""#);
        assert_eq!(unquote("`from`"), "from");
    }

    #[test]
    fn an_unclosed_string_reaches_to_the_end() {
        assert_eq!(statements("SELECT 'a; b"), ["SELECT 'a; b"]);
        assert_eq!(statements("SELECT 'µ\\"), ["SELECT 'µ\\"]);
    }
}
