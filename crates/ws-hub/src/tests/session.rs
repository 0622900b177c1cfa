//! The protocol of a connection.

use std::time::Duration;

use kernel::AgentId;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::world::{Heard, World};
use crate::{Cut, HubSettings, Sight};

#[tokio::test(start_paused = true)]
async fn who_says_who_they_are_sees_what_comes_next() {
    let world = World::new();
    world.log.emit(Some(1), "lease_granted");
    let mut client = world.connect();
    client.say(json!({"type": "AUTH", "token": "admin"}));
    let hello = client.hear().await;
    assert_eq!((&hello["type"], &hello["subject"]), (&json!("AUTH_OK"), &json!("user_admin")));
    assert_eq!((&hello["epoch"], &hello["head"]), (&json!("e1"), &json!(1)));
    let subscribed = client.hear().await;
    assert_eq!(subscribed["type"], "SUBSCRIBED");
    assert_eq!((&subscribed["cursor"], &subscribed["agent_ids"]), (&json!("e1:1"), &json!(null)));
    world.log.emit(None, "COST_ALERT");
    assert_eq!(client.events(1).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_shown_out() {
    let world = World::new();
    let started = Instant::now();
    let mut client = world.connect();
    assert_eq!(client.end().await, ("AUTH_MISSING_TOKEN".to_owned(), 4408));
    assert_eq!(started.elapsed().as_secs(), 10);
    assert_eq!(world.hub.stats().cut(Cut::Silent), 1);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_not_taken_ends_the_connection() {
    let world = World::new();
    let mut client = world.connect();
    client.say(json!({"type": "AUTH", "ic_token": "nobody's"}));
    assert_eq!(client.end().await, ("AUTH_INVALID_TOKEN".to_owned(), 4401));
}

#[tokio::test(start_paused = true)]
async fn frames_that_will_not_do_are_answered_and_the_connection_stays() {
    let world = World::new();
    let mut client = world.admitted("admin").await;
    for (text, code) in [
        ("{", "MALFORMED_JSON"),
        (r#"{"type":"PUBLISH"}"#, "VALIDATION_ERROR"),
        (r#"{"type":"AUTH","token":"admin"}"#, "VALIDATION_ERROR"),
        (r#"{"type":"SUBSCRIBE","since":"x"}"#, "VALIDATION_ERROR"),
    ] {
        client.say_text(text);
        let answer = client.hear().await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("ERROR"), &json!(code)), "{text}");
    }
    let early = world.connect();
    early.say(json!({"type": "SUBSCRIBE"}));
    client.say(json!({"type": "SUBSCRIBE"}));
    assert_eq!(client.hear().await["type"], "SUBSCRIBED");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_replaces_the_one_before_it() {
    let world = World::new();
    world.log.emit_many(Some(1), 3);
    let (mut client, _) = world.subscribed("admin", json!({"agent_ids": [7]})).await;
    client.say(json!({"type": "SUBSCRIBE", "since": "e1:1", "types": ["AGENT_EVENT"]}));
    let answer = client.hear().await;
    assert_eq!((&answer["replaying"], &answer["types"]), (&json!(true), &json!(["AGENT_EVENT"])));
    assert_eq!(client.events(2).await, [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn everybody_sees_their_own_and_nothing_else() {
    let world = World::new();
    world.let_see("u", Sight::of([AgentId(1)]));
    let (mut user, answer) = world.subscribed("u", json!({"agent_ids": [1, 2]})).await;
    assert_eq!(answer["agent_ids"], json!([1]), "what is not theirs is left out");
    let (mut admin, _) = world.subscribed("admin", json!({})).await;
    let (mut wide, _) = world.subscribed("u", json!({})).await;
    for (agent, name) in [(Some(2), "llm_call"), (None, "COST_ALERT"), (Some(1), "frozen"), (Some(2), "frozen")] {
        world.log.emit(agent, name);
    }
    assert_eq!(admin.events(4).await, [1, 2, 3, 4]);
    assert_eq!(user.events(1).await, [3]);
    assert_eq!(wide.events(1).await, [3]);
    assert!(user.hears_nothing().await && wide.hears_nothing().await);
    // The same when it is read again from an old place
    let (mut again, _) = world.subscribed("u", json!({"since": "e1:0"})).await;
    assert_eq!(again.events(1).await, [3]);
    assert!(again.hears_nothing().await);
}

#[tokio::test(start_paused = true)]
async fn rights_that_change_hold_from_the_next_event_on() {
    let world = World::new();
    world.let_see("u", Sight::All);
    let (mut client, _) = world.subscribed("u", json!({})).await;
    world.log.emit(Some(2), "frozen");
    assert_eq!(client.events(1).await, [1]);
    world.let_see("u", Sight::of([AgentId(1)]));
    world.log.emit(Some(2), "frozen");
    world.log.emit(Some(1), "frozen");
    assert_eq!(client.events(1).await, [3]);
    world.let_see("u", Sight::of([AgentId(1), AgentId(2)]));
    world.log.emit(Some(2), "frozen");
    assert_eq!(client.events(1).await, [4]);
    world.end("u");
    world.log.emit(Some(1), "frozen");
    assert_eq!(
        client.next().await,
        Heard::Frame(json!({
            "type": "ERROR", "timestamp": "1970-01-01T00:00:00Z", "error": "no", "code": "AUTH_TOKEN_REVOKED", "message": "no",
        }))
    );
    assert_eq!(client.next().await, Heard::Close(4401));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_names_an_agent_is_about_that_agent() {
    let world = World::new();
    world.let_see("u", Sight::of([AgentId(1)]));
    let mut client = world.connect_about(Some(1));
    client.say(json!({"type": "AUTH", "token": "u"}));
    assert_eq!(client.hear().await["type"], "AUTH_OK");
    assert_eq!(client.hear().await["agent_ids"], json!([1]));
    let mut stranger = world.connect_about(Some(2));
    stranger.say(json!({"type": "AUTH", "token": "u"}));
    assert_eq!(stranger.end().await, ("ACCESS_DENIED".to_owned(), 4401));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_carry_a_cursor_that_may_be_stored() {
    let world = World::new();
    world.let_see("u", Sight::of([AgentId(1)]));
    let (mut client, _) = world.subscribed("u", json!({})).await;
    world.log.emit_many(Some(2), 5);
    let beat = client.hear().await;
    assert_eq!((&beat["type"], &beat["cursor"]), (&json!("HEARTBEAT"), &json!("e1:5")));
    world.log.emit(Some(1), "frozen");
    let event = client.hear().await;
    assert_eq!((&event["seq"], &event["prev"]), (&json!(6), &json!(5)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_no_sign_of_life_is_let_go() {
    let world = World::new();
    let (mut silent, _) = world.subscribed("admin", json!({})).await;
    let (mut lively, _) = world.subscribed("admin", json!({})).await;
    let started = Instant::now();
    let lively = tokio::spawn(async move {
        for _ in 0..4 {
            assert_eq!(lively.hear().await["type"], "HEARTBEAT");
        }
    });
    assert_eq!(silent.end().await, ("TIMEOUT".to_owned(), 1001));
    let asked_after = Duration::from_secs(30) + Duration::from_secs(60);
    assert!(started.elapsed().abs_diff(asked_after) < Duration::from_secs(1), "{:?}", started.elapsed());
    lively.await.expect("it goes on");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_is_cut_off_and_others_see_everything() {
    let world = World::new();
    let (mut slow, _) = world.subscribed("admin", json!({})).await;
    let (mut quick, _) = world.subscribed("admin", json!({})).await;
    slow.read(false);
    world.log.emit_many(Some(1), 900);
    assert_eq!(quick.events(900).await.len(), 900);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(world.hub.stats().cut(Cut::Slow), 0, "within the limits");
    for _ in 0..8 {
        world.log.emit_many(Some(1), 100);
        assert_eq!(quick.events(100).await.len(), 100);
        sleep(Duration::from_millis(600)).await;
    }
    assert_eq!(world.hub.stats().cut(Cut::Slow), 1);
    slow.read(true);
    assert_eq!(slow.end().await, ("READER_TOO_SLOW".to_owned(), 4409));
    world.log.emit(Some(1), "frozen");
    assert_eq!(quick.events(1).await, [1701]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_busy_for_a_moment_misses_nothing() {
    let world = World::new();
    let (mut client, _) = world.subscribed("admin", json!({})).await;
    client.read(false);
    world.log.emit_many(Some(1), 5_000);
    sleep(Duration::from_millis(500)).await;
    client.read(true);
    assert_eq!(client.events(5_000).await, (1..=5_000).collect::<Vec<_>>());
    assert_eq!(world.hub.stats().cut(Cut::Slow), 0);
}

#[tokio::test(start_paused = true)]
async fn the_server_says_goodbye_when_it_goes_away() {
    let world = World::new();
    let (mut client, _) = world.subscribed("admin", json!({})).await;
    let mut unknown = world.connect();
    sleep(Duration::from_millis(10)).await;
    let hub = world.hub.clone();
    let closing = tokio::spawn(async move { hub.close(Duration::from_secs(20)).await });
    assert_eq!(client.end().await, (String::new(), 1001));
    assert_eq!(unknown.end().await, (String::new(), 1001));
    assert!(world.hub.connect().is_none(), "nobody is let in any more");
    drop((client, unknown));
    assert_eq!(closing.await.expect("it ends"), 0);
}

#[tokio::test(start_paused = true)]
async fn connections_are_bounded() {
    let world = World::with(HubSettings { connections: 2, ..HubSettings::default() });
    let first = world.connect();
    let _second = world.connect();
    assert!(world.hub.connect().is_none());
    drop(first);
    sleep(Duration::from_secs(11)).await;
    assert!(world.hub.connect().is_some());
}

#[tokio::test(start_paused = true)]
async fn while_rights_cannot_be_looked_at_nothing_is_shown() {
    let world = World::new();
    let (mut client, _) = world.subscribed("admin", json!({})).await;
    world.forget("admin");
    world.log.emit(Some(1), "frozen");
    assert!(client.hears_nothing().await);
    world.let_see("admin", Sight::All);
    assert_eq!(client.events(1).await, [1]);
}
