//! From a record's bytes to borrowed [`SpanView`](crate::span::view::SpanView)s.
