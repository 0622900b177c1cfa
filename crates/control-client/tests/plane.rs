//! A small control plane in memory: the four verbs with their money rules, and faults on request.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use budget_protocol::{
    BatchReport, BatchReportResponse, BatchResult, BodyHash, ClosedLease, HandshakeRequest, HandshakeResponse,
    LeaseState, RefreshApproved, RefreshDenied, RefreshRequest, RefreshResponse, ReturnRequest, ReturnResponse, Scope,
    ip_token,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kernel::validate::{FromFields, read};
use kernel::{AgentId, LeaseId, Money, ProviderKeyId, Secret, SystemEntropy, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const IC_TOKEN: &str = "header.eyJhZ2VudF9pZCI6ImFnZW50XzcifQ.signature";
pub(crate) const KEY: &str = "sk-provider-key";

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is carried out, but the connection breaks before the answer.
    AnswerLost,
    /// The connection breaks before anything is done.
    RequestLost,
    /// 503 with this code, nothing done.
    Status503(&'static str),
    /// Carried out as it should be.
    None,
}

#[derive(Debug)]
pub(crate) struct MockLease {
    pub(crate) state: LeaseState,
    pub(crate) granted: Money,
    pub(crate) reports: BTreeMap<String, Money>,
    pub(crate) models: Vec<String>,
    pub(crate) seqs: Vec<i64>,
    stated: Money,
    pub(crate) claimed: Option<Money>,
    successor: Option<(String, LeaseId)>,
    key: i64,
}

impl MockLease {
    /// Known spend.
    pub(crate) fn spent(&self) -> Money {
        self.reports.values().copied().sum::<Money>().max(self.stated)
    }

    fn rest(&self) -> Money {
        self.granted.minus_or_zero(self.spent())
    }
}

#[derive(Default)]
pub(crate) struct Books {
    pub(crate) cap: Money,
    pub(crate) leases: BTreeMap<String, MockLease>,
    keys: HashMap<String, (BodyHash, LeaseId)>,
    pub(crate) requests: Vec<(String, Value)>,
    pub(crate) faults: HashMap<String, VecDeque<Fault>>,
    /// Answers every borrowing with this code.
    pub(crate) refuse: Option<&'static str>,
    /// The key that leases are for.
    pub(crate) key: i64,
    pub(crate) ttl_ms: i64,
    next_id: u64,
}

impl Books {
    pub(crate) fn spent(&self) -> Money {
        self.leases.values().map(MockLease::spent).sum()
    }

    /// Lent and not settled, whatever became of the holder.
    pub(crate) fn leased(&self) -> Money {
        self.leases.values().filter(|l| l.state != LeaseState::Closed).map(MockLease::rest).sum()
    }

    fn available(&self) -> Money {
        self.cap.minus_or_zero(self.spent()).minus_or_zero(self.leased())
    }

    pub(crate) fn count(&self, verb: &str) -> usize {
        self.requests.iter().filter(|(v, _)| v == verb).count()
    }

    pub(crate) fn in_state(&self, state: LeaseState) -> usize {
        self.leases.values().filter(|l| l.state == state).count()
    }

    fn grant(&mut self, requested: Option<Money>) -> Option<LeaseId> {
        let granted = requested.unwrap_or(Money::from_nanos(10_000_000_000)).min(self.available());
        let granted = Money::from_micros(granted.micros_floor()).unwrap_or_default();
        if granted.is_zero() {
            return None;
        }
        self.next_id += 1;
        let id = format!("lease_{:08}", self.next_id);
        let lease = MockLease {
            state: LeaseState::Active,
            granted,
            reports: BTreeMap::new(),
            models: Vec::new(),
            seqs: Vec::new(),
            stated: Money::ZERO,
            claimed: None,
            successor: None,
            key: self.key,
        };
        self.leases.insert(id.clone(), lease);
        assert!(self.spent().plus(self.leased()).expect("in range") <= self.cap, "lent above the cap");
        Some(LeaseId::new(id))
    }
}

type Reply = (u16, Value);

fn ok(body: impl Serialize) -> Reply {
    (200, serde_json::to_value(body).expect("JSON"))
}

fn refuse(status: u16, code: &str, details: Value) -> Reply {
    (status, json!({"error": code, "code": code, "message": code, "details": details, "request_id": "req_1"}))
}

fn request<T: FromFields>(body: &Value) -> T {
    read(body).unwrap_or_else(|errors| panic!("the client sent {body}: {}", errors.summary()))
}

/// The control plane, listening until it is dropped.
pub(crate) struct Plane {
    pub(crate) books: Arc<Mutex<Books>>,
    pub(crate) url: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Plane {
    /// An agent with this budget in micro-dollars.
    pub(crate) async fn with_budget(micros: i64) -> Self {
        let cap = Money::from_micros(micros).expect("in range");
        let books = Arc::new(Mutex::new(Books { cap, key: 1, ttl_ms: 60_000, ..Books::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let server = tokio::spawn(serve(listener, books.clone()));
        Self { books, url, server }
    }

    pub(crate) fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().expect("not poisoned: a handler did not accept a request")
    }

    /// Spent, and lent and not settled.
    pub(crate) fn money(&self) -> (Money, Money) {
        let books = self.books();
        (books.spent(), books.leased())
    }

    /// How many leases there ever were.
    pub(crate) fn leases(&self) -> usize {
        self.books().leases.len()
    }

    /// How many handshakes and how many refreshes were asked for.
    pub(crate) fn borrowed(&self) -> (usize, usize) {
        let books = self.books();
        (books.count("handshake"), books.count("refresh"))
    }

    /// The next requests of this verb go wrong like this, one after the other.
    pub(crate) fn faults(&self, verb: &str, faults: impl IntoIterator<Item = Fault>) {
        self.books().faults.entry(verb.to_owned()).or_default().extend(faults);
    }

    /// Waits until the books are as they should be.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Books) -> bool) {
        for _ in 0..600 {
            if condition(&self.books()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never happened: {what}");
    }
}

async fn serve(listener: TcpListener, books: Arc<Mutex<Books>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let books = books.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(books.clone(), request));
            // Broken connections are what some of the tests are about
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(books: Arc<Mutex<Books>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let verb = request.uri().path().trim_start_matches("/api/v1/budget/").to_owned();
    let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).expect("the client sends JSON");
    let lost = || Err(std::io::Error::other("a fault was asked for"));
    let reply = {
        let mut books = books.lock().expect("not poisoned");
        books.requests.push((verb.clone(), body.clone()));
        let fault = books.faults.get_mut(&verb).and_then(VecDeque::pop_front).unwrap_or(Fault::None);
        match fault {
            Fault::RequestLost => return lost(),
            Fault::Status503(code) => refuse(503, code, Value::Null),
            Fault::AnswerLost => {
                handle(&mut books, &verb, &body);
                return lost();
            }
            Fault::None => handle(&mut books, &verb, &body),
        }
    };
    let response = Response::builder().status(reply.0).header("content-type", "application/json");
    Ok::<_, Infallible>(response.body(Full::new(Bytes::from(reply.1.to_string()))).expect("a response"))
        .map_err(|never| match never {})
}

fn handle(books: &mut Books, verb: &str, body: &Value) -> Reply {
    match verb {
        "handshake" => handshake(books, request(body)),
        "report/batch" => batch(books, body),
        "refresh" => refresh(books, request(body)),
        "return" => give_back(books, request(body)),
        other => panic!("the client asked for {other}"),
    }
}

fn scope() -> Scope {
    Scope::agent(AgentId(7))
}

fn refused(books: &Books) -> Option<Reply> {
    let details = json!({"scope": scope(), "reason": "drill", "frozen_at": 5});
    let status = |code| if code == "INVALID_IC_TOKEN" { 401 } else { 403 };
    books.refuse.map(|code| refuse(status(code), code, details))
}

fn handshake(books: &mut Books, request: HandshakeRequest) -> Reply {
    if let Some(reply) = refused(books) {
        return reply;
    }
    let key = request.request_id.clone().expect("the client always sends one");
    let (lease_id, duplicate) = match books.keys.get(&key) {
        Some((hash, _)) if *hash != request.body_hash() => return refuse(409, "IDEMPOTENCY_CONFLICT", Value::Null),
        Some((_, id)) if books.leases[id.as_str()].state != LeaseState::Active => {
            return refuse(409, "LEASE_CLOSED", Value::Null);
        }
        Some((_, id)) => (id.clone(), true),
        None => match books.grant(request.requested_budget) {
            Some(id) => (id, false),
            None => {
                let details = json!({
                    "total_allocated": books.cap.micros_floor(), "total_spent": books.spent().micros_ceil(),
                    "budget_remaining": 0, "binding_scope": scope(), "cap": books.cap.micros_floor(), "spent": 0,
                    "leased": 0, "suspense": 0, "available": 0, "window": "none", "resets_at": null,
                });
                return refuse(403, "BUDGET_EXHAUSTED", details);
            }
        },
    };
    books.keys.insert(key, (request.body_hash(), lease_id.clone()));
    let lease = &books.leases[lease_id.as_str()];
    let secret = Secret::new(format!("{KEY}-{}", lease.key));
    let token = Secret::new(IC_TOKEN.to_owned());
    ok(HandshakeResponse {
        ip_token: ip_token::seal(&token, &lease_id, "openai", &secret, &SystemEntropy).expect("short"),
        budget_granted: lease.granted,
        budget_remaining: books.available(),
        expires_at: Timestamp::from_millis(books.ttl_ms),
        ttl_ms: books.ttl_ms,
        provider: "openai".to_owned(),
        provider_key_id: ProviderKeyId(lease.key),
        base_url: None,
        epoch: 1,
        duplicate,
        lease_id,
    })
}

fn batch(books: &mut Books, body: &Value) -> Reply {
    let batch = BatchReport::read(body).expect("the client sends whole batches");
    let (cap, available) = (books.cap, books.available());
    let Some(lease) = books.leases.get_mut(batch.lease_id.as_str()) else {
        return refuse(404, "LEASE_NOT_FOUND", Value::Null);
    };
    lease.stated = lease.stated.max(batch.spent_total.unwrap_or_default());
    let book = |(index, item): (usize, budget_protocol::BatchItem)| {
        let item = item.unwrap_or_else(|(_, errors)| panic!("the client sent a bad item: {}", errors.summary()));
        match lease.reports.get(&item.request_id) {
            Some(cost) if *cost == item.cost => BatchResult::booked(index, item.request_id, true),
            Some(cost) => BatchResult::conflict(index, item.request_id, *cost),
            None => {
                lease.reports.insert(item.request_id.clone(), item.cost);
                lease.models.push(item.model);
                lease.seqs.extend(item.seq);
                BatchResult::booked(index, item.request_id, false)
            }
        }
    };
    let results: Vec<BatchResult> = batch.items.into_iter().enumerate().map(book).collect();
    let (success, recorded, duplicates, failed) = BatchReportResponse::count(&results);
    ok(BatchReportResponse {
        success,
        recorded,
        duplicates,
        failed,
        results,
        budget_remaining: available,
        budget_limit: cap,
        lease_spent: lease.spent(),
        lease_remaining: lease.rest(),
        lease_status: lease.state,
        overrun: lease.spent() > lease.granted,
    })
}

fn refresh(books: &mut Books, request: RefreshRequest) -> Reply {
    if let Some(reply) = refused(books) {
        return reply;
    }
    let old_id = request.current_lease_id.clone();
    let key = request.request_id.clone().expect("the client always sends one");
    let available = books.available();
    let Some(old) = books.leases.get(old_id.as_str()) else {
        return refuse(404, "LEASE_NOT_FOUND", Value::Null);
    };
    let (next_id, duplicate) = match (old.state, old.successor.clone()) {
        (LeaseState::Closed, Some((by, id))) if by == key && books.leases[id.as_str()].state == LeaseState::Active => {
            (id, true)
        }
        (LeaseState::Closed, _) => return refuse(409, "LEASE_CLOSED", Value::Null),
        (LeaseState::Revoked, _) => return refuse(403, "LEASE_REVOKED", Value::Null),
        _ if available.micros_floor() == 0 => {
            return ok(RefreshResponse::Denied(RefreshDenied {
                budget_remaining: Money::ZERO,
                binding_scope: scope(),
                total_allocated: books.cap,
                total_spent: books.spent(),
                resets_at: None,
            }));
        }
        _ => {
            let old = books.leases.get_mut(old_id.as_str()).expect("there");
            old.stated = old.stated.max(request.total_spent.unwrap_or_default());
            old.state = LeaseState::Closed;
            let id = books.grant(request.requested_budget).expect("something was available");
            books.leases.get_mut(old_id.as_str()).expect("there").successor = Some((key, id.clone()));
            (id, false)
        }
    };
    let (next, old) = (&books.leases[next_id.as_str()], &books.leases[old_id.as_str()]);
    let (spent, returned) = (old.spent(), old.rest());
    ok(RefreshResponse::Approved(RefreshApproved {
        budget_granted: next.granted,
        budget_remaining: books.available(),
        expires_at: Timestamp::from_millis(books.ttl_ms),
        ttl_ms: books.ttl_ms,
        epoch: 1,
        provider: "openai".to_owned(),
        provider_key_id: ProviderKeyId(next.key),
        closed_lease: ClosedLease { lease_id: old_id, spent, returned },
        total_allocated: books.cap,
        total_spent: books.spent(),
        duplicate,
        lease_id: next_id,
    }))
}

fn give_back(books: &mut Books, request: ReturnRequest) -> Reply {
    let Some(lease) = books.leases.get_mut(request.lease_id.as_str()) else {
        return refuse(404, "LEASE_NOT_FOUND", Value::Null);
    };
    let stated = request.figure.map_or(Money::ZERO, |f| f.spent_of(lease.granted));
    if lease.state == LeaseState::Revoked {
        lease.claimed = Some(stated);
        return refuse(400, "LEASE_NOT_ACTIVE", Value::Null);
    }
    let duplicate = lease.state == LeaseState::Closed && stated <= lease.spent();
    lease.stated = lease.stated.max(stated);
    lease.state = LeaseState::Closed;
    let (spent, returned, overrun) = (lease.spent(), lease.rest(), lease.spent() > lease.granted);
    let agent_budget_remaining = books.available();
    let lease_status = LeaseState::Closed;
    ok(ReturnResponse { success: true, returned, spent, agent_budget_remaining, lease_status, duplicate, overrun })
}
