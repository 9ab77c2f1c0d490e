//! What a request asks for: URL parameters, headers and, from forms, parts of the body.

use axum::http::{HeaderMap, Method, header};

use super::coding::Coding;
use crate::embedded::Exception;

/// Parameters of ClickHouse's HTTP interface that are no settings of a query, and settings that only concern the HTTP
/// side, which the engine knows but has no use for.
const NOT_SETTINGS: &[&str] = &[
    "add_http_cors_header",
    "buffer_size",
    "cancel_http_readonly_queries_on_client_close",
    "client_protocol_version",
    "close_session",
    "compress",
    "database",
    "decompress",
    "default_format",
    "enable_http_compression",
    "http_headers_progress_interval_ms",
    "http_make_head_request",
    "http_native_compression_disable_checksumming_on_decompress",
    "http_write_exception_in_output_format",
    "http_zlib_compression_level",
    "network_compression_method",
    "network_zstd_compression_level",
    "password",
    "query",
    "query_id",
    "quota_key",
    "role",
    "send_progress_in_http_headers",
    "session_check",
    "session_id",
    "session_timeout",
    "stacktrace",
    "user",
    "wait_end_of_query",
];

/// A request, read but not yet checked.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// GET and HEAD may not change anything.
    pub(crate) read_only: bool,
    pub(crate) query: String,
    pub(crate) database: Option<String>,
    pub(crate) default_format: Option<String>,
    pub(crate) query_id: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) session_timeout: Option<u64>,
    /// `param_name=value`, in ClickHouse's escaped form as clients send it.
    pub(crate) params: Vec<(String, String)>,
    pub(crate) settings: Vec<(String, String)>,
    /// Frame the response as ClickHouse's own blocks.
    pub(crate) compress: bool,
    /// The body is framed so.
    pub(crate) decompress: bool,
    pub(crate) wait_end_of_query: bool,
    /// For which revision of the native protocol Native blocks are written; 0 for plain ones.
    pub(crate) revision: u32,
    pub(crate) user: Option<String>,
    pub(crate) secret: Option<String>,
    pub(crate) accept: Option<Coding>,
    pub(crate) content: Option<Coding>,
    /// The boundary of a multipart form.
    pub(crate) boundary: Option<String>,
}

impl Request {
    /// Reads method, URL and headers.
    pub(crate) fn read(
        method: &Method,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Self, Exception> {
        let mut request = Self {
            read_only: *method != Method::POST && *method != Method::PUT,
            ..Self::default()
        };
        request.read_headers(headers)?;
        let mut allow_compression = true;
        for (name, value) in form_urlencoded(query) {
            if name == "enable_http_compression" {
                allow_compression = is_true(&value);
            }
            request.set(name, value)?;
        }
        if !allow_compression || request.compress {
            request.accept = None;
        }
        Ok(request)
    }

    /// Takes one parameter, of the URL or of a form.
    pub(crate) fn set(&mut self, name: String, value: String) -> Result<(), Exception> {
        match name.as_str() {
            "query" => self.query = value,
            "database" if !value.is_empty() => self.database = Some(value),
            "default_format" if !value.is_empty() => self.default_format = Some(value),
            "query_id" if !value.is_empty() => self.query_id = Some(value),
            "session_id" if !value.is_empty() => self.session_id = Some(value),
            "session_timeout" => self.session_timeout = Some(number(&name, &value)?),
            "compress" => self.compress = is_true(&value),
            "decompress" => self.decompress = is_true(&value),
            "wait_end_of_query" => self.wait_end_of_query = is_true(&value),
            "client_protocol_version" => self.revision = number(&name, &value)?,
            "user" => self.user = Some(value),
            "password" => self.secret = Some(value),
            _ if NOT_SETTINGS.contains(&name.as_str()) => {}
            _ => match name.strip_prefix("param_") {
                Some(param) => self.params.push((param.to_owned(), value)),
                None if is_setting_name(&name) => self.settings.push((name, value)),
                None => {
                    let text = format_args!("Unknown setting '{}'", name.escape_default());
                    return Err(Exception::new(115, "UNKNOWN_SETTING", text));
                }
            },
        }
        Ok(())
    }

    fn read_headers(&mut self, headers: &HeaderMap) -> Result<(), Exception> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        self.database = text("x-clickhouse-database").map(str::to_owned);
        self.default_format = text("x-clickhouse-format").map(str::to_owned);
        self.user = text("x-clickhouse-user").map(str::to_owned);
        self.secret = text("x-clickhouse-key").map(str::to_owned);
        if let Some(authorization) = text(header::AUTHORIZATION.as_str()) {
            self.read_authorization(authorization);
        }
        self.accept = text(header::ACCEPT_ENCODING.as_str()).and_then(Coding::accepted);
        if let Some(coding) =
            text(header::CONTENT_ENCODING.as_str()).filter(|coding| *coding != "identity")
        {
            let known = Coding::named(coding).ok_or_else(|| {
                let text = format_args!(
                    "Unknown Content-Encoding '{}': use lz4, zstd, gzip, deflate or none",
                    coding.escape_default()
                );
                Exception::new(89, "UNKNOWN_COMPRESSION_METHOD", text)
            })?;
            self.content = Some(known);
        }
        if let Some(kind) = text(header::CONTENT_TYPE.as_str())
            .filter(|kind| kind.starts_with("multipart/form-data"))
        {
            let boundary = kind
                .split(';')
                .filter_map(|part| part.trim().strip_prefix("boundary="))
                .next();
            self.boundary = Some(boundary.unwrap_or_default().trim_matches('"').to_owned());
        }
        Ok(())
    }

