//! Reads what a `CREATE` statement declares, and what an `ALTER TABLE` changes about it.

use super::lex::{Kind, Token, tokens};

/// What a relation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// Rows are stored in it.
    Table,
    /// A stored `SELECT`.
    View,
    /// A SQL function; its columns are none.
    Function,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name, without quotes.
    pub name: String,
    /// Type as the engine spells it, such as `DateTime64(6, 'UTC')`.
    pub data_type: String,
    /// What it holds, with the unit.
    pub comment: String,
}

/// A time to live: rows go when `expression` is `days` old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// The time that counts, such as `toDateTime(ingest_time)`.
    pub expression: String,
    /// Days; 0 keeps rows for ever.
    pub days: u32,
}

/// A table, view or function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Table, view or function.
    pub kind: RelationKind,
    /// Its name, without a database.
    pub name: String,
    /// What one row is.
    pub comment: String,
    /// Columns; empty for a view that takes those of its `SELECT`.
    pub columns: Vec<Column>,
    /// Engine with its arguments; empty unless a table.
    pub engine: String,
    /// Partition expression.
    pub partition_by: Option<String>,
    /// Sorting key, as written; empty unless a table.
    pub order_by: String,
    /// Time to live that the migration gives it.
    pub ttl: Option<Ttl>,
    /// The `SETTINGS` clause; empty unless a table.
    pub settings: String,
}

/// What `statement` creates, or `None` when it is another statement.
pub(crate) fn parse(statement: &str) -> Option<Relation> {
    let tokens = tokens(statement);
    let mut at = 0;
    let mut accept = |words: &[&str]| {
        let found = words
            .iter()
            .enumerate()
            .all(|(i, word)| tokens.get(at + i).is_some_and(|t| t.is_word(word)));
        if found {
            at += words.len();
        }
        found
    };
    if !accept(&["CREATE"]) {
        return None;
    }
    accept(&["OR", "REPLACE"]);
    let kind = if accept(&["TABLE"]) {
        RelationKind::Table
    } else if accept(&["VIEW"]) {
        RelationKind::View
    } else if accept(&["FUNCTION"]) {
        RelationKind::Function
    } else {
        return None;
    };
    accept(&["IF", "NOT", "EXISTS"]);
    let name = tokens.get(at)?.unquoted();
    let rest = tokens.get(at + 1..)?;
    let (columns, rest) = match rest.first() {
        Some(open) if open.is_sign("(") && kind != RelationKind::Function => {
            let close = closing(rest)?;
            (
                columns(statement, rest.get(1..close)?),
                rest.get(close + 1..)?,
            )
        }
        _ => (Vec::new(), rest),
    };
    let clause = |name: &str| (kind == RelationKind::Table).then(|| clause(statement, rest, name));
    Some(Relation {
        kind,
        name,
        comment: comment(statement, rest, kind),
        columns,
        engine: clause("ENGINE").flatten().unwrap_or_default(),
        partition_by: clause("PARTITION").flatten(),
        order_by: clause("ORDER").flatten().unwrap_or_default(),
        ttl: clause("TTL").flatten().and_then(|text| parse_ttl(&text)),
        settings: clause("SETTINGS").flatten().unwrap_or_default(),
    })
}

/// What an `ALTER TABLE` changes about what its table is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A column comes in behind the others.
    Add(Column),
    /// A column means something else than was said.
    Comment {
        /// The column.
        column: String,
        /// What it holds.
        comment: String,
    },
    /// Something that no reader of the table sees, such as an index.
    Unseen,
}

/// The table and the changes of an `ALTER TABLE`; `None` when it is another statement, or has a change of another kind.
pub(crate) fn parse_alter(statement: &str) -> Option<(String, Vec<Change>)> {
    let tokens = tokens(statement);
    let [alter, table, name, changes @ ..] = tokens.as_slice() else {
        return None;
    };
    if !alter.is_word("ALTER") || !table.is_word("TABLE") {
        return None;
    }
    let changes: Option<Vec<Change>> = split(changes)
        .map(|tokens| change(statement, tokens))
        .collect();
    Some((name.unquoted(), changes?))
}

