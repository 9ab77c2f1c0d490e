//! The HTTP client of the supervisor and of the commands: one request, one answer, each with a limit.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{Method, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

/// How long a request may take unless told otherwise.
const LIMIT: Duration = Duration::from_secs(5);

/// Why a call gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL can't be used.
    #[error("`{url}` is no address of a job: expected http://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nothing answers.
    #[error("no job answers at http://{authority}: {reason}")]
    Unreachable {
        /// Where we looked.
        authority: String,
        /// What the system said.
        reason: String,
    },
    /// It answered with an error.
    #[error("{reason} (HTTP {status})")]
    Refused {
        /// Status code.
        status: u16,
        /// Its words.
        reason: String,
    },
    /// It answered something else.
    #[error("http://{authority} answered something unexpected: {reason}")]
    Answer {
        /// Where we asked.
        authority: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A server, and what every request to it carries.
#[derive(Clone, Debug)]
pub struct Client {
    authority: String,
    token: String,
    limit: Duration,
}

impl Client {
    /// A server on this machine.
    #[must_use]
    pub fn of(address: SocketAddr, token: &str) -> Self {
        Self {
            authority: address.to_string(),
            token: token.to_owned(),
            limit: LIMIT,
        }
    }

    /// The server at `http://HOST:PORT`.
    ///
    /// # Errors
    /// It is another kind of URL. TLS is for a proxy in front of the job; this client speaks none.
    pub fn at(url: &str, token: &str) -> Result<Self, ClientError> {
        let authority = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'));
        let usable = |a: &&str| {
            a.parse::<axum::http::uri::Authority>()
                .is_ok_and(|a| a.port().is_some())
        };
        match authority.filter(usable) {
            Some(authority) => Ok(Self {
                authority: authority.to_owned(),
                token: token.to_owned(),
                limit: LIMIT,
            }),
            None => Err(ClientError::Url {
                url: url.to_owned(),
            }),
        }
    }

    /// The same server with another limit on a whole request.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self {
            limit,
            ..self.clone()
        }
    }

    /// `http://HOST:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// GETs a path with its query.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`]; every status is an answer.
    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.request(Method::GET, path, None).await
    }

    /// POSTs JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.unexpected(&error))?;
        self.request(Method::POST, path, Some(body)).await
    }

    /// Sends a request.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        json: Option<Vec<u8>>,
    ) -> Result<Answer, ClientError> {
        tokio::time::timeout(self.limit, self.exchange(method, path, json))
            .await
            .unwrap_or_else(|_| {
                Err(format!("no answer within {} s", self.limit.as_secs_f32()).into())
            })
            .map_err(|error| ClientError::Unreachable {
                authority: self.authority.clone(),
                reason: error.to_string(),
            })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        json: Option<Vec<u8>>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::CONNECTION, "close");
        if !self.token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        }
        if json.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(json.unwrap_or_default())))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            Ok(Answer { status, body })
        };
        // The connection moves the bytes for as long as the answer is waited for.
        let moved = async {
            match connection.await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        tokio::select! {
            answer = answer => answer,
            error = moved => Err(error.into()),
        }
    }

    /// The body of a good answer.
    ///
    /// # Errors
    /// Any of [`ClientError`]; [`ClientError::Refused`] for a status that is no success, with the server's reason.
    pub fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, ClientError> {
        let answer = Self::accepted(answer)?;
        serde_json::from_slice(&answer.body).map_err(|error| self.unexpected(&error))
    }

    /// The answer, if its status is a success.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's reason.
    pub fn accepted(answer: &Answer) -> Result<&Answer, ClientError> {
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let said: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
        let reason = said.as_ref().and_then(|said| said["error"].as_str());
        Err(ClientError::Refused {
            status: answer.status,
            reason: reason.map_or_else(|| answer.text().trim().to_owned(), str::to_owned),
        })
    }

    fn unexpected(&self, error: &serde_json::Error) -> ClientError {
        ClientError::Answer {
            authority: self.authority.clone(),
            reason: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_plain_http_with_a_port_is_taken() {
        for url in [
            "http://127.0.0.1:8090",
            "http://job.example:80/",
            "http://[::1]:8090",
        ] {
            assert!(Client::at(url, "").is_ok(), "{url}");
        }
        for url in [
            "",
            "127.0.0.1:8090",
            "https://h:1",
            "http://h",
            "http://",
            "http://h:1/path x",
        ] {
            assert!(Client::at(url, "").is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn an_absent_server_is_named() {
        // Port 1 of loopback: nothing listens there.
        let client = Client::at("http://127.0.0.1:1", "").unwrap();
        let error = client.get("/healthz").await.unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:1"), "{error}");
    }

    #[test]
    fn a_refusal_carries_the_reason_of_the_server() {
        let answer = |body: &'static str| Answer {
            status: 409,
            body: Bytes::from_static(body.as_bytes()),
        };
        let told = Client::accepted(&answer("{\"error\":\"it restarts\"}")).unwrap_err();
        assert_eq!(told.to_string(), "it restarts (HTTP 409)");
        let told = Client::accepted(&answer("no\n")).unwrap_err();
        assert_eq!(told.to_string(), "no (HTTP 409)");
    }
}
