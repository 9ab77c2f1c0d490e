//! The settings reference as Markdown, an example file, and the values in effect.

use std::fmt::Write as _;

use super::declare::{Spec, show_bound};
use super::list::SPECS;
use super::load::{Loaded, is_secret_property, variable};

const INTRODUCTION: &str = "\
# Settings of the stream job

<!-- Printed by `stream-job settings`; a test holds this file equal to it. -->

`stream-job submit FILE` and `stream-job run --settings FILE` read one flat TOML file. The environment variable
`SPANFLOW_<NAME>` goes over the file, and `--set name=value` over both. A name that no setting has is refused with the
nearest one. Durations and sizes carry their unit: `500ms`, `10s`, `5min`, `1h`, `7d`; `512KiB`, `32MiB`.

`stream-job settings --example` prints a file with every default; `stream-job settings --effective` prints the values
in effect and where each comes from.

**Rows** marks a setting that changes rows. An epoch log remembers these, and a job that is started on it with other
values stops and names them. **Secret** marks a setting that is read from the environment only. Properties of
librdkafka go one by one too: `--set kafka_properties.client.rack=a`, or
`SPANFLOW_KAFKA_PROPERTIES_SASL_PASSWORD` for `sasl.password`.
";

/// `docs/settings.md`.
#[must_use]
pub fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (section, specs) in sections() {
        let _ = write!(
            text,
            "\n## {section}\n\n| setting | what it does | value | default |\n| --- | --- | --- | --- |\n"
        );
        for spec in specs {
            text.push_str(&row(spec));
        }
    }
    text
}

fn row(spec: &Spec) -> String {
    let mut what = sentence(spec);
    if let Some(alias) = spec.facts.alias {
        let _ = write!(what, " Also read from `{alias}`.");
    }
    if spec.facts.shapes_rows {
        what.push_str(" **Rows.**");
    }
    if spec.facts.secret {
        what.push_str(" **Secret.**");
    }
    let mut value = spec.kind.split(" (").next().unwrap_or(spec.kind).to_owned();
    if let Some((least, most)) = spec.facts.range {
        let _ = write!(
            value,
            ", {} to {}",
            show_bound(least, spec.kind),
            show_bound(most, spec.kind)
        );
    }
    let default = if spec.default.is_empty() {
        "empty".to_owned()
    } else {
        format!("`{}`", spec.default)
    };
    format!("| `{}` | {what} | {value} | {default} |\n", spec.name)
}

/// A TOML file with every setting at its default, commented out, so that a line says what was changed.
#[must_use]
pub fn example() -> String {
    let mut text = "# Settings of Spanflow's stream job. Every line is a default: take the # away to change it.\n".to_owned();
    let mut table = String::new();
    for (section, specs) in sections() {
        let _ = write!(text, "\n# {section}\n");
        for spec in specs {
            if spec.facts.secret {
                let _ = writeln!(
                    text,
                    "# {} Set {} in the environment.",
                    sentence(spec),
                    variable(spec)
                );
            } else if spec.name == "kafka_properties" {
                // TOML wants tables last.
                let _ = write!(
                    table,
                    "\n# {}\n# [kafka_properties]\n# client.rack = \"a\"\n",
                    sentence(spec)
                );
            } else {
                let _ = writeln!(
                    text,
                    "# {}\n# {} = {}",
                    sentence(spec),
                    spec.name,
                    toml_value(spec)
                );
            }
        }
    }
    text + &table
}

/// Every setting's value and where it was written; secrets are hidden.
#[must_use]
pub fn effective(loaded: &Loaded) -> String {
    let mut text = String::new();
    for spec in SPECS {
        let origin = |name: &str| {
            loaded
                .origins
                .get(name)
                .map_or_else(|| "default".to_owned(), ToString::to_string)
        };
        if spec.name == "kafka_properties" {
            for (property, value) in &loaded.settings.kafka_properties {
                let name = format!("{}.{property}", spec.name);
                let value = if is_secret_property(property) {
                    "(hidden)"
                } else {
                    value
                };
                let _ = writeln!(text, "{name} = \"{value}\"  # {}", origin(&name));
            }
            continue;
        }
        let value = loaded.settings.get(spec.name).unwrap_or_default();
        let value = match (spec.facts.secret, value.is_empty()) {
            (true, false) => "(hidden)".to_owned(),
            _ => value,
        };
        let _ = writeln!(text, "{} = \"{value}\"  # {}", spec.name, origin(spec.name));
    }
    text
}

fn sections() -> Vec<(&'static str, Vec<&'static Spec>)> {
    let mut sections: Vec<(&str, Vec<&Spec>)> = Vec::new();
    for spec in SPECS {
        match sections.last_mut() {
            Some((section, specs)) if *section == spec.section => specs.push(spec),
            _ => sections.push((spec.section, vec![spec])),
        }
    }
    sections
}

/// The doc comment on one line.
fn sentence(spec: &Spec) -> String {
    spec.doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn toml_value(spec: &Spec) -> String {
    let bare = spec.kind.ends_with("number") || spec.kind.starts_with("`true`");
    if bare {
        spec.default.to_owned()
    } else {
        format!("\"{}\"", spec.default)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Inputs, Settings};
    use super::*;

    #[test]
    fn the_committed_reference_is_the_printed_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == reference(),
            "docs/settings.md is not what the code says; write it again with `cargo run -p stream-job -- settings > docs/settings.md`"
        );
    }

    #[test]
    fn the_example_with_its_comments_taken_away_is_the_defaults() {
        let bare: String = example()
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.contains(" = ") || line.starts_with('['))
            .map(|line| format!("{line}\n"))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("example.toml");
        std::fs::write(&path, bare).unwrap();
        let mut loaded = Loaded::read(&Inputs {
            file: Some(path),
            ..Inputs::default()
        })
        .unwrap();
        loaded.settings.kafka_properties.clear();
        assert_eq!(loaded.settings, Settings::default());
        let open = SPECS.iter().filter(|spec| !spec.facts.secret).count();
        assert_eq!(
            loaded.origins.len(),
            open,
            "every setting that is no secret is in the example"
        );
    }

    #[test]
    fn effective_values_hide_secrets_and_say_where_a_value_was_written() {
        let inputs = Inputs {
            environment: vec![
                ("SPANFLOW_CLICKHOUSE_TOKEN".to_owned(), "s3cret".to_owned()),
                (
                    "SPANFLOW_KAFKA_PROPERTIES_SASL_PASSWORD".to_owned(),
                    "s3cret".to_owned(),
                ),
            ],
            flags: vec!["workers=2".to_owned()],
            ..Inputs::default()
        };
        let text = effective(&Loaded::read(&inputs).unwrap());
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("workers = \"2\"  # --set\n"), "{text}");
        assert!(text.contains("top_n = \"10\"  # default\n"), "{text}");
        assert!(
            text.contains("kafka_properties.sasl.password = \"(hidden)\""),
            "{text}"
        );
    }

    #[test]
    fn every_setting_has_one_sentence() {
        for spec in SPECS {
            let sentence = sentence(spec);
            assert!(
                sentence.ends_with('.') && sentence.len() > 15,
                "{}: {sentence}",
                spec.name
            );
        }
    }
}
