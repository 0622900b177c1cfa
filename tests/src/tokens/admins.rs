//! Administrators at odds with each other: one of them stays, whatever they do to each other at once.

use crate::harness::*;

const PASSWORD: &str = "correct-horse-battery";

/// One admin takes another one's rights away, in one of three ways.
fn attack(way: usize, victim: &str) -> (Method, String, Value) {
    match way % 3 {
        0 => (Method::DELETE, format!("users/{victim}"), json!({})),
        1 => (Method::PUT, format!("users/{victim}/suspend"), json!({})),
        _ => (Method::PUT, format!("users/{victim}/role"), json!({"role": "user"})),
    }
}

/// An admin, made by another one: id and login at that server.
async fn admin(by: &Client, at: &Client, name: &str) -> (String, Client) {
    let email = format!("{name}@example.com");
    let body = json!({"username": name, "email": email, "password": PASSWORD, "role": "admin"});
    let user = by.post("users", body).await.expect(201);
    let session = at.post("auth/login", json!({"email": email, "password": PASSWORD})).await.expect(200);
    (user.text("id").to_owned(), at.with_token(session.text("user_token")))
}

on_both_backends! {
    async fn two_admins_who_remove_each_other_at_once_leave_one(world: World) {
        // On PostgreSQL each of them asks a server of their own
        let second = if world.backend() == Backend::Postgres { Some(world.another_server().await) } else { None };
        let there = second.as_ref().map_or_else(|| world.anon(), |(_, client)| client.clone());
        let root = world.admin().await;
        let mut survivor = {
            let (id, client) = admin(&root, &world.anon(), "first").await;
            let users = client.get("users?search=admin@example.com").await.expect(200);
            client.delete(&format!("users/{}", users["users"][0].text("id"))).await.expect(200);
            (id, client)
        };
        for round in 0..18 {
            let other = admin(&survivor.1, &there, &format!("rival{round}")).await;
            let two = [survivor, other];
            let victims = [two[1].0.clone(), two[0].0.clone()];
            let clients = [two[0].1.clone(), two[1].1.clone()];
            let replies = at_once(2, |number| {
                let (method, path, body) = attack(round + number * (round / 3), &victims[number]);
                let client = clients[number].clone();
                async move { client.send(method, &path, Some(&body)).await }
            })
            .await;
            let winners: Vec<usize> = (0..2).filter(|number| replies[*number].is_success()).collect();
            assert_eq!(winners.len(), 1, "round {round}: {} {}", replies[0].text, replies[1].text);
            let loser = &replies[1 - winners[0]];
            let expected = ["LAST_ADMIN", "AUTH_ACCOUNT_DISABLED", "AUTH_TOKEN_REVOKED", "INSUFFICIENT_PERMISSIONS"];
            assert!(expected.contains(&loser.code()), "round {round}: {}", loser.text);
            let [first, second] = two;
            survivor = if winners[0] == 0 { first } else { second };
            survivor.1 = at(&survivor.1, &world.anon());
            let admins = survivor.1.get("users?role=admin&is_active=true").await.expect(200);
            assert_eq!((admins.int("total"), admins["users"][0].text("id")), (1, survivor.0.as_str()), "round {round}");
        }
        let (root_id, last) = survivor;
        for way in 0..3 {
            let (method, path, body) = attack(way, &root_id);
            last.send(method, &path, Some(&body)).await.error(409, "SELF_MODIFICATION_FORBIDDEN");
        }
    }

    async fn a_demoted_admin_has_lost_its_rights_at_the_next_request(world: World) {
        let root = world.admin().await;
        let (id, eve) = admin(&root, &world.anon(), "eve").await;
        let token = eve.post("api-tokens", json!({"name": "n"})).await.expect(201);
        let by_token = world.anon().with_token(token.text("token"));
        for client in [&eve, &by_token] {
            client.get("users").await.expect(200);
        }
        root.put(&format!("users/{id}/role"), json!({"role": "user"})).await.expect(200);
        for client in [&eve, &by_token] {
            client.get("users").await.error(403, "INSUFFICIENT_PERMISSIONS");
            client.post("projects", json!({"name": "p"})).await.error(403, "INSUFFICIENT_PERMISSIONS");
            client.get("agents").await.expect(200);
        }
    }
}

/// The same credential at another server.
fn at(client: &Client, server: &Client) -> Client {
    server.with_token(client.token().unwrap_or(""))
}
