//! Bytes that are hardly HTTP, and clients that go away.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::books::{Books, books};
use crate::harness::*;

/// Sends these bytes on a connection of their own and reads what comes, for a while.
async fn send(world: &World, bytes: &[u8]) -> String {
    let url = world.server.url();
    let address = url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // The server may hang up in the middle of it
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(std::time::Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "no end of the answer to {:?}", String::from_utf8_lossy(bytes));
    String::from_utf8_lossy(&answer).into_owned()
}

on_both_backends! {
    async fn what_is_not_http_harms_nobody(world: World) {
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000));
        let fat = format!("GET /api/health HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(1_000_000));
        let many = format!("GET /api/health HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(5_000));
        let post = "POST /api/v1/budget/report HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
        let cases: Vec<Vec<u8>> = vec![
            b"".to_vec(), b"\r\n\r\n".to_vec(), b"rubbish\r\n\r\n".to_vec(), b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), b"GET / HTTP/9.9\r\n\r\n".to_vec(),
            b"GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"GET /api/health HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n".to_vec(),
            format!("{post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}x").into_bytes(),
            format!("{post}Content-Length: 99999999999999999999\r\n\r\n{{}}").into_bytes(),
            format!("{post}Content-Length: -1\r\n\r\n{{}}").into_bytes(),
            format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n0\r\n\r\n").into_bytes(),
            format!("{post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n").into_bytes(),
            format!("{post}Transfer-Encoding: gzip\r\n\r\n{{}}").into_bytes(),
            format!("{post}Content-Length: 1000\r\n\r\n{{\"lease_id\":").into_bytes(),
            format!("{post}Content-Length: 1000000000000\r\n\r\n{{").into_bytes(),
            long.into_bytes(), fat.into_bytes(), many.into_bytes(),
        ];
        for case in cases {
            let answer = send(&world, &case).await;
            let status = answer.split(' ').nth(1).unwrap_or_default();
            let shown = String::from_utf8_lossy(&case[..case.len().min(60)]).into_owned();
            assert!(status.is_empty() || status.starts_with('4'), "{shown:?}: {answer}");
        }
        world.anon().get("/readyz").await.expect(200);
        assert!(!world.server.log().contains("panicked"));
    }

    async fn a_client_that_goes_away_leaves_all_or_nothing(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(100_000).await;
        let mut sent = Vec::new();
        for number in 0..40_usize {
            let body = json!({
                "lease_id": lease.id, "request_id": format!("call-{number}"), "tokens": 1, "cost_microdollars": 7,
                "model": "m", "provider": "p",
            })
            .to_string();
            let text = format!(
                "POST /api/v1/budget/report HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let url = world.server.url();
            let address = url.strip_prefix("http://").expect("an address").to_owned();
            // Half of them say half of it; nobody waits for an answer
            let part = if number % 2 == 0 { text.len() } else { text.len() - 1 - number };
            let mut stream = TcpStream::connect(&address).await.expect("connected");
            stream.write_all(&text.as_bytes()[..part]).await.expect("sent");
            drop(stream);
            if number % 2 == 1 {
                sent.push(format!("call-{number}"));
            }
        }
        // What was cut short was never booked; what was said in full may have been: asking again settles it
        for number in 0..40 {
            let answer = lease.report(&format!("call-{number}"), 7).await.expect(200);
            let cut = sent.contains(&format!("call-{number}"));
            assert!(!(cut && answer.flag("duplicate")), "half a report was booked");
        }
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 280, 99_720, 0));
        crate::books::verify(&world).await;
    }
}
