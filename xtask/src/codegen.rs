//! Committed files that a program writes, and the check that they are what it would write today.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{
    checksums,
    process::{build_server, command, read, root},
};

/// Files that the server prints about itself: where they stand, and what it is asked.
const PRINTED: &[(&str, &[&str])] =
    &[("docs/openapi.json", &["openapi"]), ("docs/config.schema.json", &["config", "schema"])];

/// Write the generated files: the API description, the schema of the configuration, the checksums of migrations.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; print the difference and fail if a file is not as it would be written
    #[arg(long)]
    check: bool,
    /// Declare all present migrations released: from then on they cannot change
    #[arg(long, conflicts_with = "check")]
    release: bool,
}

/// `cargo xtask codegen`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let files = generate(&build_server(false)?, args.release)?;
    if args.check {
        return compare(&files);
    }
    for (path, text) in &files {
        if fs::read_to_string(root().join(path)).is_ok_and(|old| old == *text) {
            println!("{path} is as it should be");
            continue;
        }
        let target = root().join(path);
        fs::create_dir_all(target.parent().context("a generated file lies in a directory")?)?;
        fs::write(&target, text)?;
        println!("{path} written");
    }
    Ok(())
}

/// Fails, with the difference, if a committed file is not what the server at that path gives.
pub(crate) fn check(server: &Path) -> Result<()> {
    compare(&generate(server, false)?)
}

fn generate(server: &Path, release: bool) -> Result<Vec<(&'static str, String)>> {
    let mut files = Vec::new();
    for (path, arguments) in PRINTED {
        let text = read(command(server).env_clear().args(*arguments))?;
        files.push((*path, text.trim_end().to_owned() + "\n"));
    }
    let list = fs::read_to_string(root().join(checksums::PATH)).unwrap_or_default();
    let present = checksums::present(&root().join("migrations"))?;
    files.push((checksums::PATH, checksums::List::parse(&list)?.refreshed(&present, release).print()));
    Ok(files)
}

fn compare(files: &[(&str, String)]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut stale = Vec::new();
    for (path, text) in files {
        let committed = root().join(path);
        if fs::read_to_string(&committed).is_ok_and(|old| old == *text) {
            continue;
        }
        stale.push(*path);
        let fresh = dir.path().join(path);
        fs::create_dir_all(fresh.parent().context("a generated file lies in a directory")?)?;
        fs::write(&fresh, text)?;
        let old = if committed.exists() { committed.as_path() } else { Path::new("/dev/null") };
        // Ends with 1 where there is a difference, which is known already
        let shown = command("git").args(["diff", "--no-index", "--no-color", "--"]).arg(old).arg(&fresh).output()?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        println!("{path} is out of date:");
        shown.lines().take(60).for_each(|line| println!("  {line}"));
    }
    if !stale.is_empty() {
        bail!("{} out of date; to write it anew: cargo xtask codegen", stale.join(", "));
    }
    println!("generated files: {} up to date", files.len());
    Ok(())
}
