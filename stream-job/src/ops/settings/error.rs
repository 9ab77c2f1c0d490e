//! Why settings were refused, and where the bad one was written.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the file, at a line counted from 1.
    File(PathBuf, usize),
    /// In an environment variable.
    Environment(String),
    /// In a `--set` flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::Flag => f.write_str("--set"),
        }
    }
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file can't be read.
    #[error("settings file {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}:{line}: not valid TOML: {message}", path = path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// No setting has this name.
    #[error("{origin}: no setting is called `{name}`{}", suggestion(.nearest))]
    Unknown {
        /// Where.
        origin: Origin,
        /// The name given.
        name: String,
        /// The setting whose name is nearest.
        nearest: Option<&'static str>,
    },
    /// The value is not one that the setting takes.
    #[error("{origin}: `{name}` is `{value}`: {expected}")]
    Value {
        /// Where.
        origin: Origin,
        /// The setting.
        name: String,
        /// The value given.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// A secret was given where others can read it.
    #[error("{origin}: `{name}` is a secret and is read from the environment only: set {variable}")]
    Secret {
        /// Where.
        origin: Origin,
        /// The setting or property.
        name: String,
        /// The variable to set instead.
        variable: String,
    },
    /// A `--set` without `=`.
    #[error("--set {0}: expected name=value")]
    Flag(String),
    /// Settings that do not go together.
    #[error("{0}")]
    Conflict(String),
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    match nearest {
        Some(name) => format!(", did you mean `{name}`?"),
        None => "; `stream-job settings` lists all of them".to_owned(),
    }
}