    fn read_authorization(&mut self, text: &str) {
        let (scheme, value) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            self.secret = Some(value.trim().to_owned());
        } else if scheme.eq_ignore_ascii_case("basic")
            && let Some((user, secret)) = basic(value.trim())
        {
            self.user = Some(user);
            self.secret = Some(secret);
        }
    }
}

fn basic(value: &str) -> Option<(String, String)> {
    let text = String::from_utf8(base64(value)?).ok()?;
    let (user, secret) = text.split_once(':')?;
    Some((user.to_owned(), secret.to_owned()))
}

/// RFC 4648 base64 with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0x00ff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

fn is_true(value: &str) -> bool {
    value == "1" || value.eq_ignore_ascii_case("true")
}

fn is_setting_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, Exception> {
    value.parse().map_err(|_| {
        let text = format_args!(
            "{name} must be a whole number, not '{}'",
            value.escape_default()
        );
        Exception::new(36, "BAD_ARGUMENTS", text)
    })
}

/// The pairs of a query string or a URL-encoded form.
pub(crate) fn form_urlencoded(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decoded(name), percent_decoded(value))
    })
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |offset: usize| {
            bytes
                .get(at + offset)
                .and_then(|byte| (*byte as char).to_digit(16))
        };
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _, _) => out.push(b' '),
            (byte, _, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One part of a multipart form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) name: String,
    pub(crate) is_file: bool,
    pub(crate) content: &'a [u8],
}

/// The named parts of a multipart form.
pub(crate) fn multipart<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<Part<'a>>, Exception> {
    let broken = |what| {
        Exception::new(
            36,
            "BAD_ARGUMENTS",
            format_args!("the multipart form is broken: {what}"),
        )
    };
    let mark = format!("--{boundary}").into_bytes();
    let find =
        |text: &[u8], part: &[u8]| text.windows(part.len()).position(|window| window == part);
    if boundary.is_empty() {
        return Err(broken("its Content-Type names no boundary"));
    }
    let mut rest = match find(body, &mark) {
        Some(at) => &body[at + mark.len()..],
        None => return Err(broken("its boundary never comes")),
    };
    let closing = [b"\r\n", mark.as_slice()].concat();
    let mut parts = Vec::new();
    while !rest.starts_with(b"--") {
        rest = rest
            .strip_prefix(b"\r\n")
            .ok_or_else(|| broken("no line break after a boundary"))?;
        let head_end = find(rest, b"\r\n\r\n").ok_or_else(|| broken("a part without a head"))?;
        let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
        rest = &rest[head_end + 4..];
        let end = find(rest, &closing).ok_or_else(|| broken("a part without an end"))?;
        let name = head.split(';').find_map(|field| {
            let value = field.trim().strip_prefix("name=\"")?;
            value.split('"').next()
        });
        let name = name
            .ok_or_else(|| broken("a part without a name"))?
            .to_owned();
        parts.push(Part {
            name,
            is_file: head.contains("filename="),
            content: &rest[..end],
        });
        rest = &rest[end + closing.len()..];
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parameters_settings_and_the_rest_are_told_apart() {
        let url = "query=SELECT+%7Bx:Int8%7D&param_x=5%0A&max_threads=3&wait_end_of_query=1&session_id=&database=d%26b";
        let request = Request::read(&Method::POST, url, &HeaderMap::new()).unwrap();
        assert_eq!(request.query, "SELECT {x:Int8}");
        assert_eq!(request.params, [("x".to_owned(), "5\n".to_owned())]);
        assert_eq!(
            request.settings,
            [("max_threads".to_owned(), "3".to_owned())]
        );
        assert_eq!(request.database.as_deref(), Some("d&b"));
        assert!(request.wait_end_of_query && !request.read_only);
    }

    #[test]
    fn a_setting_name_cannot_carry_sql() {
        let error = Request::read(&Method::GET, "a%3D1,b=2", &HeaderMap::new()).unwrap_err();
        assert_eq!(error.code, 115);
    }

    #[test]
    fn basic_and_bearer_give_the_secret() {
        for (value, user) in [
            ("Basic ZGVmYXVsdDpzM2NyZXQ=", Some("default")),
            ("Bearer s3cret", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            let request = Request::read(&Method::GET, "", &headers).unwrap();
            assert_eq!(request.secret.as_deref(), Some("s3cret"));
            assert_eq!(request.user.as_deref(), user);
        }
    }

    #[test]
    fn a_form_is_taken_apart_and_a_cut_one_is_refused() {
        let body = b"--X\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT 1\r\n\r\n--X\r\nContent-Disposition: form-data; name=\"param_a\"\r\nContent-Type: text/plain\r\n\r\n\r\n--X--\r\n";
        let parts = multipart(body, "X").unwrap();
        assert_eq!(
            (parts[0].name.as_str(), parts[0].content),
            ("query", b"SELECT 1\r\n".as_slice())
        );
        assert_eq!(
            (parts[1].name.as_str(), parts[1].content),
            ("param_a", b"".as_slice())
        );
        assert!(!parts[0].is_file);
        for end in 0..body.len() - 4 {
            assert!(multipart(&body[..end], "X").is_err(), "cut at {end}");
        }
    }
}
