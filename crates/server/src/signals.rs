//! Being told to stop.

/// Ready at the first SIGTERM or SIGINT (Ctrl-C). A second one ends the process at once.
///
/// The signals are caught from this call on, not only once the future is polled: whoever was told that the server
/// listens may tell it to stop at once.
pub fn told_to_stop() -> impl Future<Output = ()> + Send {
    let mut signals = Signals::caught();
    async move {
        signals.next().await;
        tracing::info!("told to stop; finishing what has begun");
        tokio::spawn(async move {
            signals.next().await;
            tracing::warn!("told to stop again; stopping at once");
            std::process::exit(130);
        });
    }
}

#[cfg(unix)]
struct Signals(Option<[tokio::signal::unix::Signal; 2]>);

#[cfg(unix)]
impl Signals {
    fn caught() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => Self(Some([terminate, interrupt])),
            _ => {
                tracing::error!("cannot wait for signals; only a kill stops this server");
                Self(None)
            }
        }
    }

    async fn next(&mut self) {
        let Some([terminate, interrupt]) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn caught() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
