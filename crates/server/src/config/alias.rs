//! Settings under the names that other programs and older installations use.

/// A variable that stands for a setting.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// The environment variable.
    pub variable: &'static str,
    /// The setting.
    pub key: &'static str,
    /// Other settings that, given natively, also take its place.
    pub also: &'static [&'static str],
}

const fn alias(variable: &'static str, key: &'static str, also: &'static [&'static str]) -> Alias {
    Alias { variable, key, also }
}

/// All of them. `SERVER_PORT` also makes the server listen on all interfaces, unless a host is set.
pub const ALIASES: &[Alias] = &[
    alias("ADMIN_EMAIL", "bootstrap.admin_email", &[]),
    alias("ADMIN_PASSWORD", "bootstrap.admin_password", &["bootstrap.admin_password_file"]),
    alias("ALLOWED_ORIGINS", "server.allowed_origins", &[]),
    alias("DATABASE_URL", "database.url", &[]),
    alias("ENABLE_DEMO_SEED", "bootstrap.demo_seed", &[]),
    alias("ENVIRONMENT", "deployment.environment", &[]),
    alias("IC_TOKEN_SECRET", "auth.ic_token_secret", &["auth.ic_token_secret_file"]),
    alias("IRON_DATA_DIR", "data_dir", &[]),
    alias("IRON_DEPLOYMENT_MODE", "deployment.mode", &[]),
    alias("IRON_SECRETS_MASTER_KEY", "secrets.master_key", &["secrets.master_key_file"]),
    alias("JWT_ACCESS_TOKEN_TTL", "auth.access_ttl_s", &[]),
    alias("JWT_REFRESH_TOKEN_TTL", "auth.refresh_ttl_s", &[]),
    alias("JWT_SECRET", "auth.jwt_secret", &["auth.jwt_secret_file"]),
    alias("RUST_LOG", "telemetry.log_filter", &[]),
    alias(SERVER_PORT, "server.port", &["server.address"]),
];

/// The one that also decides about the address.
pub const SERVER_PORT: &str = "SERVER_PORT";
/// Accepted and without effect: IP tokens are sealed with a key derived from the IC token and the lease.
pub const UNUSED: &str = "IP_TOKEN_KEY";
/// Any of these tells that the program runs in production.
pub const PRODUCTION_MARKS: [&str; 3] = ["KUBERNETES_SERVICE_HOST", "AWS_EXECUTION_ENV", "DYNO"];
