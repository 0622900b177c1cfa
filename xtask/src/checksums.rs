//! The list of migrations, which keeps released ones as they are.
//!
//! `migrations/CHECKSUMS` has one line per file, `<SHA-256>  <path>`, and a line `# not released yet` between those
//! that somebody's database may have applied and those that may still change. Writing the list refuses to change
//! anything above that line; a release moves the line to the end (`cargo xtask codegen --release`).

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Where the list stands.
pub(crate) const PATH: &str = "migrations/CHECKSUMS";
const MARKER: &str = "# not released yet";
const HEADER: &str = "# SHA-256 of every migration; written by `cargo xtask codegen`.\n\
    # Files above the next comment are released and must never change: databases have applied them.\n";

/// The two directories, which hold the same file names.
pub(crate) const DATABASES: [&str; 2] = ["sqlite", "postgres"];

/// Migrations by path below `migrations/`, with their checksums.
pub(crate) type Migrations = BTreeMap<String, String>;

/// What lies in the directories.
pub(crate) fn present(migrations: &Path) -> Result<Migrations> {
    let mut found = Migrations::new();
    for database in DATABASES {
        let dir = migrations.join(database);
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "sql") {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                found.insert(format!("{database}/{name}"), hex::encode(Sha256::digest(fs::read(&path)?)));
            }
        }
    }
    Ok(found)
}

/// The list as it stands.
#[derive(Default)]
pub(crate) struct List {
    released: Migrations,
    open: Migrations,
}

impl List {
    /// Reads the list.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut list = Self::default();
        let mut open = false;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if line.starts_with('#') {
                open |= line == MARKER;
                continue;
            }
            let (sum, path) = line.split_once("  ").with_context(|| format!("not `<SHA-256>  <path>`: {line}"))?;
            let part = if open { &mut list.open } else { &mut list.released };
            part.insert(path.to_owned(), sum.to_owned());
        }
        Ok(list)
    }

    /// The list for what is present. `release` declares all of it released.
    pub(crate) fn refreshed(&self, present: &Migrations, release: bool) -> Self {
        let mut refreshed = Self { released: self.released.clone(), open: Migrations::new() };
        for (path, sum) in present.iter().filter(|(path, _)| !self.released.contains_key(*path)) {
            let part = if release { &mut refreshed.released } else { &mut refreshed.open };
            part.insert(path.clone(), sum.clone());
        }
        refreshed
    }

    /// The text of the list.
    pub(crate) fn print(&self) -> String {
        let lines = |part: &Migrations| part.iter().map(|(path, sum)| format!("{sum}  {path}\n")).collect::<String>();
        format!("{HEADER}{}{MARKER}\n{}", lines(&self.released), lines(&self.open))
    }

    /// Released files that are gone or changed, and files without a partner for the other database.
    pub(crate) fn faults(&self, present: &Migrations) -> Vec<String> {
        let changed = self.released.iter().filter(|(path, sum)| present.get(*path) != Some(sum)).map(|(path, _)| {
            format!("migrations/{path} is released and must stay as it was: write a new migration instead")
        });
        let alone = present.keys().filter_map(|path| {
            let (database, name) = path.split_once('/')?;
            let other = DATABASES.into_iter().find(|d| *d != database)?;
            let missing = !present.contains_key(&format!("{other}/{name}"));
            missing.then(|| format!("migrations/{path} has no partner migrations/{other}/{name}"))
        });
        changed.chain(alone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{List, Migrations};

    fn files(pairs: &[(&str, &str)]) -> Migrations {
        pairs.iter().map(|(path, sum)| ((*path).to_owned(), (*sum).to_owned())).collect()
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let present = files(&[("postgres/0001_a.sql", "aa"), ("sqlite/0001_a.sql", "bb")]);
        let text = List::default().refreshed(&present, false).print();
        assert_eq!(List::parse(&text).unwrap().print(), text);
    }

    #[test]
    fn an_open_migration_may_change_and_a_released_one_may_not() {
        let before = files(&[("postgres/0001_a.sql", "aa"), ("sqlite/0001_a.sql", "bb")]);
        let after = files(&[("postgres/0001_a.sql", "aa"), ("sqlite/0001_a.sql", "changed")]);
        let open = List::default().refreshed(&before, false);
        assert!(open.faults(&after).is_empty());
        assert!(open.refreshed(&after, false).print().contains("changed"));
        let released = open.refreshed(&before, true);
        assert_eq!(released.faults(&after).len(), 1);
        assert!(!released.refreshed(&after, false).print().contains("changed"));
    }

    #[test]
    fn a_migration_for_one_database_only_is_a_fault() {
        let faults = List::default().faults(&files(&[("sqlite/0002_b.sql", "bb")]));
        assert_eq!(faults, ["migrations/sqlite/0002_b.sql has no partner migrations/postgres/0002_b.sql"]);
    }
}
