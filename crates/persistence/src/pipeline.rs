//! The write pipeline: one queue, group commit.
//!
//! Requests put their commands into one bounded queue. A single task takes whatever has arrived, runs it in one
//! transaction with a fixed number of statements, commits once, and answers everybody when that is durable. On the embedded
//! database the next batch is run while the disk is busy with the last. A full queue is refused at once instead of growing.
//!
//! On PostgreSQL there may be several such queues, *lanes*, to which each other is what another server is: one for small
//! requests, which gain by being committed together, and others for large ones, which small ones then need not wait for.

use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use kernel::{Clock, Entropy};
use ledger::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::db::MAX_LANES;
use crate::engine::{Answer, Item, Warm};
use crate::meter::Meter;
use crate::store::Store;
use crate::work::Untold;
use crate::{Backend, StoreError};

/// How the pipeline is set up.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// How many requests may wait in each lane; more are refused as overloaded.
    pub queue: usize,
    /// From so many commands on, no more requests are taken into a batch.
    pub batch: usize,
    /// How many batches may be under way at once, 1 to 8; on SQLite it is always one.
    pub lanes: usize,
    /// How long a lease stays active after a sign of life, milliseconds.
    pub lease_ttl_ms: i64,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        Self { queue: 4_096, batch: 1_024, lanes: 1, lease_ttl_ms: 21_600_000 }
    }
}

/// What one batch was like, for the metrics.
#[derive(Clone, Copy, Debug)]
pub struct BatchStats {
    /// How many commands it had.
    pub commands: usize,
    /// How many requests were still waiting when it was begun.
    pub waiting: usize,
    /// From taking the commands to durable.
    pub took: Duration,
    /// Whether it was committed.
    pub committed: bool,
}

/// Told of every batch.
pub type Observer = Arc<dyn Fn(BatchStats) + Send + Sync>;

type Reply = Result<Vec<Answer>, StoreError>;

/// So many batches at most are committed and not yet answered, beside the one that is.
const UNANSWERED: usize = 2;
/// From so many commands on, a request goes through a lane for large ones.
const MANY: usize = 32;

struct Job {
    items: Vec<Item>,
    reply: oneshot::Sender<Reply>,
}

/// The way into the pipeline.
#[derive(Clone)]
pub struct Pipeline {
    lanes: Arc<[mpsc::Sender<Job>]>,
    /// Of each lane.
    capacity: usize,
}

impl Pipeline {
    /// Starts the pipeline's task. It ends when every handle is gone and what they sent is answered.
    pub fn start(
        store: Store,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: PipelineOptions,
        observer: Observer,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let embedded = store.backend() == Backend::Sqlite;
        let count = if embedded { 1 } else { options.lanes.clamp(1, MAX_LANES as usize) };
        let capacity = options.queue.max(1);
        let (answering, mut written) = mpsc::channel::<Written>(UNANSWERED);
        let answering = embedded.then_some(answering);
        let worker = Worker { store, clock, entropy, options, observer, answering, warm: None };
        let (lanes, mut jobs): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(capacity)).unzip();
        let task = match jobs.pop() {
            Some(jobs) if embedded => {
                let answered = tokio::spawn(async move {
                    while let Some(batch) = written.recv().await {
                        batch.answer().await;
                    }
                });
                on_its_own_thread(worker.serve(jobs), answered)
            }
            last => tokio::spawn(async move {
                let mut running = JoinSet::new();
                for jobs in jobs.into_iter().chain(last) {
                    running.spawn(worker.another().serve(jobs));
                }
                while let Some(ended) = running.join_next().await {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a lane of the write pipeline has ended");
                    }
                }
            }),
        };
        (Self { lanes: lanes.into(), capacity }, task)
    }

    /// Runs the commands in order in one transaction and returns when their effects are durable.
    pub async fn run(&self, items: Vec<Item>) -> Reply {
        let (reply, answer) = oneshot::channel();
        match self.lanes[lane(&items, self.lanes.len())].try_send(Job { items, reply }) {
            Ok(()) => answer.await.unwrap_or(Err(StoreError::Closing)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(StoreError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(StoreError::Closing),
        }
    }

    /// Runs a single command.
    pub async fn run_one(&self, item: Item) -> Result<Answer, StoreError> {
        let mut answers = self.run(vec![item]).await?;
        answers.pop().ok_or_else(|| StoreError::Corrupt("a command was not answered".to_owned()))
    }

    /// How many requests are waiting.
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| self.capacity - lane.capacity()).sum()
    }
}

