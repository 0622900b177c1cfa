//! `server config …`

use clap::Subcommand;
use kernel::SystemEntropy;

use super::{Failure, print};
use crate::config::{Config, Sources, load};
use crate::secrets::{Missing, resolve};

/// What to do with the configuration.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Say whether the server could start with it. Changes nothing.
    Check,
    /// Print every setting with its value and where it comes from. Secrets are not shown.
    Print,
    /// Print the JSON Schema of the configuration file, which documents every key.
    Schema,
}

pub(super) fn run(command: &Command, sources: &Sources) -> Result<(), Failure> {
    match command {
        Command::Check => {
            let loaded = load(sources)?;
            let (_, notices) = resolve(&loaded.config, &SystemEntropy, Missing::Report)?;
            let mut text = String::new();
            for notice in loaded.notices.iter().chain(&notices) {
                text.push_str(&format!("note: {notice}\n"));
            }
            text.push_str("the configuration is usable\n");
            print(text.as_bytes())
        }
        Command::Print => {
            let settings = load(sources)?.settings();
            let width = settings.iter().map(|s| s.key.len() + s.value.len()).max().unwrap_or(0).min(60);
            let mut text = String::new();
            for setting in settings {
                let line = format!("{} = {}", setting.key, setting.value);
                text.push_str(&format!("{line:<width$}  # {}\n", setting.source, width = width + 3));
            }
            print(text.as_bytes())
        }
        Command::Schema => {
            let mut text = serde_json::to_string_pretty(&Config::schema())?;
            text.push('\n');
            print(text.as_bytes())
        }
    }
}