fn change(statement: &str, tokens: &[Token<'_>]) -> Option<Change> {
    let begins = |words: &[&str]| {
        let mut pairs = words.iter().zip(tokens);
        tokens.len() > words.len() && pairs.all(|(word, token)| token.is_word(word))
    };
    if begins(&["ADD", "COLUMN", "IF", "NOT", "EXISTS"]) {
        return column(statement, &tokens[5..]).map(Change::Add);
    }
    if begins(&["COMMENT", "COLUMN"])
        && let [.., column, comment] = tokens
        && comment.kind == Kind::Text
    {
        return Some(Change::Comment {
            column: column.unquoted(),
            comment: comment.unquoted(),
        });
    }
    let unseen: [&[&str]; 3] = [
        &["ADD", "INDEX", "IF", "NOT", "EXISTS"],
        &["ADD", "PROJECTION", "IF", "NOT", "EXISTS"],
        &["MATERIALIZE", "INDEX"],
    ];
    let is_unseen = unseen.iter().any(|words| begins(words));
    is_unseen.then_some(Change::Unseen)
}

impl Relation {
    /// Takes in the changes of an `ALTER TABLE`.
    pub(crate) fn change(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Add(column) => self.columns.push(column),
                Change::Comment { column, comment } => {
                    for held in self.columns.iter_mut().filter(|held| held.name == column) {
                        held.comment.clone_from(&comment);
                    }
                }
                Change::Unseen => {}
            }
        }
    }
}

/// Reads `expression + toIntervalDay(n)`, the one form in which the migrations and the engine write a TTL.
pub(crate) fn parse_ttl(text: &str) -> Option<Ttl> {
    let (expression, days) = text.trim().rsplit_once(" + toIntervalDay(")?;
    Some(Ttl {
        expression: expression.to_owned(),
        days: days.strip_suffix(')')?.parse().ok()?,
    })
}

/// The TTL in what `system.tables.engine_full` says of a table, and `None` when it has none.
pub(crate) fn ttl_of_engine(engine_full: &str) -> Option<Ttl> {
    let tokens = tokens(engine_full);
    clause(engine_full, &tokens, "TTL").and_then(|text| parse_ttl(&text))
}

const CLAUSES: [&str; 7] = [
    "ENGINE",
    "PARTITION",
    "PRIMARY",
    "ORDER",
    "TTL",
    "SETTINGS",
    "COMMENT",
];

