//! The write pipeline: one queue, group commit.
//!
//! Requests put their commands into one bounded queue. A single task takes whatever has arrived, runs it in one
//! transaction with a fixed number of statements, commits once, and only then answers everybody: while one batch is
//! being made durable the next one gathers. A full queue is refused at once instead of growing.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use kernel::{Clock, Entropy};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::engine::{Answer, Item, Warm};
use crate::store::Store;
use crate::{Backend, StoreError};

/// How the pipeline is set up.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// How many requests may wait; more are refused as overloaded.
    pub queue: usize,
    /// How many commands are committed together at most.
    pub batch: usize,
    /// How long a lease stays active after a sign of life, milliseconds.
    pub lease_ttl_ms: i64,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        Self { queue: 4_096, batch: 512, lease_ttl_ms: 21_600_000 }
    }
}

/// What one batch was like, for the metrics.
#[derive(Clone, Copy, Debug)]
pub struct BatchStats {
    /// How many commands it had.
    pub commands: usize,
    /// How many requests were still waiting when it was done.
    pub waiting: usize,
    /// From taking the commands to durable.
    pub took: Duration,
    /// Whether it was committed.
    pub committed: bool,
}

/// Told of every batch.
pub type Observer = Arc<dyn Fn(BatchStats) + Send + Sync>;

type Reply = Result<Vec<Answer>, StoreError>;

struct Job {
    items: Vec<Item>,
    reply: oneshot::Sender<Reply>,
}

/// The way into the pipeline.
#[derive(Clone)]
pub struct Pipeline {
    queue: mpsc::Sender<Job>,
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
        let capacity = options.queue.max(1);
        let (queue, jobs) = mpsc::channel(capacity);
        let embedded = store.backend() == Backend::Sqlite;
        let worker = Worker { store, clock, entropy, options, observer, warm: None };
        let task = if embedded { on_its_own_thread(worker.serve(jobs)) } else { tokio::spawn(worker.serve(jobs)) };
        (Self { queue, capacity }, task)
    }

    /// Runs the commands in order in one transaction and returns when their effects are durable.
    pub async fn run(&self, items: Vec<Item>) -> Reply {
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(Job { items, reply }) {
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
        self.capacity - self.queue.capacity()
    }
}

/// Runs the task on a thread that it may block, as writing to the embedded database does. It ends early where the handle is
/// aborted.
fn on_its_own_thread(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
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
        if let Err(error) = thread.await {
            tracing::error!(%error, "the write pipeline has ended");
        }
    })
}

struct Worker {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    options: PipelineOptions,
    observer: Observer,
    warm: Option<Warm>,
}

impl Worker {
    async fn serve(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::new();
        while let Some(first) = jobs.recv().await {
            let mut commands = first.items.len();
            batch.push(first);
            // Requests that became ready at the same time get to the queue before it is looked at
            tokio::task::yield_now().await;
            while commands < self.options.batch
                && let Ok(job) = jobs.try_recv()
            {
                commands += job.items.len();
                batch.push(job);
            }
            let started = Instant::now();
            let committed = self.process(std::mem::take(&mut batch)).await;
            (self.observer)(BatchStats { commands, waiting: jobs.len(), took: started.elapsed(), committed });
        }
    }

    /// Answers every job; returns whether all was committed together.
    async fn process(&mut self, jobs: Vec<Job>) -> bool {
        let items: Vec<Item> = jobs.iter().flat_map(|job| job.items.iter().cloned()).collect();
        match self.commit(&items).await {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                for job in jobs {
                    let its_own = answers.by_ref().take(job.items.len()).collect();
                    // A caller that is gone gets its answer when it repeats the request
                    let _ = job.reply.send(Ok(its_own));
                }
                true
            }
            Err(error) if jobs.len() > 1 && !matches!(error, StoreError::Unavailable(_)) => {
                // One request that the database refuses must not take its neighbours with it
                tracing::warn!(%error, jobs = jobs.len(), "batch failed; running its requests one by one");
                for job in jobs {
                    let result = self.commit(&job.items).await;
                    let _ = job.reply.send(result);
                }
                false
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, jobs = jobs.len(), "batch failed");
                let transient = error.is_transient();
                let mut first = Some(error);
                for job in jobs {
                    let error = match (first.take(), transient) {
                        (Some(error), _) => error,
                        (None, true) => StoreError::Collision,
                        (None, false) => StoreError::Corrupt("a neighbour's request failed".to_owned()),
                    };
                    let _ = job.reply.send(Err(error));
                }
                false
            }
        }
    }

    async fn commit(&mut self, items: &[Item]) -> Reply {
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

    async fn attempt(&mut self, items: &[Item]) -> Reply {
        // Taken out: a batch that fails leaves nothing behind
        let (mut work, generation) = self.store.begin_batch(self.clock.now(), self.warm.take()).await?;
        let answers = work.run(items, self.options.lease_ttl_ms).await?;
        let warm = work.commit_and_keep(&*self.entropy).await?;
        self.store.meter.record(items);
        self.warm = warm.and_then(|warm| warm.kept(generation));
        Ok(answers)
    }
}

/// A defect that one command meets must not end the task that serves all: the batch fails, its transaction is dropped.
async fn caught(attempt: impl Future<Output = Reply>) -> Reply {
    let mut attempt = pin!(attempt);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(_) => Poll::Ready(Err(StoreError::Corrupt("a batch met a defect and panicked".to_owned()))),
    })
    .await
}
