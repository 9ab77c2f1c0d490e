//! The least of an HTTP/1.1 client: one request to loopback, one answer, each with a limit. It keeps this crate blocking,
//! so that tests may call it inside an async runtime or not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A server on this machine: where it is, and what every request to it carries.
#[derive(Clone, Debug)]
pub struct Server {
    address: SocketAddr,
    headers: Vec<(String, String)>,
}

impl Server {
    /// A server at an address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            headers: Vec::new(),
        }
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `http://HOST:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// GETs a path.
    ///
    /// # Errors
    /// When the server can't be reached or does not answer within `limit` at each step.
    pub fn get(&self, path: &str, limit: Duration) -> Result<Response> {
        self.request("GET", path, b"", limit)
    }

    /// POSTs a body to a path.
    ///
    /// # Errors
    /// As [`Server::get`].
    pub fn post(&self, path: &str, body: &[u8], limit: Duration) -> Result<Response> {
        self.request("POST", path, body, limit)
    }

    fn request(&self, method: &str, path: &str, body: &[u8], limit: Duration) -> Result<Response> {
        let ask = || -> Result<Response> {
            let mut stream = TcpStream::connect_timeout(&self.address, limit)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(limit))?;
            stream.set_write_timeout(Some(limit))?;
            let mut head = format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
                self.address,
                body.len()
            );
            for (name, value) in &self.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            stream.write_all(head.as_bytes())?;
            stream.write_all(body)?;
            read_response(BufReader::new(stream))
        };
        ask().with_context(|| format!("{method} {}{path}", self.url()))
    }
}

fn read_response(mut reader: impl BufRead) -> Result<Response> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("not an HTTP status line: {line:?}"))?;
    let mut length = None;
    let mut chunked = false;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            bail!("the connection closed in the middle of the headers");
        }
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or((header, ""));
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<u64>().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.to_ascii_lowercase().contains("chunked");
        }
    }
    let mut body = Vec::new();
    if chunked {
        read_chunks(&mut reader, &mut body)?;
    } else if let Some(length) = length {
        let read = reader.take(length).read_to_end(&mut body)?;
        if (read as u64) < length {
            bail!("the connection closed after {read} of {length} bytes");
        }
    } else {
        reader.read_to_end(&mut body)?;
    }
    Ok(Response { status, body })
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let digits = line.trim_end().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(digits, 16)
            .with_context(|| format!("the answer broke off: no chunk size in {line:?}"))?;
        if size == 0 {
            return Ok(());
        }
        let read = reader.by_ref().take(size).read_to_end(body)?;
        if (read as u64) < size {
            bail!("the connection closed in the middle of a chunk");
        }
        line.clear();
        reader.read_line(&mut line)?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(bytes: &[u8]) -> Result<Response> {
        read_response(BufReader::new(bytes))
    }

    #[test]
    fn a_body_comes_by_length_by_chunks_or_until_the_end() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, more",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=1\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nhello",
        ] {
            let response = read(answer.as_bytes()).unwrap();
            assert_eq!((response.status, response.text().as_str()), (200, "hello"));
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_an_error() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nContent-",
            "",
        ] {
            assert!(read(answer.as_bytes()).is_err(), "{answer:?}");
        }
    }
}
