//! What has to be done, decided without the warehouse.

use std::fmt::Write as _;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::schema::Migration;

/// A migration as `ops_migration` has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Applied {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// The checksums that were noted for it: one, unless two programs migrated at once.
    pub checksums: Vec<String>,
}

/// Why a database does not fit the migrations of this binary.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Somebody newer was here.
    #[error(
        "it has migration {database}, but this program ({version}) ends with {program}: it is older than the database; use the newer one"
    )]
    Newer {
        /// The first migration that we don't know.
        database: String,
        /// The last one that we know.
        program: String,
        /// Version of this program.
        version: &'static str,
    },
    /// A file was changed after it had been applied.
    #[error(
        "migration {file} was applied with checksum {applied}, but the file in this program has {program}: an applied migration must not change; add a new one, or start with a new database"
    )]
    Changed {
        /// The file.
        file: &'static str,
        /// What was noted.
        applied: String,
        /// What we have.
        program: String,
    },
}

/// SHA-256 of a migration's text, lowercase hex.
pub(crate) fn checksum(sql: &str) -> String {
    Sha256::digest(sql)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// The migrations that are still to be applied, in order.
pub(crate) fn pending<'a>(
    known: &'a [Migration],
    applied: &[Applied],
) -> Result<Vec<&'a Migration>, PlanError> {
    let is_known = |row: &&Applied| known.iter().any(|m| m.number() == row.number);
    if let Some(row) = applied.iter().find(|row| !is_known(row)) {
        return Err(PlanError::Newer {
            database: format!("{:04}_{}", row.number, row.name),
            program: known.last().map_or_else(String::new, |m| m.file.to_owned()),
            version: env!("CARGO_PKG_VERSION"),
        });
    }
    let mut pending = Vec::new();
    for migration in known {
        let Some(row) = applied.iter().find(|row| row.number == migration.number()) else {
            pending.push(migration);
            continue;
        };
        let program = checksum(migration.sql);
        if let Some(other) = row.checksums.iter().find(|sum| **sum != program) {
            return Err(PlanError::Changed {
                file: migration.file,
                applied: other.clone(),
                program,
            });
        }
    }
    Ok(pending)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KNOWN: [Migration; 3] = [
        Migration {
            file: "0001_a.sql",
            sql: "a",
        },
        Migration {
            file: "0101_b.sql",
            sql: "b",
        },
        Migration {
            file: "0201_c.sql",
            sql: "c",
        },
    ];

    fn row(number: u32, name: &str, sql: &str) -> Applied {
        Applied {
            number,
            name: name.into(),
            checksums: vec![checksum(sql)],
        }
    }

    #[test]
    fn a_gap_is_filled_in_order() {
        let applied = [row(101, "b", "b")];
        let files: Vec<_> = pending(&KNOWN, &applied)
            .unwrap()
            .iter()
            .map(|m| m.file)
            .collect();
        assert_eq!(files, ["0001_a.sql", "0201_c.sql"]);
    }

    #[test]
    fn nothing_is_pending_when_all_is_applied() {
        let applied = [row(1, "a", "a"), row(101, "b", "b"), row(201, "c", "c")];
        assert!(pending(&KNOWN, &applied).unwrap().is_empty());
    }

    #[test]
    fn a_newer_database_is_refused_and_both_are_named() {
        let text = pending(&KNOWN, &[row(102, "later", "x")])
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("0102_later") && text.contains("0201_c.sql"),
            "{text}"
        );
    }

    #[test]
    fn a_changed_file_is_refused() {
        let error = pending(&KNOWN, &[row(1, "a", "another")]).unwrap_err();
        assert!(matches!(
            error,
            PlanError::Changed {
                file: "0001_a.sql",
                ..
            }
        ));
    }

    #[test]
    fn a_second_checksum_beside_the_right_one_is_refused_too() {
        let mut both = row(1, "a", "a");
        both.checksums.push(checksum("another"));
        assert!(pending(&KNOWN, &[both]).is_err());
    }

    #[test]
    fn the_checksum_is_sha256() {
        assert!(checksum("").starts_with("e3b0c44298fc1c149afbf4c8996fb924"));
    }
}
