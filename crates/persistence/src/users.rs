//! Users, and the failed logins that close an account for a while.
//!
//! A user is never removed: facts, agents and audit entries go on naming it, and its name and e-mail stay taken.

use std::sync::LazyLock;

use auth::Role;
use auth::email::normalized;
use auth::lockout::{Failure, LockoutRules, LockoutState};
use kernel::{Secret, Timestamp, UserId};

use crate::db::{Row, Sql, args, statements};
use crate::filter::Filter;
use crate::listing::{Listed, Page, containing, name_key};
use crate::{RightsOf, Store, StoreError, Work};

/// A user as it is shown; the password's hash is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name, unique without regard to case.
    pub username: String,
    /// Its e-mail, unique without regard to case.
    pub email: Option<String>,
    /// What it may do.
    pub role: Role,
    /// Whether it may do anything: neither suspended nor deleted.
    pub is_active: bool,
    /// Whether it is advised to change its password.
    pub must_change_password: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed by somebody.
    pub updated_at: Timestamp,
    /// When it last logged in.
    pub last_login: Option<Timestamp>,
    /// Since when it is suspended.
    pub suspended_at: Option<Timestamp>,
    /// Since when it is deleted.
    pub deleted_at: Option<Timestamp>,
    /// Until when failed logins keep it from logging in; may lie in the past.
    pub locked_until: Option<Timestamp>,
}

/// A user to be made.
pub struct NewUser {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub username: String,
    /// Its e-mail.
    pub email: Option<String>,
    /// The hash of its password.
    pub password_hash: Secret<String>,
    /// What it may do.
    pub role: Role,
    /// Whether it is advised to change its password.
    pub must_change_password: bool,
}

/// Which of a user's names somebody else has. At least one of the two is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserTaken {
    /// The user name.
    pub username: bool,
    /// The e-mail.
    pub email: bool,
}

/// What a login needs.
pub struct LoginRecord {
    /// The user, active or not.
    pub user: User,
    /// The hash of its password.
    pub password_hash: Secret<String>,
}

/// Which users. What is not given does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// With this role.
    pub role: Option<Role>,
    /// Active, or not.
    pub is_active: Option<bool>,
    /// Whose name or e-mail contains this, without regard to case.
    pub search: Option<String>,
    /// Deleted ones too.
    pub include_deleted: bool,
}

/// What [`user_from_row`] reads, from `users AS u`.
const COLUMNS: &str = "u.id, u.username, u.email, u.role, u.is_active, u.must_change_password, u.created_at, \
    u.updated_at, u.last_login, u.suspended_at, u.deleted_at, \
    (SELECT f.locked_until FROM login_failures AS f WHERE f.email_key = u.email_key)";

fn select(tail: &str) -> Sql {
    Sql::new(&format!("SELECT {COLUMNS}, u.password_hash FROM users AS u {tail}"))
}

static BY_ID: LazyLock<Sql> = LazyLock::new(|| select("WHERE u.id = $1"));
static BY_EMAIL: LazyLock<Sql> = LazyLock::new(|| select("WHERE u.email_key = $1"));
static FOR_UPDATE: LazyLock<Sql> = LazyLock::new(|| select("WHERE u.id = $1 {for_update}"));
static FOR_SHARE: LazyLock<Sql> = LazyLock::new(|| select("WHERE u.id = $1 {for_share}"));

