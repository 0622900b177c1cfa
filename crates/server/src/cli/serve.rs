//! `server serve` and `server migrate`

use super::{Failure, print};
use crate::bootstrap::FirstAdmin;
use crate::config::Loaded;
use crate::wiring::{migrate as bring_up_to_date, open_store};
use crate::{Deps, Server, signals, telemetry};

pub(super) async fn serve(loaded: Loaded) -> Result<(), Failure> {
    let Loaded { config, notices, .. } = loaded;
    let telemetry = telemetry::init(&config.telemetry)?;
    let served = async {
        let server = Server::build(&config, Deps::default()).await?;
        for notice in notices.iter().map(String::as_str).chain(server.notices().iter().map(String::as_str)) {
            tracing::warn!("{notice}");
        }
        // Before anybody is told the address: who knows it may stop the server
        let stop = signals::told_to_stop();
        let directory = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
        let text = format!(
            "listening on http://{address}\n\
             data directory: {directory}\n\
             database: {database}\n\
             documentation of the API: http://{address}/docs\n",
            address = server.address(),
            directory = directory.display(),
            database = config.database_url().redacted(),
        );
        print(text.as_bytes())?;
        if let Some(admin) = server.first_admin() {
            print(how_to_log_in(admin).as_bytes())?;
        }
        tracing::info!(address = %server.address(), version = env!("CARGO_PKG_VERSION"), "serving");
        server.serve(stop).await;
        tracing::info!("stopped");
        Ok::<_, Failure>(())
    }
    .await;
    // Also where the start failed: the trace of a failed start is worth having
    telemetry.shutdown().await;
    served
}

pub(super) async fn migrate(loaded: Loaded) -> Result<(), Failure> {
    let telemetry = telemetry::init(&loaded.config.telemetry)?;
    let store = open_store(&loaded.config).await?;
    let migrated = bring_up_to_date(&loaded.config, &store).await;
    store.close().await;
    telemetry.shutdown().await;
    migrated?;
    print(format!("{} is up to date\n", loaded.config.database_url().redacted()).as_bytes())
}

/// Shown once, on the first start.
fn how_to_log_in(admin: &FirstAdmin) -> String {
    match &admin.generated {
        Some(password) => format!(
            "first start: log in as {} with the password {}\n\
             It is shown once. Forgotten: `server admin reset-password --email {}`\n",
            admin.email,
            password.expose(),
            admin.email
        ),
        None => format!("first start: log in as {} with the password you have set\n", admin.email),
    }
}
