//! Secrets in files.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use kernel::{Entropy, Secret};
use zeroize::Zeroizing;

/// More than any secret has.
const MAX_BYTES: u64 = 64 << 10;

/// A secret found in a file of ours.
pub(super) struct Kept {
    pub(super) secret: Secret<String>,
    pub(super) created: bool,
    pub(super) readable_by_others: bool,
}

/// Reads a secret; the line end that editors leave behind does not belong to it.
pub(super) fn read(path: &Path) -> io::Result<Secret<String>> {
    let mut text = Zeroizing::new(String::new());
    let file = fs::File::open(path)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large for a secret"));
    }
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Reads the secret of an earlier start, or makes one and keeps it.
///
/// Of several servers that start at once one makes it and the others read it; a crash on the way leaves either no file or
/// a whole one.
pub(super) fn read_or_create(
    path: &Path,
    make: impl FnOnce() -> Secret<String>,
    entropy: &dyn Entropy,
) -> io::Result<Kept> {
    match read(path) {
        Ok(secret) => return Ok(Kept { secret, created: false, readable_by_others: readable_by_others(path)? }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    crate::data_dir::create(directory)?;
    let mut random = [0; 8];
    entropy.fill(&mut random);
    let draft = directory.join(format!(".draft-{:016x}", u64::from_be_bytes(random)));
    let written = write(&draft, &make());
    // A link, unlike a rename, does not replace what somebody else has made in the meantime
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        other => other.map(|()| true),
    });
    let _ = fs::remove_file(&draft);
    let created = linked?;
    fs::File::open(directory)?.sync_all()?;
    Ok(Kept { secret: read(path)?, created, readable_by_others: readable_by_others(path)? })
}

fn write(path: &Path, secret: &Secret<String>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(secret.expose().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> io::Result<bool> {
    Ok(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path)?.permissions()) & 0o077 != 0)
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as where permissions can be read")]
fn readable_by_others(_: &Path) -> io::Result<bool> {
    Ok(false)
}
