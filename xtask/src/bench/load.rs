//! A closed loop: each client sends its next request when it has read the answer to the one before.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{http::Connection, process::interrupted};

/// Unmeasured time before each measurement, in which connections open and caches fill.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long after the end a last answer may still come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the load goes and for how long.
pub(super) struct Load {
    /// The server.
    pub(super) address: SocketAddr,
    /// Length of a measurement.
    pub(super) time: Duration,
}

/// What came out of a measurement.
pub(super) struct Measured {
    /// Time of every successful answer that ended within the measurement, in microseconds, ascending.
    latencies: Vec<u32>,
    /// Answers other than 2xx, and broken connections.
    pub(super) errors: u64,
    time: Duration,
    /// The first error, for the reader.
    pub(super) first_error: Option<String>,
}

impl Measured {
    pub(super) fn new(mut latencies: Vec<u32>, time: Duration) -> Self {
        latencies.sort_unstable();
        Self { latencies, errors: 0, time, first_error: None }
    }

    /// Successful answers per second.
    pub(super) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    /// The latency that this share of the answers did not exceed, in milliseconds.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let index = (self.latencies.len() as f64 * share).ceil() as usize;
        let found = self.latencies.get(index.clamp(1, self.latencies.len().max(1)) - 1);
        f64::from(found.copied().unwrap_or_default()) / 1_000.0
    }
}

#[derive(Default)]
struct Client {
    latencies: Vec<u32>,
    errors: u64,
    first_error: Option<String>,
}

impl Load {
    /// Loads the server with so many clients. `requests` gives each client, by number, what makes its requests.
    pub(super) async fn run<R: FnMut() -> Vec<u8> + Send + 'static>(
        &self,
        clients: usize,
        requests: impl Fn(usize) -> R,
    ) -> Result<Measured> {
        let from = Instant::now() + WARM_UP;
        let until = from + self.time;
        let mut running = tokio::task::JoinSet::new();
        for number in 0..clients {
            running.spawn(client(self.address, requests(number), from, until));
        }
        let mut measured = Measured::new(Vec::new(), self.time);
        while let Some(client) = running.join_next().await {
            let client = client?;
            measured.latencies.extend(client.latencies);
            measured.errors += client.errors;
            measured.first_error = measured.first_error.or(client.first_error);
        }
        if interrupted() {
            bail!("interrupted");
        }
        measured.latencies.sort_unstable();
        Ok(measured)
    }
}

async fn client(address: SocketAddr, mut next: impl FnMut() -> Vec<u8>, from: Instant, until: Instant) -> Client {
    let mut connection = Connection::new(address);
    let mut client = Client::default();
    loop {
        let request = next();
        let sent = Instant::now();
        if sent >= until || interrupted() {
            return client;
        }
        let error = match tokio::time::timeout_at((until + PATIENCE).into(), connection.exchange(&request)).await {
            Ok(Ok(answer)) if (200..300).contains(&answer.status) => None,
            Ok(Ok(answer)) => Some(format!("{}: {}", answer.status, String::from_utf8_lossy(answer.body))),
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => {
                client.errors += 1;
                client.first_error.get_or_insert_with(|| format!("no answer until {PATIENCE:?} after the end"));
                return client;
            }
        };
        let now = Instant::now();
        let counts = now >= from && now < until;
        match error {
            None if counts => client.latencies.push(u32::try_from((now - sent).as_micros()).unwrap_or(u32::MAX)),
            None => {}
            Some(error) => {
                client.errors += u64::from(counts);
                client.first_error.get_or_insert(error);
                // A server in trouble must not be asked as fast as this machine can
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Measured;
    use std::time::Duration;

    #[test]
    fn quantiles_are_the_smallest_value_that_covers_the_share() {
        let measured = Measured::new((1..=100).rev().map(|ms| ms * 1_000).collect(), Duration::from_secs(2));
        assert_eq!((measured.quantile(0.5), measured.quantile(0.99), measured.quantile(1.0)), (50.0, 99.0, 100.0));
        assert_eq!(measured.per_second(), 50.0);
    }

    #[test]
    fn nothing_measured_is_zero() {
        let none = Measured::new(Vec::new(), Duration::from_secs(1));
        assert_eq!((none.quantile(0.99), none.per_second()), (0.0, 0.0));
    }
}
