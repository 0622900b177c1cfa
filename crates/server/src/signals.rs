//! Being told to stop.

/// Ready at the first SIGTERM or SIGINT (Ctrl-C). A second one ends the process at once.
pub async fn told_to_stop() {
    wait().await;
    tracing::info!("told to stop; finishing what has begun");
    tokio::spawn(async {
        wait().await;
        tracing::warn!("told to stop again; stopping at once");
        std::process::exit(130);
    });
}

#[cfg(unix)]
async fn wait() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot wait for signals; only a kill stops this server");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn wait() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
