//! A reader that never reads is cut off, with its reason; nobody else notices.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::Socket;
use super::checker::Checker;
use crate::harness::*;

/// A connection with little room on its side, so that it does not take megabytes to fill.
async fn narrow(url: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).expect("an address");
    socket.connect(address.parse().expect("an address")).await.expect("connected")
}

/// Lets things happen until the one who does not read is cut off, while somebody else demands every event in its order,
/// without hole or duplicate and on one connection. The last place there is then.
async fn until_cut(world: &World, admin: &Client) -> i64 {
    let agent = world.agent(1_000_000_000).await;
    let lease = agent.borrow(100_000_000).await;
    let (checker, task) = Checker::start(admin, None);
    for batch in 0..200 {
        let reports = (0..500).map(|call| {
            json!({
                "request_id": format!("b{batch}-{call}"), "tokens": 1, "cost_microdollars": 1,
                "model": "a-model-with-a-name", "provider": "p",
            })
        });
        let body = json!({"lease_id": lease.id, "reports": reports.collect::<Vec<_>>()});
        agent.client.post("budget/report/batch", body).await.expect(200);
        let head = checker.catch_up(admin).await;
        assert!(!task.is_finished(), "the checker has found fault");
        if world.anon().get("/metrics").await.text.contains("stream_cut_total{reason=\"slow\"} 1") {
            checker.stop();
            task.await.expect("no fault");
            let seen = checker.seen.lock().expect("not poisoned");
            assert_eq!((seen.events.len() as i64, seen.connections), (seen.last, 1), "everything, on one connection");
            return head;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("never cut off");
}

on_both_backends! {
    async fn a_socket_that_never_reads_is_cut_off_and_others_see_everything(world: World) {
        let admin = world.admin().await;
        let url = admin.url("/ws");
        let bearer = format!("Bearer {}", admin.token().expect("logged in"));
        let mut never = Socket::over(narrow(&url).await, &url, &[("authorization", &bearer)]).await.expect("let in");
        assert_eq!(never.next().await["type"], "AUTH_OK");
        until_cut(&world, &admin).await;
        // It reads now, and learns why, in the time it is given
        let end = never.end().await;
        assert_eq!((end.error.as_deref(), end.close), (Some("READER_TOO_SLOW"), Some(4409)));
    }

    async fn server_sent_events_that_nobody_reads_end_with_their_reason(world: World) {
        let admin = world.admin().await;
        let url = admin.url("/api/v1/events/stream");
        let mut never = narrow(&url).await;
        let token = admin.token().expect("logged in");
        let request = format!(
            "GET /api/v1/events/stream HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        never.write_all(request.as_bytes()).await.expect("sent");
        let mut start = [0; 12];
        never.read_exact(&mut start).await.expect("an answer");
        assert_eq!(&start, b"HTTP/1.1 200");
        let head = until_cut(&world, &admin).await;
        let mut text = Vec::new();
        never.read_to_end(&mut text).await.expect("closed in good order");
        let text = String::from_utf8_lossy(&text);
        let last = text.rfind("event: ").map(|at| &text[at..]).unwrap_or_default();
        assert!(last.starts_with("event: ERROR\n") && last.contains("READER_TOO_SLOW"), "{last}");
        assert!(last.ends_with("0\r\n\r\n"), "the end of the response: {last:?}");
        assert!(!text.contains(&format!("\"seq\":{head},")), "it has not read to the end");
    }
}