/// Which of so many lanes the commands take: small requests the first, so that many are committed together; those of many
/// commands the others, by the agent or lease that the first one names.
fn lane(items: &[Item], lanes: usize) -> usize {
    let others = lanes.saturating_sub(1) as u64;
    if others == 0 || items.len() < MANY {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    match items.first().map(|item| &item.command) {
        Some(
            Command::Grant { agent, .. }
            | Command::Refresh { agent, .. }
            | Command::Event { agent, .. }
            | Command::Touch { agent },
        ) => agent.hash(&mut hasher),
        Some(
            Command::Report { lease, .. }
            | Command::Return { lease, .. }
            | Command::Expire { lease }
            | Command::Revoke { lease, .. }
            | Command::Settle { lease, .. },
        ) => lease.hash(&mut hasher),
        Some(Command::Open { .. } | Command::Adjust { .. }) | None => {}
    }
    1 + usize::try_from(hasher.finish() % others).unwrap_or(0)
}

/// Runs the task on a thread that it may block, as writing to the embedded database does, and waits for what comes after it.
/// It ends early where the handle is aborted.
fn on_its_own_thread(
    task: impl Future<Output = ()> + Send + 'static,
    after: tokio::task::JoinHandle<()>,
) -> tokio::task::JoinHandle<()> {
    let (wanted, unwanted) = oneshot::channel::<()>();
    let thread = tokio::task::spawn_blocking(move || {
        // Its waits are short, and there is nothing else on that thread
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("the write pipeline cannot be started: {error}"));
        runtime.block_on(async {
            tokio::select! {
                // First, so that nothing is taken in after the end
                biased;
                _ = unwanted => {}
                () = task => {}
            }
        });
    });
    tokio::spawn(async move {
        let _wanted = wanted;
        for part in [thread, after] {
            if let Err(error) = part.await {
                tracing::error!(%error, "the write pipeline has ended");
            }
        }
    })
}

/// What is committed together: the commands of several requests, and how many are whose.
#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    requests: Vec<Request>,
}

/// How many commands it has, and where its answer goes.
type Request = (usize, oneshot::Sender<Reply>);

impl Batch {
    fn add(&mut self, mut job: Job) {
        self.requests.push((job.items.len(), job.reply));
        self.items.append(&mut job.items);
    }
}

/// A batch that is committed, whose requests are answered when that is durable.
struct Written {
    items: Vec<Item>,
    requests: Vec<Request>,
    answers: Vec<Answer>,
    untold: Untold,
    meter: Arc<Meter>,
    seen: Seen,
}

impl Written {
    async fn answer(self) {
        let durable = self.untold.tell().await;
        self.seen.end(durable.is_ok());
        match durable {
            Ok(()) => {
                self.meter.record(&self.items);
                let mut answers = self.answers.into_iter();
                for (count, reply) in self.requests {
                    // A caller that is gone gets its answer when it repeats the request
                    let _ = reply.send(Ok(answers.by_ref().take(count).collect()));
                }
            }
            Err(error) => refuse(self.requests, error),
        }
    }
}

/// Answers every request with an error.
fn refuse(requests: Vec<Request>, error: StoreError) {
    tracing::warn!(error = &error as &dyn std::error::Error, requests = requests.len(), "batch failed");
    let transient = error.is_transient();
    let mut first = Some(error);
    for (_, reply) in requests {
        let error = match (first.take(), transient) {
            (Some(error), _) => error,
            (None, true) => StoreError::Collision,
            (None, false) => StoreError::Corrupt("a neighbour's request failed".to_owned()),
        };
        let _ = reply.send(Err(error));
    }
}

