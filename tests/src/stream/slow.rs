//! A reader that never reads is cut off, with its reason; nobody else notices.

use std::time::Duration;

use tokio::net::TcpSocket;

use super::Socket;
use super::checker::Checker;
use crate::harness::*;

on_both_backends! {
    async fn a_reader_that_never_reads_is_cut_off_and_others_see_everything(world: World) {
        let admin = world.admin().await;
        let agent = world.agent(1_000_000_000).await;
        let lease = agent.borrow(100_000_000).await;
        let (checker, task) = Checker::start(&admin, None);
        // Little room on its side, so that it does not take megabytes to fill
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
        let url = admin.url("/ws");
        let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).expect("an address");
        let stream = socket.connect(address.parse().expect("an address")).await.expect("connected");
        let bearer = format!("Bearer {}", admin.token().expect("logged in"));
        let mut never = Socket::over(stream, &url, &[("authorization", &bearer)]).await.expect("let in");
        assert_eq!(never.next().await["type"], "AUTH_OK");
        let mut worst = Duration::ZERO;
        let mut cut = false;
        for batch in 0..200 {
            let reports = (0..500).map(|call| json!({
                "request_id": format!("b{batch}-{call}"), "tokens": 1, "cost_microdollars": 1,
                "model": "a-model-with-a-name", "provider": "p",
            }));
            let body = json!({"lease_id": lease.id, "reports": reports.collect::<Vec<_>>()});
            agent.client.post("budget/report/batch", body).await.expect(200);
            let committed = tokio::time::Instant::now();
            checker.catch_up(&admin).await;
            worst = worst.max(committed.elapsed());
            let metrics = world.anon().get("/metrics").await.text;
            cut = metrics.contains("stream_cut_total{reason=\"slow\"} 1");
            if cut {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(cut, "never cut off");
        assert!(worst < Duration::from_secs(3), "the other reader waited for {worst:?}");
        // It reads now, and learns why, in the time it is given
        let end = never.end().await;
        assert_eq!((end.error.as_deref(), end.close), (Some("READER_TOO_SLOW"), Some(4409)));
        assert!(!task.is_finished(), "the checker has found fault");
        checker.catch_up(&admin).await;
        checker.stop();
        task.await.expect("no fault");
    }
}
