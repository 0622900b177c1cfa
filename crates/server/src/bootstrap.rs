//! The first start: an empty store gets its first admin.

use auth::Role;
use auth::password::PasswordHasher;
use kernel::{Clock, Entropy, Secret, UserId};
use persistence::{AuditActor, AuditRecord, NewUser, Store};
use serde_json::json;

use crate::wiring::StartError;

/// What the first start has to tell.
pub struct FirstAdmin {
    /// With which e-mail the admin logs in.
    pub email: String,
    /// The password, if it was made here: to be shown once and never again.
    pub generated: Option<Secret<String>>,
}

/// Creates the first admin of a store without users; `None` if there are users.
pub async fn first_admin(
    store: &Store,
    email: &str,
    password: Option<Secret<String>>,
    hasher: PasswordHasher,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Option<FirstAdmin>, StartError> {
    if store.has_users().await? {
        return Ok(None);
    }
    let generated = password.is_none();
    let password = password.unwrap_or_else(|| auth::password::random(entropy));
    let id =
        create_user(store, NewPerson { email, username: None, role: Role::Admin }, &password, hasher, clock, entropy)
            .await?;
    let Some(_) = id else {
        // Another server that starts at the same moment was first
        return Ok(None);
    };
    Ok(Some(FirstAdmin { email: email.to_owned(), generated: generated.then_some(password) }))
}

/// A user to be made from the machine the server runs on.
pub struct NewPerson<'a> {
    /// With which the user logs in.
    pub email: &'a str,
    /// The name; the e-mail if there is none.
    pub username: Option<&'a str>,
    /// What the user may do.
    pub role: Role,
}

/// Creates a user; `None` if the e-mail or the name is taken.
pub async fn create_user(
    store: &Store,
    person: NewPerson<'_>,
    password: &Secret<String>,
    hasher: PasswordHasher,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Option<UserId>, StartError> {
    let new = NewUser {
        id: UserId::random(entropy),
        username: person.username.unwrap_or(person.email).to_owned(),
        email: Some(person.email.to_owned()),
        password_hash: hasher.hash(password.expose(), entropy),
        role: person.role,
        must_change_password: false,
    };
    let mut work = store.begin(clock.now()).await?;
    if work.create_user(&new).await?.is_err() {
        return Ok(None);
    }
    let after = json!({ "username": new.username, "email": new.email, "role": new.role.as_str() });
    work.audit(AuditRecord::new("USER_CREATED", "user", &new.id, &AuditActor::default()).changed(None, after));
    work.commit(entropy).await?;
    Ok(Some(new.id))
}
