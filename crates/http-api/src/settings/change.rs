//! Changing settings.

use ::settings::{Change, Overrides, Settings};
use kernel::ErrorCode;
use persistence::{AuditRecord, SettingsOf, SettingsStamp, Work};
use serde_json::json;

use super::shape::invalid;
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Caller};

/// Makes a change and records it; one that changes nothing leaves no trace. Returns when and by whom the settings were
/// changed last.
pub(super) async fn make(
    api: &ApiState,
    caller: &Caller,
    whose: &SettingsOf,
    change: &Change,
) -> Result<SettingsStamp, ApiError> {
    let made = transact!(api, async |work| {
        hold(work, whose).await?;
        let (before, stamp) = work.settings_for_update(whose, &caller.user).await?;
        apply(work, caller, whose, change.against(&before), &before, stamp).await
    });
    let stamp = made.await?;
    api.settings_cache().forget();
    Ok(stamp)
}

/// Takes away everything that the caller has set.
pub(super) async fn clear(api: &ApiState, caller: &Caller) -> Result<(), ApiError> {
    let whose = SettingsOf::User(caller.user.clone());
    let cleared = transact!(api, async |work| {
        hold(work, &whose).await?;
        let (before, stamp) = work.settings_for_update(&whose, &caller.user).await?;
        apply(work, caller, &whose, Change::clearing(&before), &before, stamp).await
    });
    cleared.await.map(drop)
}

/// What the settings belong to, which stays until the work ends.
async fn hold(work: &mut Work, whose: &SettingsOf) -> Result<(), Stop> {
    match whose {
        SettingsOf::System => Ok(()),
        SettingsOf::Project(id) if work.hold_project(id).await? => Ok(()),
        SettingsOf::Project(_) => Err(ErrorCode::ProjectNotFound.into()),
        SettingsOf::User(id) => work.hold_user(id).await?.map(drop).ok_or_else(|| ErrorCode::UserNotFound.into()),
    }
}

async fn apply(
    work: &mut Work,
    caller: &Caller,
    whose: &SettingsOf,
    change: Change,
    before: &Overrides,
    stamp: SettingsStamp,
) -> Result<SettingsStamp, Stop> {
    if change.is_empty() {
        return Ok(stamp);
    }
    let after = change.applied_to(before);
    let stacked = match whose {
        SettingsOf::System => Settings::of_system(after),
        SettingsOf::Project(_) => Settings::of_project(work.settings_of(&SettingsOf::System).await?, after),
        SettingsOf::User(_) => Settings::of_user(Overrides::default(), Overrides::default(), after),
    };
    change.fits(&stacked).map_err(invalid)?;
    let stamp = work.change_settings(whose, &change, &caller.user).await?;
    let (old, new) = change.states(before);
    let mut record = AuditRecord::new("SETTINGS_UPDATED", "settings", name(whose), caller.audit_actor());
    record.metadata = json!({ "level": whose.level().as_str() });
    work.audit(record.changed(old, new));
    Ok(stamp)
}

/// What the settings are called in the audit log.
fn name(whose: &SettingsOf) -> String {
    match whose {
        SettingsOf::System => "system".to_owned(),
        SettingsOf::Project(id) => id.to_string(),
        SettingsOf::User(id) => id.to_string(),
    }
}
