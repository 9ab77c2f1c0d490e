//! ClickHouse's type names, as far as the layout of their columns goes.

/// The layout of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// So many bytes a value.
    Fixed(usize),
    String,
    Nullable(Box<Type>),
    Array(Box<Type>),
    Tuple(Vec<Type>),
    LowCardinality(Box<Type>),
    Variant(Vec<Type>),
    /// A layout that can't be walked over without knowing much more.
    Opaque,
}

impl Type {
    /// Reads a type's name as the engine writes it into a block.
    pub(super) fn parse(name: &str) -> Self {
        let name = name.trim();
        let (head, inner) = match name.split_once('(') {
            Some((head, rest)) => (head, rest.strip_suffix(')').unwrap_or(rest)),
            None => (name, ""),
        };
        let one = || Box::new(Self::parse(inner));
        let last = || arguments(inner).last().map_or(Self::Opaque, Self::parse);
        match head {
            "String" => Self::String,
            "FixedString" => inner.trim().parse().map_or(Self::Opaque, Self::Fixed),
            "Nullable" => Self::Nullable(one()),
            "LowCardinality" => Self::LowCardinality(one()),
            "Array" => Self::Array(one()),
            "Map" => Self::Array(Box::new(Self::Tuple(
                arguments(inner).map(Self::parse).collect(),
            ))),
            "Tuple" => Self::Tuple(arguments(inner).map(element).collect()),
            "Nested" => Self::Array(Box::new(Self::Tuple(
                arguments(inner).map(element).collect(),
            ))),
            "Variant" => Self::Variant(arguments(inner).map(Self::parse).collect()),
            "SimpleAggregateFunction" => last(),
            "Decimal" => decimal(inner),
            "Point" => point(),
            "Ring" | "LineString" => nested(1),
            "Polygon" | "MultiLineString" => nested(2),
            "MultiPolygon" => nested(3),
            _ => fixed(head).map_or(Self::Opaque, Self::Fixed),
        }
    }

    /// Whether any part of the type can't be walked over.
    pub(super) fn is_opaque(&self) -> bool {
        match self {
            Self::Opaque => true,
            Self::Fixed(_) | Self::String => false,
            Self::Nullable(inner) | Self::Array(inner) | Self::LowCardinality(inner) => {
                inner.is_opaque()
            }
            Self::Tuple(parts) | Self::Variant(parts) => parts.iter().any(Self::is_opaque),
        }
    }
}

fn point() -> Type {
    Type::Tuple(vec![Type::Fixed(8), Type::Fixed(8)])
}

fn nested(depth: usize) -> Type {
    (0..depth).fold(point(), |inner, _| Type::Array(Box::new(inner)))
}

fn decimal(inner: &str) -> Type {
    match arguments(inner)
        .next()
        .and_then(|precision| precision.trim().parse::<u32>().ok())
    {
        Some(0..=9) => Type::Fixed(4),
        Some(10..=18) => Type::Fixed(8),
        Some(19..=38) => Type::Fixed(16),
        Some(39..=76) => Type::Fixed(32),
        _ => Type::Opaque,
    }
}

/// Bytes a value of the types that always have the same.
fn fixed(head: &str) -> Option<usize> {
    Some(match head {
        "UInt8" | "Int8" | "Bool" | "Enum8" | "Nothing" => 1,
        "UInt16" | "Int16" | "Date" | "Enum16" | "BFloat16" => 2,
        "UInt32" | "Int32" | "Float32" | "DateTime" | "Date32" | "IPv4" | "Time" | "Decimal32" => 4,
        "UInt64" | "Int64" | "Float64" | "DateTime64" | "Time64" | "Decimal64" => 8,
        "UInt128" | "Int128" | "UUID" | "IPv6" | "Decimal128" => 16,
        "UInt256" | "Int256" | "Decimal256" => 32,
        interval if interval.starts_with("Interval") => 8,
        _ => return None,
    })
}

/// An element of a tuple: `name Type` or `Type`; the name may be quoted.
fn element(text: &str) -> Type {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('`') {
        let mut escaped = false;
        let end = rest.char_indices().find(|&(_, char)| {
            let end = char == '`' && !escaped;
            escaped = char == '\\' && !escaped;
            end
        });
        return end.map_or(Type::Opaque, |(at, _)| Type::parse(&rest[at + 1..]));
    }
    let name_end = text
        .find(|char: char| !(char.is_alphanumeric() || char == '_'))
        .unwrap_or(text.len());
    match text[name_end..].strip_prefix(' ') {
        Some(rest) => Type::parse(rest),
        None => Type::parse(text),
    }
}

/// Splits at the commas outside brackets and quotes.
fn arguments(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    let mut start = 0;
    let mut parts = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'`' | b'"') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') => depth = depth.saturating_sub(1),
            (None, b',') if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(&text[start..]);
    }
    parts.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_become_layouts() {
        let low = Type::LowCardinality(Box::new(Type::String));
        let map = Type::Array(Box::new(Type::Tuple(vec![low.clone(), Type::String])));
        assert_eq!(Type::parse("Map(LowCardinality(String), String)"), map);
        assert_eq!(
            Type::parse("Enum8('a,b)' = 1, 'it\\'s' = 2)"),
            Type::Fixed(1)
        );
        assert_eq!(Type::parse("DateTime64(6, 'UTC')"), Type::Fixed(8));
        assert_eq!(Type::parse("Decimal(38, 9)"), Type::Fixed(16));
        let tuple = Type::Tuple(vec![
            Type::Fixed(4),
            Type::Nullable(Box::new(Type::String)),
            low,
        ]);
        assert_eq!(
            Type::parse("Tuple(a UInt32, `b c` Nullable(String), LowCardinality(String))"),
            tuple
        );
        assert_eq!(
            Type::parse("SimpleAggregateFunction(max, UInt64)"),
            Type::Fixed(8)
        );
        assert!(Type::parse("Array(Tuple(x JSON, y UInt8))").is_opaque());
        assert!(Type::parse("AggregateFunction(uniq, String)").is_opaque());
    }
}
