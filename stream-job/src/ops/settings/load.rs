//! Reads settings from the file, the environment and the flags, and says exactly where a bad one was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::declare::Spec;
use super::error::{Origin, SettingsError};
use super::list::{SPECS, Settings};
use crate::ops::failpoint;

/// Prefix of the environment variables.
const PREFIX: &str = "SPANFLOW_";
/// Variables with the prefix that other parts of Spanflow read.
const OTHERS: [&str; 6] = [
    failpoint::FAILPOINT,
    failpoint::SABOTAGE,
    "SPANFLOW_HOME",
    "SPANFLOW_CACHE",
    "SPANFLOW_DOCKER",
    "SPANFLOW_TEST_RUN",
];
/// The one setting that is a table.
const PROPERTIES: &str = "kafka_properties";
/// From this similarity (Jaro–Winkler, 0 to 1) on, a name is taken for a misspelt setting.
const NEAR: f64 = 0.85;

/// Where settings come from. The environment is passed in, so that tests need not change their process's own.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// `name=value` of each `--set`, in order.
    pub flags: Vec<String>,
}

impl Inputs {
    /// Inputs with this process's environment. Variables that are not UTF-8 are left out.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>, flags: Vec<String>) -> Inputs {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Inputs {
            file,
            environment,
            flags,
        }
    }
}

