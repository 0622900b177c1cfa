//! Where secrets come from.

use std::fs;
use std::path::PathBuf;

use kernel::entropy::SeededEntropy;
use kernel::{Entropy, SystemEntropy};

use super::{Missing, Secrets, SecretsError, resolve};
use crate::config::deployment::Mode;
use crate::config::types::SecretText;
use crate::config::{Config, Sources, load};

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let mut random = [0; 8];
        SystemEntropy.fill(&mut random);
        let path = std::env::temp_dir().join(format!("control-plane-{:016x}", u64::from_be_bytes(random)));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn config(&self) -> Config {
        Config { data_dir: self.0.clone(), ..Config::default() }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn found(config: &Config) -> Result<(Secrets, Vec<String>), SecretsError> {
    resolve(config, &SystemEntropy, Missing::Create)
}

fn refused(config: &Config) -> String {
    found(config).err().expect("refused").to_string()
}

fn secret(text: &str) -> Option<SecretText> {
    Some(SecretText::new(text.to_owned()))
}

#[test]
fn missing_secrets_are_made_once_and_only_for_this_user() {
    let directory = Directory::new();
    let (first, notices) = found(&directory.config()).expect("made");
    assert!(notices.is_empty(), "{notices:?}");
    let (second, _) = resolve(&directory.config(), &SeededEntropy::new(9), Missing::Create).expect("found");
    assert_eq!(first.ring.active_name(), second.ring.active_name());
    for name in ["jwt.secret", "ic-token.secret", "master.key"] {
        let path = directory.0.join("secrets").join(name);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("kept").permissions());
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert!(fs::read_to_string(&path).expect("kept").trim().len() >= 44, "{name}");
    }
    let left: Vec<_> = fs::read_dir(directory.0.join("secrets")).expect("listed").collect();
    assert_eq!(left.len(), 3, "no drafts are left behind");
}

#[test]
fn servers_that_start_at_once_agree() {
    let directory = Directory::new();
    let names: Vec<String> = std::thread::scope(|scope| {
        let start = || found(&directory.config()).expect("made").0.ring.active_name().to_owned();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(names.windows(2).all(|pair| pair[0] == pair[1]), "{names:?}");
}

#[test]
fn a_check_makes_nothing() {
    let directory = Directory::new();
    let (_, notices) = resolve(&directory.config(), &SystemEntropy, Missing::Report).expect("usable");
    assert_eq!(notices.len(), 3, "{notices:?}");
    assert_eq!(fs::read_dir(&directory.0).expect("listed").count(), 0);
}

#[test]
fn production_demands_every_secret_at_once() {
    let directory = Directory::new();
    let mut config = directory.config();
    config.deployment.mode = Some(Mode::Production);
    let text = refused(&config);
    for name in ["JWT_SECRET", "IC_TOKEN_SECRET", "IRON_SECRETS_MASTER_KEY"] {
        assert!(text.contains(name), "{name} in {text}");
    }
    assert_eq!(fs::read_dir(&directory.0).expect("listed").count(), 0, "nothing was made");
}

#[test]
fn well_known_secrets_are_refused_in_every_mode_and_short_ones_reported() {
    let directory = Directory::new();
    let mut config = directory.config();
    config.auth.jwt_secret = secret("dev-secret-change-in-production");
    let text = refused(&config);
    assert!(text.contains("auth.jwt_secret") && !text.contains("dev-secret"), "{text}");

    config.auth.jwt_secret = secret("kZ8v!short");
    let (_, notices) = found(&config).expect("usable");
    assert!(notices.iter().any(|n| n.contains("auth.jwt_secret") && !n.contains("kZ8v")), "{notices:?}");
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let directory = Directory::new();
    let path = directory.0.join("metrics");
    fs::write(&path, "s3same-open\r\n").expect("written");
    let mut config = directory.config();
    config.telemetry.metrics_token_file = Some(path);
    let token = found(&config).expect("read").0.metrics_token.expect("given");
    assert_eq!(token.expose(), "s3same-open");
    config.telemetry.metrics_token_file = Some(directory.0.join("nowhere"));
    assert!(refused(&config).contains("telemetry.metrics_token_file"));
}

#[test]
fn master_keys_are_32_bytes_and_former_ones_stay_in_the_ring() {
    let directory = Directory::new();
    let mut config = directory.config();
    config.secrets.master_key = secret("dG9vIHNob3J0");
    assert!(refused(&config).contains("secrets.master_key"));

    let [new, old] = [(); 2].map(|()| vault::Kek::random(&SystemEntropy).to_base64());
    config.secrets.master_key = secret(new.expose());
    config.secrets.previous_keys = vec![SecretText::new(old.expose().clone())];
    let (secrets, _) = found(&config).expect("usable");
    assert_eq!(secrets.ring.names().count(), 2);
    assert_eq!(secrets.ring.active_name(), vault::Kek::from_base64(new.expose()).expect("a key").fingerprint());
}

#[test]
fn the_environment_reaches_the_keys() {
    let directory = Directory::new();
    let environment = [("IRON_DATA_DIR", directory.0.display().to_string()), ("ADMIN_PASSWORD", "12345".to_owned())];
    let sources = Sources {
        environment: environment.map(|(k, v)| (k.to_owned(), v)).into_iter().collect(),
        ..Sources::default()
    };
    let config = load(&sources).unwrap_or_else(|error| panic!("{error}")).config;
    assert!(refused(&config).contains("bootstrap.admin_password"), "too short");
}
