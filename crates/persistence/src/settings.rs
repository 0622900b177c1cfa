//! Settings that somebody has set. What they are and which of them hold, the [`settings`](::settings) crate knows.

use ::settings::{Change, Level, Overrides};
use kernel::{ProjectId, Timestamp, UserId};

use crate::db::{Row, args, statements};
use crate::rows::Rows;
use crate::{Store, StoreError, Work};

/// Whose settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SettingsOf {
    /// Those of the whole installation.
    System,
    /// Those of a project.
    Project(ProjectId),
    /// Those of a user.
    User(UserId),
}

impl SettingsOf {
    /// Where they are written.
    pub const fn level(&self) -> Level {
        match self {
            Self::System => Level::System,
            Self::Project(_) => Level::Project,
            Self::User(_) => Level::User,
        }
    }

    fn subject(&self) -> &str {
        match self {
            Self::System => "",
            Self::Project(id) => id.as_str(),
            Self::User(id) => id.as_str(),
        }
    }
}

/// When and by whom the settings of a level were changed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsStamp {
    /// When.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: UserId,
}

statements! {
    VALUES = "SELECT name, value FROM settings WHERE level = $1 AND subject = $2";
    /// Of the project for the whole installation, and of those the user has live agents in.
    AROUND = "SELECT s.value FROM settings AS s WHERE s.level = 'project' AND s.name = $1 AND \
        (s.subject = 'proj_master_001' OR s.subject IN \
        (SELECT a.project_id FROM agents AS a WHERE a.owner_id = $2 AND a.deleted_at IS NULL))";
    STAMP = "SELECT updated_at, updated_by FROM settings_levels WHERE level = $1 AND subject = $2";
    /// Makes the row if there is none and locks it.
    LOCK = "INSERT INTO settings_levels (level, subject, updated_at, updated_by) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (level, subject) DO UPDATE SET level = excluded.level RETURNING updated_at, updated_by";
    TOUCH = "UPDATE settings_levels SET updated_at = $3, updated_by = $4 WHERE level = $1 AND subject = $2";
    SET = "INSERT INTO settings (level, subject, name, value) SELECT {text 0}, {text 1}, {text 2}, {text 3} FROM {rows} \
        WHERE true ON CONFLICT (level, subject, name) DO UPDATE SET value = excluded.value";
    UNSET = "DELETE FROM settings WHERE (level, subject, name) IN (SELECT {text 0}, {text 1}, {text 2} FROM {rows})";
    FORGET = "DELETE FROM settings WHERE level = $1 AND subject = $2";
    FORGET_LEVEL = "DELETE FROM settings_levels WHERE level = $1 AND subject = $2";
}

impl Store {
    /// What is set there.
    pub async fn settings_of(&self, whose: &SettingsOf) -> Result<Overrides, StoreError> {
        overrides(whose.level(), self.db.rows(&VALUES, args![whose.level().as_str(), whose.subject()]).await?)
    }

    /// When and by whom the settings were last changed, if they ever were.
    pub async fn settings_stamp(&self, whose: &SettingsOf) -> Result<Option<SettingsStamp>, StoreError> {
        let row = self.db.row(&STAMP, args![whose.level().as_str(), whose.subject()]).await?;
        row.as_ref().map(stamp_from_row).transpose()
    }
}

impl Work {
    /// What is set there. Does not lock: for decisions that may go by what was set a moment ago.
    pub async fn settings_of(&mut self, whose: &SettingsOf) -> Result<Overrides, StoreError> {
        overrides(whose.level(), self.tx.rows(&VALUES, args![whose.level().as_str(), whose.subject()]).await?)
    }

    /// The numbers that projects around a user have set under this name: the project for the whole installation, and those
    /// the user has live agents in.
    pub async fn project_settings_around(&mut self, name: &str, user: &UserId) -> Result<Vec<i64>, StoreError> {
        let rows = self.tx.rows(&AROUND, args![name, user.as_str()]).await?;
        let values = rows.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
        Ok(values.iter().filter_map(|value| value.parse().ok()).collect())
    }

    /// What is set there, which nobody else changes until this work ends, and when and by whom it was changed last. The
    /// project or user must exist and be held.
    pub async fn settings_for_update(
        &mut self,
        whose: &SettingsOf,
        by: &UserId,
    ) -> Result<(Overrides, SettingsStamp), StoreError> {
        let (level, subject) = (whose.level().as_str(), whose.subject());
        let row = self.tx.row(&LOCK, args![level, subject, self.now, by.as_str()]).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("an upsert returned no row".to_owned()))?;
        Ok((self.settings_of(whose).await?, stamp_from_row(&row)?))
    }

    /// Sets and takes away; ask [`Work::settings_for_update`] before.
    pub async fn change_settings(
        &mut self,
        whose: &SettingsOf,
        change: &Change,
        by: &UserId,
    ) -> Result<SettingsStamp, StoreError> {
        let (level, subject) = (whose.level().as_str(), whose.subject());
        let (mut set, mut unset) = (Rows::new(), Rows::new());
        for (name, value) in change.iter() {
            match value {
                Some(value) => set.row().text(level).text(subject).text(name).text(&value.to_string()),
                None => unset.row().text(level).text(subject).text(name),
            };
        }
        self.tx.run(&SET, args![set.finish()]).await?;
        self.tx.run(&UNSET, args![unset.finish()]).await?;
        self.tx.run(&TOUCH, args![level, subject, self.now, by.as_str()]).await?;
        Ok(SettingsStamp { updated_at: self.now, updated_by: by.clone() })
    }

    /// Forgets everything that was set there: the project or user is going.
    pub(crate) async fn forget_settings(&mut self, whose: &SettingsOf) -> Result<(), StoreError> {
        for sql in [&FORGET, &FORGET_LEVEL] {
            self.tx.run(sql, args![whose.level().as_str(), whose.subject()]).await?;
        }
        Ok(())
    }
}

fn overrides(level: Level, rows: Vec<Row>) -> Result<Overrides, StoreError> {
    let stored = rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Overrides::load(level, stored))
}

fn stamp_from_row(row: &Row) -> Result<SettingsStamp, StoreError> {
    Ok(SettingsStamp { updated_at: row.time(0)?, updated_by: UserId::new(row.text(1)?) })
}