statements! {
    ANY = "SELECT id FROM users LIMIT 1";
    INSERT = "INSERT INTO users (id, username, username_key, email, email_key, password_hash, role, is_active, \
        must_change_password, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $9) \
        ON CONFLICT DO NOTHING";
    NAMESAKES = "SELECT CAST(CASE WHEN username_key = $2 THEN 1 ELSE 0 END AS BIGINT), \
        CAST(CASE WHEN email_key = $3 THEN 1 ELSE 0 END AS BIGINT) FROM users \
        WHERE id <> $1 AND (username_key = $2 OR email_key = $3)";
    LOCK_ADMINS = "SELECT id FROM users WHERE role = 'admin' AND is_active = 1 AND deleted_at IS NULL ORDER BY id \
        {for_update}";
    RENAME = "UPDATE users SET username = $2, username_key = $3, email = $4, email_key = $5, updated_at = $6 WHERE id = $1";
    SET_ROLE = "UPDATE users SET role = $2, updated_at = $3 WHERE id = $1";
    SET_PASSWORD = "UPDATE users SET password_hash = $2, must_change_password = $3, updated_at = $4 WHERE id = $1";
    SUSPEND = "UPDATE users SET is_active = 0, suspended_at = $2, updated_at = $2 \
        WHERE id = $1 AND is_active = 1 AND deleted_at IS NULL";
    ACTIVATE = "UPDATE users SET is_active = 1, suspended_at = NULL, updated_at = $2 \
        WHERE id = $1 AND is_active = 0 AND deleted_at IS NULL";
    DELETE = "UPDATE users SET is_active = 0, deleted_at = $2, updated_at = $2 WHERE id = $1 AND deleted_at IS NULL";
    TOUCH_LOGIN = "UPDATE users SET last_login = $2 WHERE id = $1";
    LOCKOUT = "SELECT failures, locked_until FROM login_failures WHERE email_key = $1";
    /// Makes the row if there is none and locks it, so that failures at once count one by one.
    LOCK_LOCKOUT = "INSERT INTO login_failures (email_key, failures, locked_until, failed_at) VALUES ($1, 0, NULL, $2) \
        ON CONFLICT (email_key) DO UPDATE SET failed_at = excluded.failed_at RETURNING failures, locked_until";
    SET_LOCKOUT = "UPDATE login_failures SET failures = $2, locked_until = $3 WHERE email_key = $1";
    CLEAR_LOCKOUT = "DELETE FROM login_failures WHERE email_key = $1";
    PRUNE_LOCKOUTS = "DELETE FROM login_failures WHERE failed_at < $1 AND (locked_until IS NULL OR locked_until < $1)";
}

impl Store {
    /// Whether there is any user at all: if not, this is a new installation.
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        Ok(self.db.row(&ANY, args![]).await?.is_some())
    }

    /// A user, suspended and deleted ones included.
    pub async fn user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.db.row(&BY_ID, args![id.as_str()]).await?.as_ref().map(user_from_row).transpose()
    }

    /// The user with this e-mail (trimmed, without regard to case) and what its password is checked against.
    pub async fn login_record(&self, email: &str) -> Result<Option<LoginRecord>, StoreError> {
        self.db.row(&BY_EMAIL, args![normalized(email)]).await?.as_ref().map(login_from_row).transpose()
    }

    /// The same, of a user that is known.
    pub async fn login_record_of(&self, id: &UserId) -> Result<Option<LoginRecord>, StoreError> {
        self.db.row(&BY_ID, args![id.as_str()]).await?.as_ref().map(login_from_row).transpose()
    }

    /// Users, youngest first.
    pub async fn users(&self, filter: &UserFilter, page: Page) -> Result<Listed<User>, StoreError> {
        let (text, args) = filter.conditions().statement("SELECT COUNT(*) FROM users AS u", "", []);
        let total = self.db.rows_of(text, args).await?.first().map_or(Ok(0), |row| row.int(0))?;
        let head = format!("SELECT {COLUMNS} FROM users AS u");
        let tail = " ORDER BY u.created_at DESC, u.id DESC LIMIT ? OFFSET ?";
        let (text, args) = filter.conditions().statement(&head, tail, page.bounds().map(Into::into));
        let rows = self.db.rows_of(text, args).await?;
        Ok(Listed::new(rows.iter().map(user_from_row).collect::<Result<_, _>>()?, total))
    }

    /// How logins with this e-mail have failed of late, whether or not somebody has it.
    pub async fn lockout(&self, email: &str) -> Result<LockoutState, StoreError> {
        let row = self.db.row(&LOCKOUT, args![normalized(email)]).await?;
        row.as_ref().map_or(Ok(LockoutState::CLEAR), lockout_from_row)
    }
}

impl UserFilter {
    fn conditions(&self) -> Filter {
        let mut filter = Filter::default();
        filter.and_if("u.role = ?", self.role.map(Role::as_str));
        filter.and_if("u.is_active = ?", self.is_active);
        if let Some(search) = &self.search {
            let pattern = containing(search);
            let condition = r"(u.username_key LIKE ? ESCAPE '\' OR u.email_key LIKE ? ESCAPE '\')";
            filter.and(condition, [pattern.clone().into(), pattern.into()]);
        }
        if !self.include_deleted {
            filter.and("u.deleted_at IS NULL", []);
        }
        filter
    }
}

