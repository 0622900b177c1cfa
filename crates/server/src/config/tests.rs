//! What the layers make of what they are given.

use std::io::Write;

use super::alias::ALIASES;
use super::deployment::Mode;
use super::keys::{self, Kind};
use super::{ConfigError, Loaded, Sources, load};

fn sources(environment: &[(&str, &str)], toml: Option<&str>) -> Sources {
    let file = toml.map(|text| {
        let mut path = std::env::temp_dir();
        let mut random = [0; 8];
        kernel::Entropy::fill(&kernel::SystemEntropy, &mut random);
        path.push(format!("control-plane-config-{:016x}.toml", u64::from_le_bytes(random)));
        let mut file = std::fs::File::create(&path).expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        path
    });
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { file, environment }
}

fn from(environment: &[(&str, &str)], toml: Option<&str>) -> Result<Loaded, ConfigError> {
    let sources = sources(environment, toml);
    let loaded = load(&sources);
    if let Some(file) = sources.file {
        let _ = std::fs::remove_file(file);
    }
    loaded
}

fn good(environment: &[(&str, &str)], toml: Option<&str>) -> Loaded {
    from(environment, toml).unwrap_or_else(|error| panic!("{error}"))
}

fn bad(environment: &[(&str, &str)], toml: Option<&str>) -> String {
    from(environment, toml).err().expect("refused").to_string()
}

#[test]
fn nothing_set_is_an_embedded_server_on_the_loopback_address() {
    let loaded = good(&[], None);
    assert_eq!(loaded.config.server.listen().to_string(), "127.0.0.1:3001");
    assert_eq!(loaded.config.database_url().expose(), "sqlite://data/control.db?mode=rwc");
    assert_eq!(loaded.config.deployment.mode(), Mode::Pilot);
    assert!(loaded.notices.is_empty());
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
    let toml = "data_dir = \"/srv\"\n[server]\nport = 1\nmax_connections = 5\n";
    let config = good(&[("IRON__SERVER__PORT", "2")], Some(toml)).config;
    assert_eq!((config.server.port, config.server.max_connections), (2, 5));
    assert_eq!(config.database_url().expose(), "sqlite:///srv/control.db?mode=rwc", "it follows the data directory");
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    let keys = keys::all();
    assert!(keys.len() > 50, "{}", keys.len());
    for key in keys {
        assert!(!key.doc.is_empty(), "{} is not documented", key.path);
        let text = match (key.kind, key.path.as_str()) {
            (Kind::Int, path) if path.ends_with("_microdollars") => "20000000",
            (_, "database.write_lanes") => "4",
            (Kind::Int, _) => "60",
            (Kind::Bool, _) => "true",
            (_, "server.host") => "0.0.0.0",
            (_, "server.address") => "0.0.0.0:1",
            (_, "server.trusted_proxies") => "10.0.0.0/8, 127.0.0.1",
            (_, "server.allowed_origins") => "https://a.example,https://b.example",
            (_, "database.url") => "postgres://localhost/x",
            (_, "telemetry.log_filter") => "debug",
            (_, "telemetry.log_format") => "json",
            (_, "telemetry.otlp_endpoint") => "http://localhost:4318",
            (_, "bootstrap.admin_email") => "a@b",
            (_, "deployment.mode") => "development",
            _ => "12345",
        };
        let text = if key.path == "auth.bcrypt_cost" { "10" } else { text };
        let loaded = good(&[(&key.variable(), text)], None);
        let setting = loaded.settings().into_iter().find(|s| s.key == key.path).expect("listed");
        assert_eq!(setting.source, format!("environment variable {}", key.variable()), "{}", key.path);
    }
}

#[test]
fn a_text_that_looks_like_a_number_stays_a_text() {
    let config = good(&[("IRON__BOOTSTRAP__ADMIN_PASSWORD", "0012345"), ("JWT_SECRET", "1e5")], None).config;
    let shown = |secret: &Option<super::types::SecretText>| secret.as_ref().map(|s| s.secret().expose().clone());
    assert_eq!(shown(&config.bootstrap.admin_password).as_deref(), Some("0012345"));
    assert_eq!(shown(&config.auth.jwt_secret).as_deref(), Some("1e5"));
}

#[test]
fn unknown_keys_are_refused_by_name() {
    assert!(bad(&[("IRON__SERVER__PROT", "1")], None).contains("\"server.prot\""));
    assert!(bad(&[("IRON__NOTHING", "1")], None).contains("nothing"));
    assert!(bad(&[], Some("[auth]\nsecret = \"x\"\n")).contains("secret"));
    assert!(bad(&[], Some("[server\n")).contains("TOML"));
}

#[test]
fn a_wrong_value_is_refused_with_its_key_and_source() {
    let text = bad(&[("IRON__SERVER__PORT", "many")], None);
    assert!(text.contains("port") && text.contains("IRON__SERVER__PORT"), "{text}");
    let text = bad(&[("ALLOWED_ORIGINS", "https://ok.example,*")], None);
    assert!(text.contains("allowed_origins") && text.contains("ALLOWED_ORIGINS"), "{text}");
    let text = bad(&[("IRON__BUDGET__LEASE_TTL_MS", "0"), ("IRON__AUTH__BCRYPT_COST", "3")], None);
    assert!(text.contains("budget.lease_ttl_ms") && text.contains("auth.bcrypt_cost"), "all of them: {text}");
}