/// The text of one clause of a table, up to the next; `BY` and `=` after the keyword left out.
fn clause(statement: &str, tokens: &[Token<'_>], name: &str) -> Option<String> {
    let mut depth = 0_usize;
    let mut start: Option<usize> = None;
    let mut end = 0;
    for token in tokens {
        if depth == 0 && start.is_some() && CLAUSES.iter().any(|c| token.is_word(c)) {
            break;
        }
        depth = depth_after(depth, token);
        match start {
            None if depth == 0 && token.is_word(name) => start = Some(token.end()),
            Some(from) if end == 0 && (token.is_word("BY") || token.is_sign("=")) => {
                start = Some(from.max(token.end()));
            }
            Some(_) => end = token.end(),
            None => {}
        }
    }
    start
        .and_then(|from| statement.get(from..end))
        .map(|text| text.trim().to_owned())
}

/// A table's comment is its clause; a view's or function's stands in the comment lines before its statement's body, as
/// the grammar gives a function none. Both forms end up here as the last string or the first comment.
fn comment(statement: &str, rest: &[Token<'_>], kind: RelationKind) -> String {
    if kind == RelationKind::Function {
        return statement
            .split_once("/*")
            .and_then(|(_, tail)| tail.split_once("*/"))
            .map(|(text, _)| text.split_whitespace().collect::<Vec<_>>().join(" "))
            .unwrap_or_default();
    }
    match rest {
        [.., word, text] if word.is_word("COMMENT") && text.kind == Kind::Text => text.unquoted(),
        _ => String::new(),
    }
}

fn columns(statement: &str, tokens: &[Token<'_>]) -> Vec<Column> {
    split(tokens)
        .filter_map(|tokens| column(statement, tokens))
        .collect()
}

/// What stands between the commas that are in no parentheses.
fn split<'t, 's>(tokens: &'t [Token<'s>]) -> impl Iterator<Item = &'t [Token<'s>]> {
    let mut depth = 0_usize;
    tokens.split(move |token| {
        depth = depth_after(depth, token);
        depth == 0 && token.is_sign(",")
    })
}

/// One column; `None` for an index.
fn column(statement: &str, tokens: &[Token<'_>]) -> Option<Column> {
    let (name, rest) = tokens.split_first()?;
    if name.kind != Kind::Name {
        return None;
    }
    let is_modifier = |token: &Token<'_>| {
        ["COMMENT", "CODEC", "DEFAULT", "ALIAS", "MATERIALIZED"]
            .iter()
            .any(|word| token.is_word(word))
    };
    let end = rest.iter().position(is_modifier).unwrap_or(rest.len());
    let data_type = statement.get(rest.first()?.start..rest.get(end.checked_sub(1)?)?.end())?;
    let comment = rest
        .windows(2)
        .find(|pair| pair[0].is_word("COMMENT") && pair[1].kind == Kind::Text)
        .map(|pair| pair[1].unquoted());
    Some(Column {
        name: name.unquoted(),
        data_type: data_type.to_owned(),
        comment: comment.unwrap_or_default(),
    })
}

/// The index of the parenthesis that closes the one that `tokens` begins with.
fn closing(tokens: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0_usize;
    tokens.iter().position(|token| {
        depth = depth_after(depth, token);
        depth == 0
    })
}

fn depth_after(depth: usize, token: &Token<'_>) -> usize {
    if token.is_sign("(") {
        depth + 1
    } else if token.is_sign(")") {
        depth.saturating_sub(1)
    } else {
        depth
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_table_is_read_with_all_its_clauses() {
        let table = parse(
            "CREATE TABLE IF NOT EXISTS t (`a` Map(Int16, UInt64) COMMENT 'x, (y)' CODEC(ZSTD(1)),\n `from` String COMMENT 'it\\'s',
             INDEX i a TYPE minmax GRANULARITY 1) ENGINE = ReplacingMergeTree(rev, is_deleted) PARTITION BY toDate(a)
             ORDER BY (a, `from`) TTL toDateTime(a) + toIntervalDay(7) SETTINGS x = 1, y = 2 COMMENT 'rows'",
        )
        .unwrap();
        assert_eq!(
            (table.kind, &*table.name, &*table.comment),
            (RelationKind::Table, "t", "rows")
        );
        assert_eq!(table.columns.len(), 2);
        assert_eq!(table.columns[0].data_type, "Map(Int16, UInt64)");
        assert_eq!(table.columns[0].comment, "x, (y)");
        assert_eq!(table.columns[1].name, "from");
        assert_eq!(table.columns[1].comment, "it's");
        assert_eq!(table.engine, "ReplacingMergeTree(rev, is_deleted)");
        assert_eq!(table.partition_by.as_deref(), Some("toDate(a)"));
        assert_eq!(table.order_by, "(a, `from`)");
        assert_eq!(
            table.ttl.unwrap(),
            Ttl {
                expression: "toDateTime(a)".into(),
                days: 7
            }
        );
        assert_eq!(table.settings, "x = 1, y = 2");
    }

    #[test]
    fn a_view_is_read_with_and_without_its_columns() {
        let bare = parse("CREATE OR REPLACE VIEW v AS SELECT 1 AS a COMMENT 'one'").unwrap();
        assert_eq!(
            (bare.kind, bare.columns.len(), &*bare.comment),
            (RelationKind::View, 0, "one")
        );
        let listed =
            parse("CREATE OR REPLACE VIEW v (`a` UInt8 COMMENT 'c') AS SELECT 1 COMMENT 'one'")
                .unwrap();
        assert_eq!(listed.columns[0].data_type, "UInt8");
        assert!(parse("ALTER TABLE t ADD COLUMN IF NOT EXISTS a UInt8").is_none());
    }

    #[test]
    fn an_alter_adds_columns_and_corrects_comments() {
        let mut table = parse("CREATE TABLE t (`a` UInt8 COMMENT 'one') ENGINE = Log").unwrap();
        let sql = "ALTER TABLE t ADD COLUMN IF NOT EXISTS `b` Map(String, Array(UInt8)) COMMENT 'two' CODEC(ZSTD(1)), \
            COMMENT COLUMN IF EXISTS `a` 'µs, not ms', ADD INDEX IF NOT EXISTS i (a, b) TYPE minmax GRANULARITY 1";
        let (name, changes) = parse_alter(sql).unwrap();
        assert_eq!(name, "t");
        table.change(changes);
        let seen: Vec<_> = (table.columns.iter())
            .map(|c| (&*c.name, &*c.data_type, &*c.comment))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", "UInt8", "µs, not ms"),
                ("b", "Map(String, Array(UInt8))", "two")
            ]
        );
    }

    #[test]
    fn an_alter_that_is_not_known_is_not_half_read() {
        assert_eq!(
            parse_alter("ALTER TABLE t ADD COLUMN IF NOT EXISTS a UInt8, DROP COLUMN b"),
            None
        );
        assert_eq!(parse_alter("CREATE TABLE t (a UInt8)"), None);
    }

    #[test]
    fn the_ttl_that_the_engine_reports_is_read() {
        let full = "MergeTree PARTITION BY toDate(t) ORDER BY (a, b) TTL toDateTime(t) + toIntervalDay(30) SETTINGS index_granularity = 8192";
        assert_eq!(ttl_of_engine(full).unwrap().days, 30);
        assert_eq!(
            ttl_of_engine("MergeTree ORDER BY a SETTINGS index_granularity = 8192"),
            None
        );
    }
}
