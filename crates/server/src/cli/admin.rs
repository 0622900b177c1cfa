//! `server admin …`: looking after users from the machine the server runs on, for when nobody can log in any more.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use kernel::{Clock, Secret, SystemClock, SystemEntropy};
use persistence::{AuditActor, AuditRecord, SettingsOf, Store};
use settings::Settings;

use super::{Failure, print};
use crate::bootstrap;
use crate::config::Loaded;
use crate::wiring::{hasher, migrate, open_store};

/// What to do with users.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a user.
    CreateUser(CreateUser),
    /// Give a user another password, lift the lock and end all logins.
    ResetPassword(ResetPassword),
}

/// A user to be created.
#[derive(Args)]
pub(super) struct CreateUser {
    /// E-mail, with which the user logs in.
    #[arg(long)]
    pub(super) email: String,
    /// Name; default: the e-mail.
    #[arg(long)]
    pub(super) username: Option<String>,
    /// What the user may do.
    #[arg(long, value_enum, default_value_t = Role::User)]
    pub(super) role: Role,
    #[command(flatten)]
    pub(super) password: Password,
}

/// A password to be replaced.
#[derive(Args)]
pub(super) struct ResetPassword {
    /// E-mail of the user.
    #[arg(long)]
    pub(super) email: String,
    #[command(flatten)]
    pub(super) password: Password,
}

/// Where a password comes from. Not from the command line, which other users of the machine can read.
#[derive(Args)]
pub(super) struct Password {
    /// A file with the password; default: a random one, printed once.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// What a user may do.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Role {
    /// Everything.
    Admin,
    /// Manage what is theirs.
    User,
    /// Read what is theirs.
    Viewer,
}

pub(super) async fn run(command: Command, loaded: Loaded) -> Result<(), Failure> {
    let store = open_store(&loaded.config).await?;
    let done = async {
        migrate(&loaded.config, &store).await?;
        match command {
            Command::CreateUser(user) => {
                let (password, generated) = user.password.find(&store).await?;
                let id = create_user(&store, &loaded, &user, &password).await?;
                said(&format!("created {id} ({})", user.email), generated.then_some(&password))
            }
            Command::ResetPassword(reset) => {
                let (password, generated) = reset.password.find(&store).await?;
                reset_password(&store, &loaded, &reset, &password).await?;
                said(&format!("the password of {} is changed", reset.email), generated.then_some(&password))
            }
        }
    }
    .await;
    store.close().await;
    done
}

fn said(what: &str, generated: Option<&Secret<String>>) -> Result<(), Failure> {
    let password = generated.map_or_else(String::new, |password| format!("\npassword: {}", password.expose()));
    print(format!("{what}{password}\n").as_bytes())
}

impl Password {
    /// The password, and whether it was made here.
    async fn find(&self, store: &Store) -> Result<(Secret<String>, bool), Failure> {
        let Some(path) = &self.password_file else {
            return Ok((auth::password::random(&SystemEntropy), true));
        };
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let password = Secret::new(text.trim_end_matches(['\r', '\n']).to_owned());
        // As long as everybody's must be who sets one over the API
        let least = Settings::of_system(store.settings_of(&SettingsOf::System).await?).password_min_length();
        if !(least..=1_000).contains(&password.expose().chars().count()) {
            return Err(format!("a password must have {least} to 1000 characters").into());
        }
        Ok((password, false))
    }
}

async fn create_user(
    store: &Store,
    loaded: &Loaded,
    user: &CreateUser,
    password: &Secret<String>,
) -> Result<kernel::UserId, Failure> {
    let role = match user.role {
        Role::Admin => auth::Role::Admin,
        Role::User => auth::Role::User,
        Role::Viewer => auth::Role::Viewer,
    };
    let email = user.email.trim();
    if email.is_empty() || email.chars().count() > 255 || email.matches('@').count() != 1 {
        return Err("an e-mail has 1 to 255 characters and one @".into());
    }
    let person = bootstrap::NewPerson { email, username: user.username.as_deref(), role };
    let made = bootstrap::create_user(store, person, password, hasher(&loaded.config), &SystemClock, &SystemEntropy);
    made.await?.ok_or_else(|| "a user with that e-mail or name exists".into())
}

async fn reset_password(
    store: &Store,
    loaded: &Loaded,
    reset: &ResetPassword,
    password: &Secret<String>,
) -> Result<(), Failure> {
    let record = store.login_record(&auth::email::normalized(&reset.email)).await?;
    let user = record.ok_or("there is no user with that e-mail")?.user;
    let hash = hasher(&loaded.config).hash(password.expose(), &SystemEntropy);
    let mut work = store.begin(SystemClock.now()).await?;
    work.set_user_password(&user.id, &hash, false).await?;
    work.clear_login_failures(&reset.email).await?;
    work.end_sessions_of(&user.id, None, "password_reset").await?;
    let record = AuditRecord::new("USER_PASSWORD_RESET", "user", &user.id, &AuditActor::default());
    work.audit(record.changed(None, serde_json::json!({ "password": "[REDACTED]" })));
    work.commit(&SystemEntropy).await?;
    Ok(())
}
