//! Output formats: their content types, and how chunks of them are put together.
//!
//! The engine gives a streamed result in chunks that each are a whole document: the format's header comes again in
//! every one. Formats whose documents can't simply follow each other are not streamed.

/// How the chunks of a streamed result become one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joining {
    /// Chunks follow each other as they are.
    Plain,
    /// Each chunk begins with this many lines of header.
    Lines(usize),
    /// Each chunk begins with this many CSV records of header.
    CsvRecords(usize),
    /// A column count and, this many times, as many strings.
    BinaryHeader(usize),
    /// Each chunk is a Native block.
    Blocks,
    /// Can't be joined: the result is made in one piece.
    Never,
}

impl Joining {
    /// By the format's name; names are as ClickHouse writes them, in any case.
    pub(crate) fn of(format: &str) -> Self {
        match format.to_ascii_lowercase().as_str() {
            "tsv"
            | "tabseparated"
            | "tsvraw"
            | "tabseparatedraw"
            | "raw"
            | "csv"
            | "jsoneachrow"
            | "ndjson"
            | "jsonlines"
            | "jsonstringseachrow"
            | "jsoncompacteachrow"
            | "jsoncompactstringseachrow"
            | "rowbinary"
            | "lineasstring"
            | "rawblob"
            | "tskv"
            | "null" => Self::Plain,
            "tsvwithnames"
            | "tabseparatedwithnames"
            | "tsvrawwithnames"
            | "tabseparatedrawwithnames"
            | "rawwithnames"
            | "jsoncompacteachrowwithnames"
            | "jsoncompactstringseachrowwithnames" => Self::Lines(1),
            "tsvwithnamesandtypes"
            | "tabseparatedwithnamesandtypes"
            | "tsvrawwithnamesandtypes"
            | "tabseparatedrawwithnamesandtypes"
            | "rawwithnamesandtypes"
            | "jsoncompacteachrowwithnamesandtypes"
            | "jsoncompactstringseachrowwithnamesandtypes" => Self::Lines(2),
            "csvwithnames" => Self::CsvRecords(1),
            "csvwithnamesandtypes" => Self::CsvRecords(2),
            "rowbinarywithnames" => Self::BinaryHeader(1),
            "rowbinarywithnamesandtypes" => Self::BinaryHeader(2),
            "native" => Self::Blocks,
            _ => Self::Never,
        }
    }

    /// The length of the header that `chunk` begins with.
    fn header_length(self, chunk: &[u8]) -> usize {
        match self {
            Self::Plain | Self::Blocks | Self::Never => 0,
            Self::Lines(count) => {
                let mut breaks = chunk.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
                breaks.nth(count - 1).map_or(chunk.len(), |(at, _)| at + 1)
            }
            Self::CsvRecords(count) => {
                let mut quoted = false;
                let mut breaks = chunk.iter().enumerate().filter(|(_, byte)| {
                    quoted ^= **byte == b'"';
                    **byte == b'\n' && !quoted
                });
                breaks.nth(count - 1).map_or(chunk.len(), |(at, _)| at + 1)
            }
            Self::BinaryHeader(lists) => binary_header(chunk, lists).unwrap_or(chunk.len()),
        }
    }
}

fn binary_header(chunk: &[u8], lists: usize) -> Option<usize> {
    let mut at = 0;
    let columns = read_varint(chunk, &mut at)?;
    for _ in 0..columns.checked_mul(lists as u64)? {
        let length = read_varint(chunk, &mut at)?;
        at = at.checked_add(usize::try_from(length).ok()?)?;
    }
    (at <= chunk.len()).then_some(at)
}

/// Reads LEB128 at `at` and moves it on.
pub(crate) fn read_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes repeated headers off the chunks of one result.
pub(crate) struct Joiner {
    joining: Joining,
    header: Option<Box<[u8]>>,
}

impl Joiner {
    pub(crate) fn new(joining: Joining) -> Self {
        Self {
            joining,
            header: None,
        }
    }

    /// How many bytes at the start of `chunk` are a header that was sent before.
    pub(crate) fn repeated(&mut self, chunk: &[u8]) -> usize {
        match &self.header {
            None => {
                self.header = Some(chunk[..self.joining.header_length(chunk)].into());
                0
            }
            Some(header) if chunk.starts_with(header) => header.len(),
            Some(_) => 0,
        }
    }
}

/// The content type that ClickHouse gives a format.
pub(crate) fn content_type(format: &str) -> &'static str {
    let lower = format.to_ascii_lowercase();
    let is = |start: &str| lower.starts_with(start);
    if lower == "ndjson" || lower == "jsonlines" || lower.contains("eachrow") {
        "application/x-ndjson; charset=UTF-8"
    } else if is("json") {
        "application/json; charset=UTF-8"
    } else if is("csv") {
        if lower.contains("withnames") {
            "text/csv; charset=UTF-8; header=present"
        } else {
            "text/csv; charset=UTF-8; header=absent"
        }
    } else if is("tsv") || is("tabseparated") {
        "text/tab-separated-values; charset=UTF-8"
    } else if lower == "xml" {
        "application/xml; charset=UTF-8"
    } else if lower == "html" {
        "text/html; charset=UTF-8"
    } else if [
        "native",
        "rowbinary",
        "parquet",
        "arrow",
        "orc",
        "avro",
        "msgpack",
        "protobuf",
        "bson",
        "capnproto",
        "npy",
        "rawblob",
    ]
    .iter()
    .any(|start| is(start))
    {
        "application/octet-stream"
    } else {
        "text/plain; charset=UTF-8"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(format: &str, chunks: &[&[u8]]) -> Vec<u8> {
        let mut joiner = Joiner::new(Joining::of(format));
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend_from_slice(&chunk[joiner.repeated(chunk)..]);
        }
        out
    }

    #[test]
    fn a_repeated_header_is_kept_once() {
        assert_eq!(
            joined("TSVWithNamesAndTypes", &[b"a\nInt8\n1\n", b"a\nInt8\n2\n"]),
            b"a\nInt8\n1\n2\n"
        );
        assert_eq!(
            joined("CSVWithNames", &[b"\"a\nb\"\n1\n", b"\"a\nb\"\n2\n"]),
            b"\"a\nb\"\n1\n2\n"
        );
        let first: &[u8] = b"\x01\x01a\x04Int8\x07";
        assert_eq!(
            joined(
                "RowBinaryWithNamesAndTypes",
                &[first, b"\x01\x01a\x04Int8\x08"]
            ),
            b"\x01\x01a\x04Int8\x07\x08"
        );
        assert_eq!(joined("TSV", &[b"1\n", b"1\n"]), b"1\n1\n");
    }

    #[test]
    fn documents_with_a_frame_around_them_are_not_streamed() {
        for format in [
            "JSON",
            "JSONCompact",
            "Parquet",
            "Pretty",
            "XML",
            "Values",
            "Arrow",
            "Vertical",
            "Unheard",
        ] {
            assert_eq!(Joining::of(format), Joining::Never, "{format}");
        }
    }
}
