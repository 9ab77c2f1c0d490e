//! Names and texts as they stand in SQL.

/// A name as it stands in SQL, whatever is in it.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

/// A text as it stands in SQL, whatever is in it.
#[must_use]
pub fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