impl Work {
    /// Makes a user, or says which of its names is taken.
    pub async fn create_user(&mut self, new: &NewUser) -> Result<Result<(), UserTaken>, StoreError> {
        let (username_key, email_key) = (name_key(&new.username), new.email.as_deref().map(normalized));
        let values = args![
            new.id.as_str(),
            new.username.as_str(),
            username_key.as_str(),
            new.email.as_deref(),
            email_key.as_deref(),
            new.password_hash.expose().as_str(),
            new.role.as_str(),
            new.must_change_password,
            self.now,
        ];
        if self.tx.run(&INSERT, values).await? == 1 {
            return Ok(Ok(()));
        }
        let taken = self.user_taken(&new.id, &username_key, email_key.as_deref()).await?;
        taken.map(Err).ok_or_else(|| StoreError::Corrupt(format!("the user id {} is taken", new.id)))
    }

    async fn user_taken(
        &mut self,
        but: &UserId,
        username_key: &str,
        email_key: Option<&str>,
    ) -> Result<Option<UserTaken>, StoreError> {
        let mut taken = UserTaken { username: false, email: false };
        let rows = self.tx.rows(&NAMESAKES, args![but.as_str(), username_key, email_key]).await?;
        for row in &rows {
            taken.username |= row.flag(0)?;
            taken.email |= row.flag(1)?;
        }
        Ok((!rows.is_empty()).then_some(taken))
    }

    /// A user, which nobody else changes or relies on until this work ends.
    pub async fn user_for_update(&mut self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.tx.row(&FOR_UPDATE, args![id.as_str()]).await?.as_ref().map(user_from_row).transpose()
    }

    /// The same with what its password is checked against: a password that was right a moment ago may have been replaced.
    pub async fn login_record_for_update(&mut self, id: &UserId) -> Result<Option<LoginRecord>, StoreError> {
        self.tx.row(&FOR_UPDATE, args![id.as_str()]).await?.as_ref().map(login_from_row).transpose()
    }

    /// A user, which stays as it is until this work ends: for whoever makes something its own.
    pub async fn hold_user(&mut self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.tx.row(&FOR_SHARE, args![id.as_str()]).await?.as_ref().map(user_from_row).transpose()
    }

    /// The active admins, who stay what they are until this work ends. Whoever may take the last one's rights away asks
    /// this first: of two admins who remove each other at once, the second finds only themself.
    pub async fn lock_active_admins(&mut self) -> Result<Vec<UserId>, StoreError> {
        let rows = self.tx.rows(&LOCK_ADMINS, args![]).await?;
        rows.iter().map(|row| row.text(0).map(UserId::new)).collect()
    }

