//! An agent that calls an LLM until its budget is gone.
//!
//! ```text
//! IC_TOKEN=… cargo run -p control-client --example agent_loop -- --url http://127.0.0.1:3001 [--calls N]
//! ```
//!
//! The LLM provider is a mock that the example starts itself on 127.0.0.1; no real provider is called, whatever key the
//! control plane lends. Each call is reserved at its worst case, made, and settled at its cost. The loop ends when the
//! control plane refuses to lend more (exit code 0), after `--calls N`, or with Ctrl-C; in each case the lease is
//! returned. Kill it with `kill -9` and start it again to see its journal recovered.
#![expect(clippy::print_stdout, reason = "a program for people to watch")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use control_client::{ClientConfig, ControlClient, ReserveError, Session, Usage};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kernel::{Money, Secret};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Prices of the mock model, nano-dollars per token: 2.50 and 10 USD per million.
const PROMPT_PRICE: i64 = 2_500;
const COMPLETION_PRICE: i64 = 10_000;
/// The longest answer the agent asks for.
const MAX_TOKENS: i64 = 4_000;

type Failure = Box<dyn Error + Send + Sync>;

struct Options {
    url: String,
    ic_token: Secret<String>,
    journal: PathBuf,
    calls: Option<u64>,
    tranche: Option<Money>,
    pause: Duration,
}

const USAGE: &str =
    "agent_loop [--url URL] [--ic-token TOKEN] [--calls N] [--tranche USD] [--pause-ms N] [--journal DIR]
  URL and TOKEN default to the environment's CONTROL_PLANE_URL (else http://127.0.0.1:3001) and IC_TOKEN;
  the environment is the better place for the token, arguments are visible to other users";

impl Options {
    fn read() -> Result<Self, Failure> {
        let env = |name| std::env::var(name).ok().filter(|v: &String| !v.is_empty());
        let mut url = env("CONTROL_PLANE_URL").unwrap_or_else(|| "http://127.0.0.1:3001".to_owned());
        let mut token = env("IC_TOKEN");
        let mut journal = std::env::temp_dir().join("iron-agent-loop");
        let (mut calls, mut tranche, mut pause) = (None, None, Duration::ZERO);
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"));
            match name.as_str() {
                "--url" => url = value()?,
                "--ic-token" => token = Some(value()?),
                "--journal" => journal = value()?.into(),
                "--calls" => calls = Some(value()?.parse()?),
                "--tranche" => {
                    tranche = Some(Money::from_usd_decimal(&value()?).ok_or("--tranche is an amount in USD")?)
                }
                "--pause-ms" => pause = Duration::from_millis(value()?.parse()?),
                _ => return Err(USAGE.into()),
            }
        }
        let ic_token = Secret::new(token.ok_or(USAGE)?);
        Ok(Self { url, ic_token, journal, calls, tranche, pause })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let options = Options::read()?;
    let provider = start_provider().await?;
    let mut config = ClientConfig::new(options.url, options.ic_token, options.journal);
    config.runtime_id = Some(format!("agent-loop-{}", std::process::id()));
    if let Some(tranche) = options.tranche {
        config.tranche = tranche;
    }
    let session = match ControlClient::connect(config).await {
        Ok(session) => session,
        Err(control_client::ControlError::Denied(denied)) => {
            println!("refused: {denied}");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    for lease in session.recovered() {
        let (spent, returned) = (usd_up(lease.spent), usd_down(lease.returned));
        println!("recovered a lease of a dead process: spent ${spent}, returned ${returned}");
    }
    println!("borrowed ${}", usd_down(session.status().granted));
    tokio::select! {
        result = work(&session, &provider, options.calls, options.pause) => result?,
        _ = tokio::signal::ctrl_c() => println!("interrupted"),
    }
    let spent = session.status().charged_in_session;
    for lease in session.close().await? {
        println!("returned ${} of ${}", usd_down(lease.returned), usd_down(lease.granted));
    }
    println!("spent ${} in this run", usd_up(spent));
    Ok(())
}

/// Calls until the budget or the number of calls is used up.
async fn work(session: &Session, provider: &str, calls: Option<u64>, pause: Duration) -> Result<(), Failure> {
    let http = control_client::http_client(Duration::from_secs(5))?;
    let mut call = 0;
    while calls.is_none_or(|most| call < most) {
        call += 1;
        let prompt = format!("Question {call}: what is the airspeed velocity of an unladen swallow?");
        // A token has at least one byte, so this is never too low
        let most_prompt_tokens = i64::try_from(prompt.len())?;
        let worst_case = Money::from_nanos(most_prompt_tokens * PROMPT_PRICE + MAX_TOKENS * COMPLETION_PRICE);
        let reservation = match session.reserve(worst_case).await {
            Ok(reservation) => reservation,
            Err(error @ ReserveError::Refused { .. }) => {
                println!("refused: {error}");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        // From here on the call counts, at its worst case unless we learn better: `?` drops the reservation
        let body = json!({"model": "mock-large", "max_tokens": MAX_TOKENS, "prompt": prompt, "call": call});
        let answer = http
            .post(format!("{provider}/v1/chat/completions"))
            .bearer_auth(reservation.access().key.expose())
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await?
            .error_for_status()?
            .bytes()
            .await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let tokens = |name: &str| answer["usage"][name].as_i64().ok_or("the provider does not say what it used");
        let (prompt_tokens, completion_tokens) = (tokens("prompt_tokens")?, tokens("completion_tokens")?);
        let cost = Money::from_nanos(prompt_tokens * PROMPT_PRICE + completion_tokens * COMPLETION_PRICE);
        let total = u64::try_from(prompt_tokens + completion_tokens)?;
        let name = reservation.access().provider.clone();
        reservation.commit(Usage::new(answer["model"].as_str().unwrap_or("unknown"), name, total, cost));
        let left = session.status().left;
        println!("call {call:>4}  {total:>5} tokens  cost ${:<9} left ${}", usd_up(cost), usd_down(left));
        tokio::time::sleep(pause).await;
    }
    println!("made {call} calls as asked");
    Ok(())
}

fn usd_up(amount: Money) -> String {
    Money::usd_decimal_of_micros(amount.micros_ceil())
}

fn usd_down(amount: Money) -> String {
    Money::usd_decimal_of_micros(amount.micros_floor())
}

/// Starts a provider that answers every authorised call with 1…4000 tokens of nothing.
async fn start_provider() -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // A caller that hangs up is no concern of the provider
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), service_fn(complete)).await;
            });
        }
    });
    Ok(url)
}

async fn complete(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
    let authorised = request.headers().get(AUTHORIZATION).is_some_and(|v| v.as_bytes().starts_with(b"Bearer "));
    if !authorised {
        return Ok(Response::builder().status(401).body(Full::default())?);
    }
    let body: Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?;
    let (call, prompt) = (body["call"].as_i64().unwrap_or_default(), body["prompt"].as_str().unwrap_or_default());
    let completion_tokens = 1 + (call * 2_654_435_761).rem_euclid(MAX_TOKENS);
    let answer = json!({
        "model": body["model"],
        "choices": [{"message": {"role": "assistant", "content": "African or European?"}}],
        "usage": {"prompt_tokens": prompt.len() / 4, "completion_tokens": completion_tokens},
    });
    Ok(Response::builder().header("content-type", "application/json").body(Full::new(answer.to_string().into()))?)
}