/// A batch, for whoever watches.
struct Seen {
    observer: Observer,
    started: Instant,
    commands: usize,
    waiting: usize,
}

impl Seen {
    fn end(self, committed: bool) {
        let Self { commands, waiting, .. } = self;
        (self.observer)(BatchStats { commands, waiting, took: self.started.elapsed(), committed });
    }
}

struct Worker {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    options: PipelineOptions,
    observer: Observer,
    /// Who answers, where the next batch need not wait for that.
    answering: Option<mpsc::Sender<Written>>,
    warm: Option<Warm>,
}

impl Worker {
    /// One more like this, with nothing kept.
    fn another(&self) -> Self {
        Self {
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            options: self.options.clone(),
            observer: Arc::clone(&self.observer),
            answering: None,
            warm: None,
        }
    }

    async fn serve(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.recv().await {
            let mut batch = Batch::default();
            batch.add(first);
            // Requests that became ready at the same time get to the queue before it is looked at
            tokio::task::yield_now().await;
            while batch.items.len() < self.options.batch
                && let Ok(job) = jobs.try_recv()
            {
                batch.add(job);
            }
            let observer = Arc::clone(&self.observer);
            let seen = Seen { observer, started: Instant::now(), commands: batch.items.len(), waiting: jobs.len() };
            self.process(batch, seen).await;
        }
    }

    /// Sees to it that every request is answered.
    async fn process(&mut self, batch: Batch, seen: Seen) {
        let Batch { items, requests } = batch;
        match self.commit(&items).await {
            Ok((answers, untold)) => {
                let meter = Arc::clone(&self.store.meter);
                let written = Written { items, requests, answers, untold, meter, seen };
                match &self.answering {
                    // Where whoever answers is gone, so is whoever asked
                    Some(answering) => drop(answering.send(written).await),
                    None => written.answer().await,
                }
            }
            Err(error) if requests.len() > 1 && !matches!(error, StoreError::Unavailable(_)) => {
                // One request that the database refuses must not take its neighbours with it
                tracing::warn!(%error, requests = requests.len(), "batch failed; running its requests one by one");
                let mut rest = items.as_slice();
                for (count, reply) in requests {
                    let (its_own, others) = rest.split_at(count);
                    rest = others;
                    let done = match self.commit(its_own).await {
                        Ok((answers, untold)) => untold.tell().await.map(|()| answers),
                        Err(error) => Err(error),
                    };
                    if done.is_ok() {
                        self.store.meter.record(its_own);
                    }
                    let _ = reply.send(done);
                }
                seen.end(false);
            }
            Err(error) => {
                refuse(requests, error);
                seen.end(false);
            }
        }
    }

    async fn commit(&mut self, items: &[Item]) -> Result<(Vec<Answer>, Untold), StoreError> {
        let mut tries = 0;
        loop {
            match caught(self.attempt(items)).await {
                Err(StoreError::Collision) if tries < 5 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(5 << tries)).await;
                }
                other => return other,
            }
        }
    }

    async fn attempt(&mut self, items: &[Item]) -> Result<(Vec<Answer>, Untold), StoreError> {
        // Taken out: a batch that fails leaves nothing behind
        let (mut work, generation) = self.store.begin_batch(self.clock.now(), self.warm.take()).await?;
        let answers = work.run(items, self.options.lease_ttl_ms).await?;
        let (untold, warm) = work.commit_soon(&*self.entropy).await?;
        self.warm = warm.and_then(|warm| warm.kept(generation));
        Ok((answers, untold))
    }
}

/// A defect that one command meets must not end the task that serves all: the batch fails, its transaction is dropped.
async fn caught<T>(attempt: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let mut attempt = pin!(attempt);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(_) => Poll::Ready(Err(StoreError::Corrupt("a batch met a defect and panicked".to_owned()))),
    })
    .await
}
