//! House rules that no compiler knows, each with its reason in what it prints.

use std::{fs, path::Path};

use anyhow::{Result, bail};

use crate::{
    checksums,
    process::{command, read, root},
};

/// A file that does not fit on a few screens is two files.
const MAX_LINES: usize = 700;

/// Macros that stand for work not done. Written in two parts so that this file does not contain them.
const FORBIDDEN: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!(")];

/// The documents whose words about the repository must be true.
const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "deploy/README.md"];

/// `cargo xtask tidy`. `commands` are the subcommands that documents may mention.
pub(crate) fn run(commands: &[String]) -> Result<()> {
    let listed = read(command("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let homes = places_of_this_machine();
    let mut faults = Vec::new();
    let mut checked = 0;
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        // Listed but deleted, or not text: nothing to read
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        checked += 1;
        let found = words(path, &text, &homes).into_iter();
        faults.extend(found.map(|fault| format!("{path}{fault}")));
        if DOCUMENTS.contains(&path) {
            faults
                .extend(promises(&text, commands, |p| root().join(p).exists()).map(|fault| format!("{path}: {fault}")));
        }
    }
    let list = fs::read_to_string(root().join(checksums::PATH)).unwrap_or_default();
    faults.extend(checksums::List::parse(&list)?.faults(&checksums::present(&root().join("migrations"))?));

    if !faults.is_empty() {
        bail!("not tidy:\n  {}", faults.join("\n  "));
    }
    println!("tidy: {checked} files");
    Ok(())
}

/// Directories that exist on this machine and must not be written into files for all: the workspace and the home.
fn places_of_this_machine() -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let places = [root().display().to_string(), home];
    // A short one, such as the root of a container, is too likely to stand for something else
    let long = |place: &String| Path::new(place).components().count() > 2;
    places
        .into_iter()
        .filter(long)
        .chain([concat!("/ho", "me/").to_owned(), concat!("/Use", "rs/").to_owned()])
        .collect()
}

/// Faults in the text of one file, each beginning with its line.
fn words(path: &str, text: &str, homes: &[String]) -> Vec<String> {
    let rust = path.ends_with(".rs");
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if rust && lines > MAX_LINES {
        faults.push(format!(": {lines} lines, more than {MAX_LINES}: split it"));
    }
    for (line, number) in text.lines().zip(1..) {
        if let Some(home) = homes.iter().find(|home| line.contains(home.as_str())) {
            faults.push(format!(":{number}: names {home}, which is a place of one machine"));
        }
        if let Some(word) = FORBIDDEN.iter().find(|word| rust && line.contains(**word)) {
            faults.push(format!(":{number}: {word}...) is left: finish it or take it out"));
        }
    }
    faults
}

/// Paths and commands in a document that do not exist.
fn promises<'a>(
    text: &'a str,
    commands: &'a [String],
    exists: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = String> + 'a {
    let quoted = text.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|word| {
        let starts = ["crates/", "migrations/", "xtask/", "deploy/", "tests/", "docs/", ".ci/"];
        starts.iter().any(|s| word.starts_with(s)) && !word.contains(['*', '{', '<', ' ', '\n', '…'])
    });
    let missing = paths.filter(move |path| !exists(path)).map(|path| format!("`{path}` does not exist"));
    let called = text.match_indices("cargo xtask ").filter_map(|(at, found)| {
        let name = text[at + found.len()..].split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next()?;
        (!name.is_empty() && !name.starts_with('-')).then_some(name)
    });
    let unknown = called.filter(|name| !commands.iter().any(|c| c == name));
    missing.chain(unknown.map(|name| format!("there is no `cargo xtask {name}`")))
}

#[cfg(test)]
mod tests {
    use super::{promises, words};

    #[test]
    fn a_file_that_is_too_long_is_named_once() {
        let text = "x\n".repeat(701);
        assert_eq!(words("a.rs", &text, &[]).len(), 1);
        assert!(words("a.md", &text, &[]).is_empty());
    }

    #[test]
    fn unfinished_work_and_places_of_one_machine_are_found() {
        let text = concat!("fn a() { todo", "!(\"later\") }\n// see /place/of/mine/x\n");
        assert_eq!(words("a.rs", text, &["/place/of/mine".to_owned()]).len(), 2);
    }

    #[test]
    fn a_document_names_only_what_exists() {
        let text = "See `crates/kernel` and `crates/none`; run `cargo xtask ci` or `cargo xtask nothing --now`.";
        let faults = promises(text, &["ci".to_owned()], |path| path == "crates/kernel").collect::<Vec<_>>();
        assert_eq!(faults, ["`crates/none` does not exist", "there is no `cargo xtask nothing`"]);
    }
}
