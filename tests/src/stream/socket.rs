//! A WebSocket client that takes one frame after the other.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::*;

/// Longest wait for a frame.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to the stream.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// The subprotocol that the server chose.
    pub(crate) protocol: Option<String>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The code of the last `ERROR`.
    pub(crate) error: Option<String>,
    /// The code of the close; `None` where the connection just broke.
    pub(crate) close: Option<u16>,
}

impl Socket {
    /// Opens a connection to that path of the server; the status where it is refused.
    pub(crate) async fn open(client: &Client, path: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        Self::try_open(client, path, headers).await.map_err(|status| status.expect("the server answers"))
    }

    /// The same where the server may be gone: `None` instead of a status.
    pub(crate) async fn try_open(client: &Client, path: &str, headers: &[(&str, &str)]) -> Result<Self, Option<u16>> {
        let url = client.url(path);
        let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).expect("an address");
        let stream = TcpStream::connect(address).await.map_err(|_| None)?;
        Self::over(stream, &url, headers).await
    }

    /// The same over a connection that is open.
    pub(crate) async fn over(stream: TcpStream, url: &str, headers: &[(&str, &str)]) -> Result<Self, Option<u16>> {
        let mut request = url.replacen("http", "ws", 1).into_client_request().expect("a request");
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        match client_async(request, stream).await {
            Ok((stream, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                Ok(Self { stream, protocol: protocol.and_then(|p| p.to_str().ok()).map(str::to_owned) })
            }
            Err(Error::Http(response)) => Err(Some(response.status().as_u16())),
            Err(_) => Err(None),
        }
    }

    /// A connection that has shown this token and subscribes to everything visible; and the `AUTH_OK`.
    pub(crate) async fn authenticated(client: &Client, token: &str) -> (Self, Value) {
        let mut socket = Self::open(client, "/ws", &[]).await.expect("let in");
        socket.say(json!({"type": "AUTH", "token": token})).await;
        let hello = socket.next().await;
        assert_eq!(hello["type"], "AUTH_OK", "{hello}");
        (socket, hello)
    }

    /// The same with a subscription of its own, which was confirmed.
    pub(crate) async fn subscribed(client: &Client, token: &str, mut wish: Value) -> Self {
        let mut socket = Self::open(client, "/ws", &[]).await.expect("let in");
        socket.say(json!({"type": "AUTH", "token": token, "subscribe": false})).await;
        assert_eq!(socket.next().await["type"], "AUTH_OK");
        wish["type"] = "SUBSCRIBE".into();
        socket.say(wish).await;
        let answer = socket.next().await;
        assert_eq!(answer["type"], "SUBSCRIBED", "{answer}");
        socket
    }

    pub(crate) async fn say(&mut self, frame: Value) {
        let _ = self.stream.send(Message::text(frame.to_string())).await;
    }

    pub(crate) async fn say_bytes(&mut self, bytes: &'static [u8]) {
        let _ = self.stream.send(Message::Binary(Bytes::from_static(bytes))).await;
    }

    /// The next text frame; `Err` with how it ended where there is none.
    pub(crate) async fn try_next(&mut self) -> Result<Value, Ended> {
        loop {
            let broken = Ended { error: None, close: None };
            match timeout(PATIENCE, self.stream.next()).await.expect("a frame within 20 seconds") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => {
                    // Answered, so that the server knows that we have understood
                    let _ = self.stream.flush().await;
                    return Err(Ended { close: frame.map(|frame| frame.code.into()), ..broken });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(broken),
            }
        }
    }

    /// The next text frame.
    pub(crate) async fn next(&mut self) -> Value {
        self.try_next().await.unwrap_or_else(|end| panic!("a frame was expected: {end:?}"))
    }

    /// The next event of that name, whatever lies before it.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["event"] == name {
                return frame;
            }
        }
    }

    /// How it ends, whatever comes before.
    pub(crate) async fn end(&mut self) -> Ended {
        let mut error = None;
        loop {
            match self.try_next().await {
                Ok(frame) if frame["type"] == "ERROR" => error = Some(frame.text("code").to_owned()),
                Ok(_) => {}
                Err(end) => return Ended { error, ..end },
            }
        }
    }
}
