//! What a connection waits for beside its frames.

use tokio::sync::watch;

use super::Done;
use crate::log::Boxed;
use crate::pass::{Pass, Standing};
use crate::sight::Sight;

/// What a job comes to; never, where there is none.
pub(super) async fn pending_or(job: &mut Option<Boxed<'static, Done>>) -> Done {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}

/// Waits until somebody's rights have been looked at.
pub(super) async fn checked(pass: &mut Option<Pass>) {
    match pass {
        Some(pass) => pass.checked().await,
        None => std::future::pending().await,
    }
}

/// Waits until the hub closes.
pub(super) async fn told(closing: &mut watch::Receiver<bool>) {
    if closing.wait_for(|closing| *closing).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What somebody sees, as soon as that is known.
pub(super) async fn sight_of(mut pass: Pass) -> Sight {
    loop {
        match pass.standing() {
            Some(Standing::Sees(sight)) => return sight,
            // Told by whoever looks at it next
            Some(Standing::Ended(_)) => return Sight::of([]),
            None => pass.checked().await,
        }
    }
}
