//! Just enough of ClickHouse's lexical grammar to know where an INSERT's data begins and in which format it, or a
//! result, is. Everything else about a statement is the engine's business.

/// What the gateway has to know of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// An INSERT with data: `text[..head]` is the SQL without its format, `text[data..]` is the data. `settings` tells
    /// whether the SQL has a SETTINGS clause of its own.
    Insert {
        head: usize,
        format: Option<String>,
        data: usize,
        settings: bool,
    },
    /// Anything else.
    Other { kind: Kind, format: Option<String> },
    /// More than one statement.
    Several,
}

/// How a statement that isn't an INSERT with data is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A SELECT: its result can be streamed.
    Select,
    /// Another statement that only reads: SHOW, DESCRIBE, EXPLAIN, EXISTS.
    Read,
    /// Changes the session: SET, USE, temporary tables.
    Session,
    /// Changes data, tables or the engine.
    Write,
}

/// Reads a statement. Bytes after an INSERT's format are data, and are not looked at.
pub(crate) fn parse(text: &[u8]) -> Statement {
    let mut lexer = Lexer { text, at: 0 };
    let mut first = lexer.next();
    while first.kind == Token::Open {
        first = lexer.next();
    }
    if lexer.is_word(&first, "INSERT") {
        return insert(lexer);
    }
    let kind = kind_of(&mut Lexer { text, at: lexer.at }, lexer.word(&first));
    rest(Lexer { text, at: 0 }, kind)
}

fn kind_of(lexer: &mut Lexer<'_>, word: &[u8]) -> Kind {
    let among = |list: &[&str]| {
        list.iter()
            .any(|entry| entry.as_bytes().eq_ignore_ascii_case(word))
    };
    if among(&["SELECT", "WITH", "FROM"]) {
        Kind::Select
    } else if among(&["SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK"]) {
        Kind::Read
    } else if among(&["SET", "USE"]) {
        Kind::Session
    } else if among(&["CREATE", "DROP", "REPLACE"]) {
        let token = lexer.next();
        let temporary = lexer.is_word(&token, "TEMPORARY");
        if temporary {
            Kind::Session
        } else {
            Kind::Write
        }
    } else {
        Kind::Write
    }
}

/// Looks for the last `FORMAT name`, and for a second statement.
fn rest(mut lexer: Lexer<'_>, kind: Kind) -> Statement {
    let mut format = None;
    let mut depth = 0_usize;
    let mut ended = false;
    loop {
        let token = lexer.next();
        match token.kind {
            Token::End => return Statement::Other { kind, format },
            _ if ended && token.kind != Token::Semicolon => return Statement::Several,
            Token::Semicolon if depth == 0 => ended = true,
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            Token::Word if depth == 0 && lexer.is_word(&token, "FORMAT") => {
                let before = lexer.at;
                let name = lexer.next();
                if name.kind == Token::Word {
                    format = Some(lexer.text_of(&name));
                } else {
                    lexer.at = before;
                }
            }
            _ => {}
        }
    }
}

/// After the word INSERT.
fn insert(mut lexer: Lexer<'_>) -> Statement {
    let write = Statement::Other {
        kind: Kind::Write,
        format: None,
    };
    let mut token = lexer.next();
    for word in ["INTO", "TABLE", "FUNCTION"] {
        if lexer.is_word(&token, word) {
            token = lexer.next();
        }
    }
    // The table's name may be a word such as `format`.
    let mut head = token.end;
    loop {
        let before = lexer.at;
        if lexer.next().kind != Token::Dot {
            lexer.at = before;
            break;
        }
        head = lexer.next().end;
    }
    let mut depth = 0_usize;
    let mut settings = false;
    loop {
        let token = lexer.next();
        let is = |word| lexer.is_word(&token, word);
        match token.kind {
            Token::End => {
                return Statement::Insert {
                    head,
                    format: None,
                    data: lexer.text.len(),
                    settings,
                };
            }
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            // `INSERT INTO t (SELECT …)` or `INSERT INTO t SELECT …` or `… FROM INFILE …`.
            Token::Word
                if is("SELECT") || depth == 0 && (is("WITH") || is("FROM") || is("WATCH")) =>
            {
                return write;
            }
            Token::Word if depth == 0 && is("VALUES") => {
                return Statement::Insert {
                    head,
                    format: Some("Values".to_owned()),
                    data: token.end,
                    settings,
                };
            }
            Token::Word if depth == 0 && is("FORMAT") => {
                let name = lexer.next();
                let format = (name.kind == Token::Word).then(|| lexer.text_of(&name));
                return Statement::Insert {
                    head,
                    format,
                    data: data_start(lexer.text, name.end),
                    settings,
                };
            }
            Token::Word if depth == 0 && is("SETTINGS") => settings = true,
            // A statement may end with `;` after a complete INSERT without data.
            Token::Semicolon if depth == 0 => {
                return Statement::Insert {
                    head,
                    format: None,
                    data: token.end,
                    settings,
                };
            }
            _ => {}
        }
        head = token.end;
    }
}