/// Settings, and where each that is not the default was written.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// By name; a setting that is missing here has its default.
    pub origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Reads everything, later inputs over earlier ones, and checks the whole.
    ///
    /// # Errors
    /// The first thing that is wrong, see [`SettingsError`].
    pub fn read(inputs: &Inputs) -> Result<Loaded, SettingsError> {
        let mut loaded = Loaded {
            settings: Settings::default(),
            origins: BTreeMap::new(),
        };
        if let Some(path) = &inputs.file {
            let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
                path: path.clone(),
                source,
            })?;
            loaded.read_file(path, &text)?;
        }
        loaded.read_environment(&inputs.environment)?;
        for flag in &inputs.flags {
            let (name, value) = flag
                .split_once('=')
                .ok_or_else(|| SettingsError::Flag(flag.clone()))?;
            loaded.set(name.trim(), value.trim(), Origin::Flag)?;
        }
        loaded.settings.check()?;
        Ok(loaded)
    }

    fn read_file(&mut self, path: &Path, text: &str) -> Result<(), SettingsError> {
        let line_at = |byte: usize| text[..byte.min(text.len())].matches('\n').count() + 1;
        let table = DeTable::parse(text).map_err(|error| SettingsError::Toml {
            path: path.to_owned(),
            line: line_at(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        // In the order written, so that the first mistake in the file is the one reported.
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let origin = Origin::File(path.to_owned(), line_at(key.span().start));
            self.set_toml(key.get_ref(), value.get_ref(), &origin)?;
        }
        Ok(())
    }

    /// Sets from a TOML value. Dotted keys under `kafka_properties` come as nested tables and are joined again.
    fn set_toml(
        &mut self,
        name: &str,
        value: &DeValue<'_>,
        origin: &Origin,
    ) -> Result<(), SettingsError> {
        let known = SPECS.iter().any(|spec| spec.name == name) || name.starts_with(PROPERTIES);
        let text = match value {
            DeValue::Table(table) if known && name.starts_with(PROPERTIES) => {
                for (key, value) in table {
                    self.set_toml(
                        &format!("{name}.{}", key.get_ref()),
                        value.get_ref(),
                        origin,
                    )?;
                }
                return Ok(());
            }
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.as_str().to_owned(), |n| n.to_string()),
            DeValue::Array(_) | DeValue::Table(_) | DeValue::Datetime(_) if known => {
                return Err(SettingsError::Value {
                    origin: origin.clone(),
                    name: name.to_owned(),
                    value: format!("a TOML {}", value.type_str()),
                    expected: "expected a text, number or boolean".to_owned(),
                });
            }
            _ => String::new(),
        };
        self.set(name, &text, origin.clone())
    }

    fn read_environment(&mut self, environment: &[(String, String)]) -> Result<(), SettingsError> {
        // An alias is shared with other tools, so an empty one means nothing and our own variable goes over it.
        for spec in SPECS {
            let Some(alias) = spec.facts.alias else {
                continue;
            };
            let given = environment
                .iter()
                .find(|(name, value)| name == alias && !value.is_empty());
            if let Some((_, value)) = given {
                self.set(spec.name, value, Origin::Environment(alias.to_owned()))?;
            }
        }
        let mut ours: Vec<_> = environment
            .iter()
            .filter(|(name, _)| name.starts_with(PREFIX) && !OTHERS.contains(&name.as_str()))
            .collect();
        ours.sort();
        for (variable, value) in ours {
            let name = variable[PREFIX.len()..].to_ascii_lowercase();
            let origin = Origin::Environment(variable.clone());
            // librdkafka's names have dots and no underscores, a variable's the other way round.
            let name = match name.strip_prefix("kafka_properties_") {
                Some(property) => format!("{PROPERTIES}.{}", property.replace('_', ".")),
                None => name,
            };
            match self.set(&name, value, origin) {
                // Other programs may have variables with our prefix; only one that looks misspelt is refused.
                Err(SettingsError::Unknown { nearest: None, .. }) => {
                    tracing::warn!(
                        "environment variable {variable} is no setting of the job; ignored"
                    );
                }
                result => result?,
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, text: &str, origin: Origin) -> Result<(), SettingsError> {
        if let Some(property) = name.strip_prefix("kafka_properties.") {
            return self.set_property(property, text, origin);
        }
        let Some(spec) = SPECS.iter().find(|spec| spec.name == name) else {
            return Err(SettingsError::Unknown {
                origin,
                name: name.to_owned(),
                nearest: nearest(name),
            });
        };
        refuse_secret(spec.facts.secret, name, variable(spec), &origin)?;
        match self.settings.set(name, text) {
            Ok(()) => {
                self.origins.insert(name.to_owned(), origin);
                Ok(())
            }
            Err(expected) => Err(SettingsError::Value {
                origin,
                name: name.to_owned(),
                value: text.to_owned(),
                expected,
            }),
        }
    }

    fn set_property(
        &mut self,
        property: &str,
        text: &str,
        origin: Origin,
    ) -> Result<(), SettingsError> {
        let variable = format!(
            "{PREFIX}KAFKA_PROPERTIES_{}",
            property.replace('.', "_").to_ascii_uppercase()
        );
        refuse_secret(is_secret_property(property), property, variable, &origin)?;
        self.settings
            .kafka_properties
            .insert(property.to_owned(), text.to_owned());
        self.origins
            .insert(format!("{PROPERTIES}.{property}"), origin);
        Ok(())
    }
}

/// The variable that sets a setting.
pub(super) fn variable(spec: &Spec) -> String {
    format!("{PREFIX}{}", spec.name.to_ascii_uppercase())
}

/// Whether a librdkafka property holds a secret.
pub(super) fn is_secret_property(property: &str) -> bool {
    property.ends_with("password")
        || property.contains("secret")
        || property == "ssl.key.pem"
        || property == "sasl.oauthbearer.config"
}

/// A file is committed and a flag is seen by `ps`: secrets come by environment.
fn refuse_secret(
    secret: bool,
    name: &str,
    variable: String,
    origin: &Origin,
) -> Result<(), SettingsError> {
    if !secret || matches!(origin, Origin::Environment(_)) {
        return Ok(());
    }
    Err(SettingsError::Secret {
        origin: origin.clone(),
        name: name.to_owned(),
        variable,
    })
}

/// The setting whose name is most like `name`, if any is like it.
fn nearest(name: &str) -> Option<&'static str> {
    let flat = name.to_ascii_lowercase().replace(['.', '-'], "_");
    SPECS
        .iter()
        .map(|spec| (strsim::jaro_winkler(&flat, spec.name), spec.name))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn inputs(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[&str],
    ) -> (tempfile::TempDir, Inputs) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.toml");
        std::fs::write(&path, file).unwrap();
        let environment = environment
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let flags = flags.iter().map(|f| (*f).to_owned()).collect();
        (
            folder,
            Inputs {
                file: Some(path),
                environment,
                flags,
            },
        )
    }

    fn read(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, String> {
        let (_folder, inputs) = inputs(file, environment, flags);
        Loaded::read(&inputs).map_err(|e| e.to_string())
    }

    #[test]
    fn later_inputs_go_over_earlier_ones() {
        let file = "epoch_interval = \"1s\"\nworkers = 3\ntop_n = 20\n";
        let loaded = read(
            file,
            &[("SPANFLOW_WORKERS", "4"), ("SPANFLOW_TOP_N", "30")],
            &["top_n=40"],
        )
        .unwrap();
        assert_eq!(loaded.settings.epoch_interval, Duration::from_secs(1));
        assert_eq!(loaded.settings.workers, 4);
        assert_eq!(loaded.settings.top_n, 40);
        assert_eq!(loaded.origins["top_n"], Origin::Flag);
        assert!(matches!(
            &loaded.origins["epoch_interval"],
            Origin::File(_, 1)
        ));
        assert!(!loaded.origins.contains_key("log"));
    }

    #[test]
    fn our_variable_goes_over_the_shared_one_and_an_empty_shared_one_means_nothing() {
        let shared = ("CLICKHOUSE_URL", "http://shared:8123");
        let loaded = read("", &[shared, ("CLICKHOUSE_DATABASE", "")], &[]).unwrap();
        assert_eq!(loaded.settings.clickhouse_url, "http://shared:8123");
        assert_eq!(loaded.settings.clickhouse_database, "spanflow");
        let loaded = read(
            "",
            &[shared, ("SPANFLOW_CLICKHOUSE_URL", "http://own:1")],
            &[],
        )
        .unwrap();
        assert_eq!(loaded.settings.clickhouse_url, "http://own:1");
    }

    #[test]
    fn an_unknown_key_names_file_line_and_the_nearest_setting() {
        let error = read("workers = 2\n\nepoch_intervall = \"1s\"\n", &[], &[]).unwrap_err();
        assert!(
            error.contains("job.toml:3: no setting is called `epoch_intervall`"),
            "{error}"
        );
        assert!(error.ends_with("did you mean `epoch_interval`?"), "{error}");
        let error = read("[kafka]\nbrokers = 1\n", &[], &[]).unwrap_err();
        assert!(
            error.contains("job.toml:1: no setting is called `kafka`"),
            "{error}"
        );
        let error = read("", &[], &["zzz=1"]).unwrap_err();
        assert!(error.contains("`stream-job settings` lists"), "{error}");
    }

    #[test]
    fn a_misspelt_variable_is_refused_and_a_foreign_one_ignored() {
        let error = read("", &[("SPANFLOW_EPOCH_INTERVALL", "1s")], &[]).unwrap_err();
        assert!(
            error.contains("environment variable SPANFLOW_EPOCH_INTERVALL"),
            "{error}"
        );
        read("", &[("SPANFLOW_XYZZY", "1"), ("SPANFLOW_HOME", "/x")], &[]).unwrap();
    }

    #[test]
    fn a_bad_value_says_where_it_is_and_what_was_expected() {
        let error = read("\nepoch_interval = 500\n", &[], &[]).unwrap_err();
        assert!(
            error.contains(
                "job.toml:2: `epoch_interval` is `500`: expected a whole number with a unit"
            ),
            "{error}"
        );
        let error = read("workers = [1]\n", &[], &[]).unwrap_err();
        assert!(error.contains("`workers` is `a TOML array`"), "{error}");
        let error = read("workers = 70000\n", &[], &[]).unwrap_err();
        assert!(error.contains("between 0 and 65535"), "{error}");
        let error = read("workers 1\n", &[], &[]).unwrap_err();
        assert!(error.contains("job.toml:1: not valid TOML"), "{error}");
        let error = read("", &[], &["workers"]).unwrap_err();
        assert_eq!(error, "--set workers: expected name=value");
    }

    #[test]
    fn numbers_may_be_written_in_every_way_that_toml_has() {
        let loaded = read(
            "workers = 0x10\nepoch_records = 20_000\nanomaly_error_score = 2.5\n",
            &[],
            &[],
        )
        .unwrap();
        assert_eq!(loaded.settings.workers, 16);
        assert_eq!(loaded.settings.epoch_records, 20_000);
        assert!((loaded.settings.anomaly_error_score - 2.5).abs() < f64::EPSILON);
        // Scores are numbers: a whole one is fine too.
        assert!(read("anomaly_error_score = 7\n", &[], &[]).is_ok());
    }

    #[test]
    fn kafka_properties_come_as_a_table_dotted_or_quoted_and_one_by_one() {
        let file = "[kafka_properties]\nsecurity.protocol = \"SASL_SSL\"\n\"client.id\" = \"job\"\nfetch.wait.max.ms = 50\n";
        let environment = [("SPANFLOW_KAFKA_PROPERTIES_SASL_PASSWORD", "pass,word")];
        let loaded = read(file, &environment, &["kafka_properties.client.rack=a"]).unwrap();
        let shown: Vec<_> = loaded
            .settings
            .kafka_properties
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(
            shown,
            [
                "client.id=job",
                "client.rack=a",
                "fetch.wait.max.ms=50",
                "sasl.password=pass,word",
                "security.protocol=SASL_SSL"
            ]
        );
    }

    #[test]
    fn secrets_are_taken_from_the_environment_only() {
        for (file, flags) in [
            ("clickhouse_token = \"x\"", vec![]),
            ("", vec!["http_token=x"]),
            ("[kafka_properties]\nsasl.password = \"x\"", vec![]),
        ] {
            let error = read(file, &[], &flags).unwrap_err();
            assert!(
                error.contains("is a secret") && error.contains("set SPANFLOW_"),
                "{error}"
            );
            assert!(!error.contains("`x`"), "{error}");
        }
        let loaded = read("", &[("SPANFLOW_CLICKHOUSE_TOKEN", "x")], &[]).unwrap();
        assert_eq!(loaded.settings.clickhouse_token, "x");
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        let error = read("dws_block_interval = \"100ms\"", &[], &[]).unwrap_err();
        assert!(
            error.contains("`dws_block_interval` must not be shorter"),
            "{error}"
        );
        let error = read("alerts_topic = \"otlp_spans\"", &[], &[]).unwrap_err();
        assert!(error.contains("feed itself"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let inputs = Inputs {
            file: Some(PathBuf::from("/nowhere/job.toml")),
            ..Inputs::default()
        };
        let error = Loaded::read(&inputs).unwrap_err().to_string();
        assert!(
            error.starts_with("settings file /nowhere/job.toml: "),
            "{error}"
        );
    }
}
