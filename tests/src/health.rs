//! The server starts, says how it is, and comes back after being killed.

use crate::harness::*;

on_both_backends! {
    async fn a_started_server_is_healthy(world: World) {
        let health = world.anon().get("/api/health").await.expect(200);
        assert_eq!(health.text("status"), "healthy");
        assert_eq!(health["services"]["database"], "healthy");
        assert!(health.int("timestamp") > 1_600_000_000);
    }

    async fn a_killed_server_starts_again_on_its_data(world: World) {
        world.server.kill().await;
        world.server.start_again().await;
        assert_eq!(world.anon().get("/readyz").await.expect(200).text("status"), "ready");
    }

    async fn a_server_told_to_stop_ends_well(world: World) {
        let status = world.server.stop().await;
        assert!(status.success(), "{status}\n{}", world.server.log());
    }
}
