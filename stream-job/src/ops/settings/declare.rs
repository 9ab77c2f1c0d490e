//! The macro that turns one list of settings into the struct, its defaults, its reference and its loader.

/// What is known about a setting besides its name, type and default.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// It changes the rows that one epoch log leads to, so it may not change while a timeline goes on.
    pub shapes_rows: bool,
    /// It is given by environment only, never shown.
    pub secret: bool,
    /// A variable that other ClickHouse tools read too; `SPANFLOW_…` goes before it.
    pub alias: Option<&'static str>,
    /// Smallest and largest value: ms for durations, bytes for sizes.
    pub range: Option<(f64, f64)>,
}

impl Facts {
    /// Changes speed, place or look, never a row.
    pub(crate) const PLAIN: Facts = Facts {
        shapes_rows: false,
        secret: false,
        alias: None,
        range: None,
    };
    /// Changes rows.
    pub(crate) const SHAPING: Facts = Facts {
        shapes_rows: true,
        ..Facts::PLAIN
    };

    pub(crate) const fn secret(self) -> Facts {
        Facts {
            secret: true,
            ..self
        }
    }

    pub(crate) const fn alias(self, variable: &'static str) -> Facts {
        Facts {
            alias: Some(variable),
            ..self
        }
    }

    pub(crate) const fn range(self, least: f64, most: f64) -> Facts {
        Facts {
            range: Some((least, most)),
            ..self
        }
    }
}

/// One declared setting, as the reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Heading it stands under.
    pub section: &'static str,
    /// Name in the file; `SPANFLOW_` and the name in capitals in the environment.
    pub name: &'static str,
    /// What a value looks like.
    pub kind: &'static str,
    /// Default, as it would be written.
    pub default: &'static str,
    /// One sentence, with the declaration's line breaks.
    pub doc: &'static str,
    /// The rest.
    pub facts: Facts,
}

/// `section "Name" { /// sentence  name: Type = "default", FACTS; … }` for every section.
macro_rules! declare_settings {
    ($(section $section:literal {
        $($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:literal, $facts:expr;)+
    })+) => {
        /// Every setting of the job. The sentences here are the ones in the reference.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {
            $($($(#[doc = $doc])+ pub $name: $kind,)+)+
        }

        /// Every setting in the order of the reference.
        pub const SPECS: &[Spec] = &[
            $($(Spec {
                section: $section,
                name: stringify!($name),
                kind: <$kind as SettingValue>::KIND,
                default: $default,
                doc: concat!($($doc),+),
                facts: $facts,
            },)+)+
        ];

        impl Default for Settings {
            fn default() -> Self {
                Settings {
                    $($($name: <$kind as SettingValue>::parse($default)
                        .expect("a declared default is a value of its type"),)+)+
                }
            }
        }

        impl Settings {
            /// Sets one setting from text.
            ///
            /// # Errors
            /// What was expected, or that no setting has this name.
            pub(crate) fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
                match name {
                    $($(stringify!($name) => {
                        let value = <$kind as SettingValue>::parse(text)?;
                        check_range(value.measure(), &($facts), <$kind as SettingValue>::KIND)?;
                        self.$name = value;
                        Ok(())
                    })+)+
                    _ => Err(format!("no setting is called `{name}`")),
                }
            }

            /// A setting's value as it would be written, `None` for a name that no setting has.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<String> {
                match name {
                    $($(stringify!($name) => Some(self.$name.show()),)+)+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use declare_settings;

/// Refuses a value outside the declared range.
pub(crate) fn check_range(measure: Option<f64>, facts: &Facts, kind: &str) -> Result<(), String> {
    let (Some(measure), Some((least, most))) = (measure, facts.range) else {
        return Ok(());
    };
    if (least..=most).contains(&measure) {
        return Ok(());
    }
    let show = |bound: f64| show_bound(bound, kind);
    Err(format!(
        "expected a value from {} to {}",
        show(least),
        show(most)
    ))
}

/// A bound in the unit of its kind.
pub(crate) fn show_bound(bound: f64, kind: &str) -> String {
    use super::value::{ByteSize, SettingValue};
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = bound as u64;
    match kind {
        k if k == std::time::Duration::KIND => std::time::Duration::from_millis(whole).show(),
        k if k == ByteSize::KIND => ByteSize(whole).show(),
        _ => bound.to_string(),
    }
}
