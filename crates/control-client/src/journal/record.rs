//! Records and their form: one line each, a checksum and a JSON object.

use budget_protocol::{HandshakeRequest, RuntimeVersion};
use kernel::{Money, ProviderKeyId, Secret};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The form of journals that this version writes.
pub(crate) const FORMAT: u32 = 1;

/// What a handshake asked for, so that it can be repeated word by word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) request_id: String,
    /// Micro-dollars.
    pub(crate) requested: i64,
    pub(crate) provider: Option<String>,
    pub(crate) provider_key_id: Option<i64>,
    pub(crate) runtime_id: Option<String>,
    pub(crate) runtime_version: Option<String>,
}

impl Wish {
    pub(crate) fn request(&self, ic_token: Secret<String>) -> HandshakeRequest {
        HandshakeRequest {
            provider: self.provider.clone(),
            provider_key_id: self.provider_key_id.map(ProviderKeyId),
            requested_budget: Money::from_micros(self.requested),
            runtime_id: self.runtime_id.clone(),
            runtime_version: self.runtime_version.as_deref().and_then(RuntimeVersion::parse),
            request_id: Some(self.request_id.clone()),
            ..HandshakeRequest::new(ic_token)
        }
    }
}

/// One line of a journal. Amounts are nano-dollars, instants milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The first line. `wish` is there when a handshake is about to be sent, absent for the successor in a refresh.
    Open { format: u32, at: i64, base_url: String, agent: String, wish: Option<Wish> },
    /// The lease is known.
    Lease { lease_id: String, granted: i64, provider: String },
    /// A call may be made that costs at most this much.
    Reserve { id: String, worst: i64 },
    /// The call was certainly not made.
    Cancel { id: String },
    /// What the call cost.
    Commit { id: String, seq: i64, cost: i64, tokens: i64, model: String, provider: String, at: i64 },
    /// The server has booked these, or refused them for good.
    Acknowledged { seqs: Vec<i64>, refused: u64 },
    /// A refresh of this lease is about to be sent; amounts in micro-dollars, as sent.
    Refresh { request_id: String, requested: i64, total_spent: i64 },
    /// Its outcome: the lease is closed and this one follows, or it stays as it was.
    Refreshed { successor: Option<String> },
}

impl Record {
    /// The line, with its newline.
    pub(crate) fn line(&self) -> Vec<u8> {
        // Records are plain data with text keys; their JSON form always exists
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{} {json}\n", checksum(json.as_bytes())).into_bytes()
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let (sum, json) = line.split_once(' ')?;
        if sum == checksum(json.as_bytes()) { serde_json::from_str(json).ok() } else { None }
    }
}

/// Enough of SHA-256 to notice a torn or damaged line.
fn checksum(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..8])
}

/// What a journal says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    pub(crate) records: Vec<Record>,
    /// How many bytes are whole lines. What follows was being written when the process died; nobody was told that it
    /// was durable, so it is ignored.
    pub(crate) whole: usize,
    /// A whole line is not what was written: the medium lost data, and amounts may be missing.
    pub(crate) damaged: bool,
}

impl Replay {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut replay = Self { whole, ..Self::default() };
        for line in bytes[..whole].split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            match Record::parse(line) {
                Some(record) => replay.records.push(record),
                None => replay.damaged = true,
            }
        }
        replay
    }
}

#[cfg(test)]
mod tests {
    use super::{Record, Replay};

    fn reserve(n: usize) -> Record {
        Record::Reserve { id: format!("r{n}\n\"ä"), worst: 5 }
    }

    fn journal(count: usize) -> Vec<u8> {
        (0..count).flat_map(|n| reserve(n).line()).collect()
    }

    #[test]
    fn records_read_back() {
        let replay = Replay::read(&journal(3));
        assert_eq!(replay.records, (0..3).map(reserve).collect::<Vec<_>>());
        assert!(!replay.damaged);
    }

    #[test]
    fn a_torn_last_line_is_ignored_wherever_it_was_torn() {
        let (bytes, two) = (journal(3), journal(2).len());
        for cut in two..bytes.len() {
            let replay = Replay::read(&bytes[..cut]);
            assert_eq!((replay.records.len(), replay.whole, replay.damaged), (2, two, false), "cut at {cut}");
        }
        let mut zeros = journal(2);
        zeros.extend([0; 64]);
        assert_eq!(Replay::read(&zeros).records.len(), 2);
        assert_eq!(Replay::read(b""), Replay::default());
    }

    #[test]
    fn any_changed_byte_in_a_whole_line_is_noticed() {
        let bytes = journal(2);
        for at in 0..bytes.len() - 1 {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let replay = Replay::read(&changed);
            assert!(replay.damaged || replay.records.len() < 2, "byte {at}");
        }
    }
}