    /// Gives a user these names; what is `None` stays. Returns the user after it, `None` if there is none, or says which
    /// name is taken, after which this work cannot be committed.
    pub async fn rename_user(
        &mut self,
        id: &UserId,
        username: Option<&str>,
        email: Option<&str>,
    ) -> Result<Result<Option<User>, UserTaken>, StoreError> {
        let Some(mut user) = self.user_for_update(id).await? else { return Ok(Ok(None)) };
        user.username = username.map_or(user.username, str::to_owned);
        user.email = email.map(str::to_owned).or(user.email);
        user.updated_at = self.now;
        let (username_key, email_key) = (name_key(&user.username), user.email.as_deref().map(normalized));
        if let Some(taken) = self.user_taken(id, &username_key, email_key.as_deref()).await? {
            return Ok(Err(taken));
        }
        let values =
            args![id.as_str(), user.username.as_str(), username_key, user.email.as_deref(), email_key, user.updated_at];
        match self.tx.run(&RENAME, values).await {
            Ok(_) => Ok(Ok(Some(user))),
            // Taken between the question and the answer
            Err(StoreError::Duplicate(name)) => {
                let email = name.contains("email_key");
                Ok(Err(UserTaken { username: !email, email }))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a user another role; false if there is none.
    pub async fn set_user_role(&mut self, id: &UserId, role: Role) -> Result<bool, StoreError> {
        self.rights_change(RightsOf::User(id));
        Ok(self.tx.run(&SET_ROLE, args![id.as_str(), role.as_str(), self.now]).await? == 1)
    }

    /// Gives a user another password; false if there is none. Its sessions are for the caller to end.
    pub async fn set_user_password(
        &mut self,
        id: &UserId,
        password_hash: &Secret<String>,
        must_change: bool,
    ) -> Result<bool, StoreError> {
        let values = args![id.as_str(), password_hash.expose().as_str(), must_change, self.now];
        Ok(self.tx.run(&SET_PASSWORD, values).await? == 1)
    }

    /// Suspends a user; false if it was not active. Its sessions are for the caller to end.
    pub async fn suspend_user(&mut self, id: &UserId) -> Result<bool, StoreError> {
        self.rights_change(RightsOf::User(id));
        Ok(self.tx.run(&SUSPEND, args![id.as_str(), self.now]).await? == 1)
    }

    /// Makes a suspended user active; false if it was not suspended, or is deleted.
    pub async fn activate_user(&mut self, id: &UserId) -> Result<bool, StoreError> {
        self.rights_change(RightsOf::User(id));
        Ok(self.tx.run(&ACTIVATE, args![id.as_str(), self.now]).await? == 1)
    }

    /// Deletes a user: it stays, inactive, under its names. False if it was deleted before, or never was. Its agents and
    /// sessions are for the caller to see to.
    pub async fn delete_user(&mut self, id: &UserId) -> Result<bool, StoreError> {
        self.rights_change(RightsOf::User(id));
        Ok(self.tx.run(&DELETE, args![id.as_str(), self.now]).await? == 1)
    }

    /// Notes that a user logged in now.
    pub async fn touch_last_login(&mut self, id: &UserId) -> Result<(), StoreError> {
        self.tx.run(&TOUCH_LOGIN, args![id.as_str(), self.now]).await.map(drop)
    }

    /// How logins with this e-mail have failed of late. Other logins with it wait until this work ends, so that no guess
    /// slips past a lock that is being set.
    pub async fn lockout_for_update(&mut self, email: &str) -> Result<LockoutState, StoreError> {
        let row = self.tx.row(&LOCK_LOCKOUT, args![normalized(email), self.now]).await?;
        row.as_ref().map_or(Ok(LockoutState::CLEAR), lockout_from_row)
    }

    /// Counts a failed login; many at once count one by one.
    pub async fn record_login_failure(&mut self, email: &str, rules: &LockoutRules) -> Result<Failure, StoreError> {
        let failure = rules.after_failure(self.lockout_for_update(email).await?, self.now);
        let (failures, until) = (i64::from(failure.state.failures), failure.state.locked_until);
        self.tx.run(&SET_LOCKOUT, args![normalized(email), failures, until]).await?;
        Ok(failure)
    }

    /// Forgets failed logins and with them a lock; returns whether there was anything to forget.
    pub async fn clear_login_failures(&mut self, email: &str) -> Result<bool, StoreError> {
        Ok(self.tx.run(&CLEAR_LOCKOUT, args![normalized(email)]).await? == 1)
    }

    /// Forgets failed logins that were followed by nothing since `before`; returns how many e-mails that were.
    pub async fn prune_login_failures(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        self.tx.run(&PRUNE_LOCKOUTS, args![before]).await
    }
}

/// Reads [`COLUMNS`].
fn user_from_row(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: UserId::new(row.text(0)?),
        username: row.text(1)?,
        email: row.opt_text(2)?,
        role: role_from_text(&row.text(3)?)?,
        is_active: row.flag(4)?,
        must_change_password: row.flag(5)?,
        created_at: row.time(6)?,
        updated_at: row.time(7)?,
        last_login: row.opt_time(8)?,
        suspended_at: row.opt_time(9)?,
        deleted_at: row.opt_time(10)?,
        locked_until: row.opt_time(11)?,
    })
}

fn login_from_row(row: &Row) -> Result<LoginRecord, StoreError> {
    Ok(LoginRecord { user: user_from_row(row)?, password_hash: Secret::new(row.text(12)?) })
}

pub(crate) fn role_from_text(text: &str) -> Result<Role, StoreError> {
    Role::parse(text).ok_or_else(|| StoreError::Corrupt("a user has an unknown role".to_owned()))
}

fn lockout_from_row(row: &Row) -> Result<LockoutState, StoreError> {
    let failures = u32::try_from(row.int(0)?).unwrap_or(u32::MAX);
    Ok(LockoutState { failures, locked_until: row.opt_time(1)? })
}