/// Data begin after the format's name, blanks and one line break.
fn data_start(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | 0x0c)) {
        at += 1;
    }
    if text.get(at) == Some(&b'\r') {
        at += 1;
    }
    if text.get(at) == Some(&b'\n') {
        at += 1;
    }
    at
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Word,
    Quoted,
    Open,
    Close,
    Dot,
    Semicolon,
    Other,
    End,
}

struct Lexeme {
    kind: Token,
    start: usize,
    end: usize,
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

impl Lexer<'_> {
    fn word(&self, lexeme: &Lexeme) -> &[u8] {
        if lexeme.kind == Token::Word {
            &self.text[lexeme.start..lexeme.end]
        } else {
            &[]
        }
    }

    fn is_word(&self, lexeme: &Lexeme, word: &str) -> bool {
        self.word(lexeme).eq_ignore_ascii_case(word.as_bytes())
    }

    fn text_of(&self, lexeme: &Lexeme) -> String {
        String::from_utf8_lossy(&self.text[lexeme.start..lexeme.end]).into_owned()
    }

    fn next(&mut self) -> Lexeme {
        self.skip_blanks();
        let start = self.at;
        let Some(&byte) = self.text.get(start) else {
            return Lexeme {
                kind: Token::End,
                start,
                end: start,
            };
        };
        let kind = match byte {
            b'(' | b'[' | b'{' => self.single(Token::Open),
            b')' | b']' | b'}' => self.single(Token::Close),
            b';' => self.single(Token::Semicolon),
            b'.' => self.single(Token::Dot),
            b'\'' | b'"' | b'`' => self.quoted(byte),
            b'$' => self.heredoc(),
            byte if is_word_byte(byte) => {
                while self
                    .text
                    .get(self.at)
                    .is_some_and(|&byte| is_word_byte(byte) || byte == b'$')
                {
                    self.at += 1;
                }
                if byte.is_ascii_digit() {
                    Token::Other
                } else {
                    Token::Word
                }
            }
            _ => self.single(Token::Other),
        };
        Lexeme {
            kind,
            start,
            end: self.at,
        }
    }

    fn single(&mut self, kind: Token) -> Token {
        self.at += 1;
        kind
    }

