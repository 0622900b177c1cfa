//! A very small HTTP/1.1 client on one kept-alive connection: enough to set a server up and to load it.
//!
//! The load generator shares the machine with the server it measures, so a request is one buffer written and one
//! answer read, parsed by `httparse`, and nothing else.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longest wait for an answer of the API.
const PATIENCE: Duration = Duration::from_secs(60);

/// A whole request, ready to be written.
pub(crate) fn request(method: &str, path: &str, bearer: Option<&str>, body: Option<&str>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
    if let Some(token) = bearer {
        text += &format!("authorization: Bearer {token}\r\n");
    }
    if let Some(body) = body {
        text += &format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    } else if method == "GET" {
        text += "\r\n";
    } else {
        text += "content-length: 0\r\n\r\n";
    }
    text.into_bytes()
}

/// What the head of an answer says about it.
struct Head {
    status: u16,
    /// Bytes of the head.
    length: usize,
    /// Bytes of the body.
    body: usize,
    /// The server closes the connection after this answer.
    last: bool,
    /// Seconds to wait before asking again, where the server said so.
    retry_after: Option<u64>,
}

impl Head {
    /// `None` while it is not complete.
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(bytes)? else { return Ok(None) };
        let status = response.code.context("an answer without a status")?;
        let mut head = Self { status, length, body: 0, last: false, retry_after: None };
        for header in response.headers.iter() {
            let value = || std::str::from_utf8(header.value).map(str::trim);
            if header.name.eq_ignore_ascii_case("content-length") {
                head.body = value()?.parse().context("content-length is no number")?;
            } else if header.name.eq_ignore_ascii_case("connection") {
                head.last = value()?.eq_ignore_ascii_case("close");
            } else if header.name.eq_ignore_ascii_case("retry-after") {
                head.retry_after = value()?.parse().ok();
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                bail!("an answer with a transfer encoding is not understood here");
            }
        }
        Ok(Some(head))
    }
}

/// An answer, lent until the next request.
pub(crate) struct Answer<'a> {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body as it came.
    pub(crate) body: &'a [u8],
    retry_after: Option<u64>,
}

/// One connection, opened again when the server has closed it.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// A connection that will be opened with the first request.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: Vec::with_capacity(8 * 1024) }
    }

    /// Writes a request and reads its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        let answered = Self::answer(stream, &mut self.buffer, request).await;
        // After an error nobody knows what is still in the pipe
        if !matches!(&answered, Ok(head) if !head.last) {
            self.stream = None;
        }
        let head = answered?;
        let body = &self.buffer[head.length..head.length + head.body];
        Ok(Answer { status: head.status, body, retry_after: head.retry_after })
    }

    async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>, request: &[u8]) -> Result<Head> {
        stream.write_all(request).await?;
        buffer.clear();
        let mut head = None;
        loop {
            if stream.read_buf(buffer).await? == 0 {
                bail!("the server closed the connection in the middle of an answer");
            }
            if head.is_none() {
                head = Head::parse(buffer)?;
            }
            if let Some(head) = head.take_if(|head| buffer.len() >= head.length + head.body) {
                return Ok(head);
            }
        }
    }
}

/// Somebody who calls the API.
pub(crate) struct Caller {
    connection: Connection,
    bearer: Option<String>,
}

impl Caller {
    /// A caller without credentials.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { connection: Connection::new(address), bearer: None }
    }

    /// Sends this bearer token with every request from now on.
    pub(crate) fn authorize(&mut self, token: String) {
        self.bearer = Some(token);
    }

    /// The bearer token that is sent, if any.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    /// The token it sends.
    pub(crate) fn token(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    /// Calls `/api/v1/{path}`. Waits and repeats where the server asks for patience (429, 503).
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let body = body.map(Value::to_string);
        let request = request(method, &format!("/api/v1/{path}"), self.bearer.as_deref(), body.as_deref());
        loop {
            let answer = tokio::time::timeout(PATIENCE, self.connection.exchange(&request)).await;
            let answer = answer.with_context(|| format!("{method} {path}: no answer within {PATIENCE:?}"))??;
            if let (429 | 503, Some(seconds)) = (answer.status, answer.retry_after) {
                tokio::time::sleep(Duration::from_secs(seconds.clamp(1, 60))).await;
                continue;
            }
            let body = if answer.body.is_empty() { Value::Null } else { serde_json::from_slice(answer.body)? };
            return Ok((answer.status, body));
        }
    }

    /// As [`Caller::call`], where anything but success is an error.
    pub(crate) async fn expect(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.call(method, path, body).await?;
        if !(200..300).contains(&status) {
            bail!("{method} {path} answered {status}: {answer}");
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, request};

    #[test]
    fn a_request_states_the_length_of_its_body() {
        let text = String::from_utf8(request("POST", "/x", Some("t"), Some("{}"))).unwrap();
        assert!(text.starts_with("POST /x HTTP/1.1\r\n"));
        assert!(text.ends_with("content-length: 2\r\n\r\n{}"));
        assert!(text.contains("\r\nauthorization: Bearer t\r\n"));
    }

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let bytes = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 5\r\nretry-after: 3\r\n\r\nhello";
        assert!(Head::parse(&bytes[..40]).unwrap().is_none());
        let head = Head::parse(bytes).unwrap().unwrap();
        assert_eq!((head.status, head.body, head.retry_after, head.last), (429, 5, Some(3), false));
        assert_eq!(&bytes[head.length..], b"hello");
    }
}
