//! How much of a span is kept.

/// Bounds of the walk. They shape rows and fingerprints, so they are part of the settings' hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkOptions {
    /// Levels of arrays and key-value lists within an attribute, at most 200; deeper is `too_deep`.
    pub max_depth: u32,
    /// Attributes kept of a span or resource.
    pub max_attributes: usize,
    /// Events kept of a span.
    pub max_events: usize,
    /// Links kept of a span.
    pub max_links: usize,
    /// Attributes kept of an event or link.
    pub max_event_attributes: usize,
    /// Bytes kept of a span's or event's name and of an attribute's key.
    pub max_name_bytes: usize,
}

impl Default for WalkOptions {
    fn default() -> Self {
        WalkOptions {
            max_depth: 64,
            max_attributes: 1024,
            max_events: 1024,
            max_links: 1024,
            max_event_attributes: 128,
            max_name_bytes: 1024,
        }
    }
}
