//! The table reference (`docs/tables.md`), written from the comments in the SQL.

use std::fmt::Write as _;

use super::{Relation, RelationKind, relations};

const INTRODUCTION: &str = "\
# Tables

Written by `warehouse tables` from the comments in `warehouse/migrations`; a test holds the two equal. Edit the SQL, not
this file.

Times are UTC. `…_us` is µs, `…_ms` is ms, `…_nanousd` is nano-dollars (1e-9 USD), `…_bytes` is bytes. Tables with
`rev` hold several versions of a row: read their view `…_latest`, which gives the newest version of each key, leaves
deleted ones out and combines segments. The times to live are defaults; `warehouse migrate --ttl` changes them.
";

const LAYERS: [(&str, &str); 6] = [
    ("ods_", "ODS: what came, as it came"),
    ("dwd_", "DWD: clean rows, never changed"),
    ("dws_", "DWS: windows and rollups"),
    ("ads_", "ADS: what people look at"),
    ("otel_", "OpenTelemetry's names for the same rows"),
    ("ops_", "Operation"),
];

/// The whole reference as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    for (prefix, title) in LAYERS {
        let _ = write!(out, "\n## {title}\n");
        let in_layer =
            |r: &&Relation| r.kind != RelationKind::Function && r.name.starts_with(prefix);
        for relation in relations().iter().filter(in_layer) {
            write_relation(&mut out, relation);
        }
    }
    let _ = write!(
        out,
        "\n## Functions\n\n| function | what it gives |\n|---|---|\n"
    );
    for function in relations()
        .iter()
        .filter(|r| r.kind == RelationKind::Function)
    {
        let _ = writeln!(out, "| `{}` | {} |", function.name, cell(&function.comment));
    }
    out
}

fn write_relation(out: &mut String, relation: &Relation) {
    let _ = write!(out, "\n### `{}`\n\n{}.\n", relation.name, relation.comment);
    match relation.kind {
        RelationKind::Table => {
            let _ = write!(
                out,
                "\n{} · key {}",
                relation.engine,
                bare(&relation.order_by)
            );
            if let Some(partition) = &relation.partition_by {
                let _ = write!(out, " · partition {}", bare(partition));
            }
            match &relation.ttl {
                Some(ttl) => {
                    let _ = writeln!(
                        out,
                        " · kept {} days by {}",
                        ttl.days,
                        bare(&ttl.expression)
                    );
                }
                None => out.push_str(" · kept for ever\n"),
            }
        }
        RelationKind::View if relation.columns.is_empty() => {
            out.push_str("\nView.\n");
        }
        RelationKind::View | RelationKind::Function => out.push_str("\nView.\n"),
    }
    if !relation.columns.is_empty() {
        out.push_str("\n| column | type | what it holds |\n|---|---|---|\n");
    }
    for column in &relation.columns {
        let _ = writeln!(
            out,
            "| `{}` | `{}` | {} |",
            column.name,
            column.data_type,
            cell(&column.comment)
        );
    }
}

/// An expression as inline code; quotes of names would end it.
fn bare(expression: &str) -> String {
    format!("`{}`", expression.replace('`', ""))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, path::Path};

    #[test]
    fn the_reference_in_docs_is_what_the_sql_says() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tables.md");
        let written = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            written == super::markdown(),
            "docs/tables.md is behind the SQL: write it again with `cargo run -p warehouse -- tables > docs/tables.md`"
        );
    }
}