#[test]
fn a_wrong_secret_is_refused_without_being_repeated() {
    let text = bad(&[], Some("[auth]\njwt_secret = 8374659283\n"));
    assert!(text.contains("jwt_secret") && !text.contains("8374659283"), "{text}");
}

#[test]
fn an_alias_counts_where_the_setting_is_not_given_natively() {
    let config = good(&[("DATABASE_URL", "postgres://db/x"), ("JWT_ACCESS_TOKEN_TTL", "60")], None).config;
    assert_eq!((config.database_url().expose(), config.auth.access_ttl_s), ("postgres://db/x", 60));

    let native = good(&[("RUST_LOG", "debug")], Some("[telemetry]\nlog_filter = \"warn\"\n"));
    assert_eq!(native.config.telemetry.log_filter, "warn");
    assert_eq!(native.notices.len(), 1, "{:?}", native.notices);
    let same = good(&[("RUST_LOG", "warn"), ("IRON__TELEMETRY__LOG_FILTER", "warn")], None);
    assert!(same.notices.is_empty(), "{:?}", same.notices);
}

#[test]
fn a_notice_does_not_repeat_the_secrets_that_differ() {
    let environment = [("JWT_SECRET", "aaaaaaaaaaaaaaaa"), ("IRON__AUTH__JWT_SECRET", "bbbbbbbbbbbbbbbb")];
    let notices = good(&environment, None).notices.join("\n");
    assert!(notices.contains("JWT_SECRET") && !notices.contains("aaaa") && !notices.contains("bbbb"), "{notices}");
}

#[test]
fn the_port_alias_listens_on_all_interfaces_unless_a_host_is_set() {
    let listen = |environment: &[(&str, &str)]| good(environment, None).config.server.listen().to_string();
    assert_eq!(listen(&[("SERVER_PORT", "8080")]), "0.0.0.0:8080");
    assert_eq!(listen(&[("SERVER_PORT", "8080"), ("IRON__SERVER__HOST", "127.0.0.1")]), "127.0.0.1:8080");
    assert_eq!(listen(&[("SERVER_PORT", "8080"), ("IRON__SERVER__PORT", "9")]), "127.0.0.1:9", "the alias lost");
    assert_eq!(listen(&[("SERVER_PORT", "8080"), ("IRON__SERVER__ADDRESS", "127.0.0.1:0")]), "127.0.0.1:0");
}

#[test]
fn production_is_recognised_by_its_surroundings() {
    let mode = |environment: &[(&str, &str)]| good(environment, None).config.deployment.mode();
    assert_eq!(mode(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]), Mode::Production);
    assert_eq!(mode(&[("KUBERNETES_SERVICE_HOST", "")]), Mode::Pilot);
    assert_eq!(mode(&[("DYNO", "web.1"), ("IRON_DEPLOYMENT_MODE", "Development")]), Mode::Development);
    assert!(bad(&[("DYNO", "web.1"), ("ENABLE_DEMO_SEED", "1")], None).contains("bootstrap.demo_seed"));
    assert!(good(&[("ENABLE_DEMO_SEED", "1")], None).config.bootstrap.demo_seed);
    assert_eq!(good(&[("ENVIRONMENT", "staging")], None).config.deployment.environment(), "staging");
}

#[test]
fn printed_settings_show_no_secret() {
    let environment = [
        ("JWT_SECRET", "hunter2-hunter2"),
        ("IRON__SECRETS__PREVIOUS_KEYS", "hunter2,hunter2"),
        ("DATABASE_URL", "postgres://iron:hunter2@db/x"),
        ("ADMIN_PASSWORD", "hunter2"),
    ];
    let settings = good(&environment, None).settings();
    assert!(settings.iter().all(|s| !s.value.contains("hunter2")), "{settings:#?}");
    let value = |key: &str| settings.iter().find(|s| s.key == key).map(|s| s.value.clone());
    assert_eq!(value("auth.jwt_secret").as_deref(), Some("(secret)"));
    assert_eq!(value("database.url").as_deref(), Some("\"postgres://iron:***@db/x\""));
    assert_eq!(value("auth.ic_token_secret").as_deref(), Some("(not set)"));
    assert_eq!(value("server.port").as_deref(), Some("3001"));
}

#[test]
fn a_value_is_given_directly_or_as_a_file() {
    let text = bad(&[("IRON__AUTH__JWT_SECRET", "x"), ("IRON__AUTH__JWT_SECRET_FILE", "/x")], None);
    assert!(text.contains("auth.jwt_secret_file"), "{text}");
    let loaded = good(&[("JWT_SECRET", "x"), ("IRON__AUTH__JWT_SECRET_FILE", "/x")], None);
    assert!(loaded.config.auth.jwt_secret.is_none(), "the alias lost to the native file");
}

#[test]
fn every_alias_leads_to_a_key() {
    let keys = keys::all();
    for alias in ALIASES {
        for key in std::iter::once(&alias.key).chain(alias.also) {
            assert!(keys.iter().any(|k| k.path == *key), "{key}");
        }
    }
}

#[test]
fn a_named_file_must_exist() {
    let sources = Sources { file: Some("/nonexistent/iron.toml".into()), ..Sources::default() };
    assert!(load(&sources).err().expect("refused").to_string().contains("/nonexistent/iron.toml"));
}
