//! Span links as compact JSON.

use crate::sink::native::HEX;
use crate::span::view::{Attr, LinkView};

/// Writes `[{"trace_id":"…","span_id":"…","trace_state":"…","attributes":{…}}]`, and nothing where there are no links.
/// An empty trace state and empty attributes are left out.
pub(super) fn write_links_json(links: &[LinkView<'_>], out: &mut String) {
    for (at, link) in links.iter().enumerate() {
        out.push(if at == 0 { '[' } else { ',' });
        write_link(link, out);
    }
    if !links.is_empty() {
        out.push(']');
    }
}

fn write_link(link: &LinkView<'_>, out: &mut String) {
    out.push_str("{\"trace_id\":\"");
    write_hex(link.trace_id, out);
    out.push_str("\",\"span_id\":\"");
    write_hex(link.span_id, out);
    out.push('"');
    if !link.trace_state.is_empty() {
        out.push_str(",\"trace_state\":");
        write_text(&link.trace_state, out);
    }
    for (at, Attr { key, value }) in link.attributes.iter().enumerate() {
        out.push_str(if at == 0 { ",\"attributes\":{" } else { "," });
        write_text(key, out);
        out.push(':');
        value.write_json(out);
    }
    if !link.attributes.is_empty() {
        out.push('}');
    }
    out.push('}');
}

fn write_hex(bytes: &[u8], out: &mut String) {
    let digits = bytes.iter().flat_map(|&byte| HEX[usize::from(byte)]);
    out.extend(digits.map(char::from));
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}