    /// A backslash hides the next byte, and a doubled quote is two quoted texts in a row, which is as good here.
    fn quoted(&mut self, quote: u8) -> Token {
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == quote {
                break;
            }
        }
        self.at = self.at.min(self.text.len());
        Token::Quoted
    }

    /// `$tag$ … $tag$`.
    fn heredoc(&mut self) -> Token {
        let rest = &self.text[self.at..];
        let tag_end = rest
            .iter()
            .skip(1)
            .position(|&byte| !is_word_byte(byte))
            .map(|length| length + 1);
        let Some(end) = tag_end.filter(|&end| rest[end] == b'$') else {
            return self.single(Token::Other);
        };
        let tag = &rest[..=end];
        let body = &rest[end + 1..];
        let close = body.windows(tag.len()).position(|window| window == tag);
        self.at += close.map_or(rest.len(), |at| end + 1 + at + tag.len());
        Token::Quoted
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            if rest
                .first()
                .is_some_and(|byte| byte.is_ascii_whitespace() || *byte == 0x0b)
            {
                self.at += 1;
            } else if rest.starts_with(b"--") || rest.starts_with(b"# ") || rest.starts_with(b"#!")
            {
                self.at += rest
                    .iter()
                    .position(|&byte| byte == b'\n')
                    .unwrap_or(rest.len());
            } else if rest.starts_with(b"/*") {
                let close = rest.windows(2).skip(2).position(|pair| pair == b"*/");
                self.at += close.map_or(rest.len(), |at| at + 4);
            } else {
                return;
            }
        }
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (&str, Option<String>, &str) {
        match parse(text.as_bytes()) {
            Statement::Insert {
                head, format, data, ..
            } => (&text[..head], format, &text[data..]),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn other(text: &str) -> (Kind, Option<String>) {
        match parse(text.as_bytes()) {
            Statement::Other { kind, format } => (kind, format),
            insert => panic!("{text}: {insert:?}"),
        }
    }

    #[test]
    fn data_begin_after_the_format_and_one_line_break() {
        let csv = Some("CSV".to_owned());
        assert_eq!(
            split("INSERT INTO t FORMAT CSV\n1,2\n"),
            ("INSERT INTO t", csv.clone(), "1,2\n")
        );
        assert_eq!(
            split("insert into db.t (a, b) format CSV \r\n\n1"),
            ("insert into db.t (a, b)", csv.clone(), "\n1")
        );
        assert_eq!(
            split("INSERT INTO t SETTINGS a = 'FORMAT x', b=1 FORMAT CSV"),
            ("INSERT INTO t SETTINGS a = 'FORMAT x', b=1", csv, "")
        );
    }

    #[test]
    fn a_settings_clause_is_seen() {
        let has = |text: &str| {
            matches!(
                parse(text.as_bytes()),
                Statement::Insert { settings: true, .. }
            )
        };
        assert!(has("INSERT INTO t (a) SETTINGS a = 1 FORMAT CSV\n"));
        assert!(!has("INSERT INTO settings (settings) FORMAT CSV\nSETTINGS"));
        assert!(!has("INSERT INTO settings FORMAT CSV"));
    }

    #[test]
    fn values_are_data_too() {
        assert_eq!(
            split("INSERT INTO t VALUES (1, 'x')"),
            ("INSERT INTO t", Some("Values".to_owned()), " (1, 'x')")
        );
        assert_eq!(split("INSERT INTO t (a)"), ("INSERT INTO t (a)", None, ""));
    }

    #[test]
    fn comments_and_quotes_hide_keywords() {
        let text =
            "/* FORMAT a */ INSERT INTO `FORMAT`.\"VALUES\" -- VALUES\n (`format`) FORMAT TSV\nx";
        assert_eq!(split(text).2, "x");
        assert_eq!(
            split("INSERT INTO format (a) FORMAT TSV\nx").0,
            "INSERT INTO format (a)"
        );
        assert_eq!(
            other("SELECT 'it''s FORMAT x', $a$ FORMAT y $a$ -- FORMAT z"),
            (Kind::Select, None)
        );
        assert_eq!(other("SELECT 'a\\' FORMAT b'"), (Kind::Select, None));
    }

    #[test]
    fn an_insert_from_a_select_has_no_data() {
        for text in [
            "INSERT INTO t SELECT 1",
            "INSERT INTO t (SELECT 1)",
            "INSERT INTO t WITH x AS (SELECT 1) SELECT 2",
        ] {
            assert_eq!(other(text).0, Kind::Write, "{text}");
        }
        assert_eq!(
            other("INSERT INTO t FROM INFILE 'x' FORMAT CSV").0,
            Kind::Write
        );
    }

    #[test]
    fn the_format_of_a_result_is_the_last_one_outside_brackets() {
        assert_eq!(
            other("SELECT 1 FORMAT JSON SETTINGS max_threads = 1;"),
            (Kind::Select, Some("JSON".to_owned()))
        );
        assert_eq!(other("SELECT (SELECT 1 FORMAT CSV)"), (Kind::Select, None));
        assert_eq!(
            other("(SELECT 1) FORMAT TSV"),
            (Kind::Select, Some("TSV".to_owned()))
        );
        assert_eq!(other("SHOW TABLES"), (Kind::Read, None));
        assert_eq!(other("CREATE TEMPORARY TABLE t (a Int8)").0, Kind::Session);
        assert_eq!(other("ALTER TABLE t DELETE WHERE 1").0, Kind::Write);
    }

    #[test]
    fn several_statements_are_seen() {
        assert_eq!(parse(b"SELECT 1; SELECT 2"), Statement::Several);
        assert_eq!(other("SELECT 1; -- the end\n").0, Kind::Select);
        assert_eq!(other("SELECT ';'").0, Kind::Select);
    }

    #[test]
    fn unfinished_texts_do_not_panic() {
        for text in [
            "",
            "'",
            "'\\",
            "$a$",
            "$",
            "INSERT",
            "INSERT INTO",
            "INSERT INTO t FORMAT",
            "/*",
            "(",
            "SELECT FORMAT",
        ] {
            parse(text.as_bytes());
        }
    }
}
