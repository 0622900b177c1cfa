//! Server-sent events, taken apart (HTML Living Standard, "9.2.6 Interpreting an event stream").

/// The longest block that is taken, in bytes; a frame has at most 64 KiB.
const MAX_BLOCK: usize = 256 << 10;

/// What stands between two blank lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) id: Option<String>,
    pub(super) event: Option<String>,
    pub(super) data: Option<String>,
}

/// Bytes as they come, and the blocks in them.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    block: Block,
    /// Whether the block has any field.
    begun: bool,
}

impl Lines {
    pub(super) fn push(&mut self, chunk: &[u8]) {
        // What was taken is let go of before more comes
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.len() > MAX_BLOCK {
            // A line without an end: whatever it is, it is not of this protocol
            self.bytes.clear();
        }
        self.bytes.extend_from_slice(chunk);
    }

    /// The next whole block.
    pub(super) fn next(&mut self) -> Option<Block> {
        while let Some(length) = self.bytes[self.start..].iter().position(|byte| *byte == b'\n') {
            let line = &self.bytes[self.start..self.start + length];
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
            self.start += length + 1;
            if line.is_empty() {
                let block = std::mem::take(&mut self.block);
                if std::mem::take(&mut self.begun) {
                    return Some(block);
                }
                continue;
            }
            self.field(&line);
        }
        None
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        let field = match name {
            "id" => &mut self.block.id,
            "event" => &mut self.block.event,
            "data" => &mut self.block.data,
            // A comment, or a field that is not for us
            _ => return,
        };
        self.begun = true;
        match field {
            Some(text) if name == "data" => {
                text.push('\n');
                text.push_str(value);
            }
            _ => *field = Some(value.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Block, Lines};

    const TEXT: &str = "retry: 1000\nid: e:3\n\n: heartbeat\n\nid: e:4\nevent: AGENT_EVENT\ndata: {\"a\":\"ü\"}\r\n\n\
        data: one\ndata:two\n\nid: e:9\n";

    fn blocks(pieces: &[&[u8]]) -> Vec<Block> {
        let mut lines = Lines::default();
        let mut blocks = Vec::new();
        for piece in pieces {
            lines.push(piece);
            while let Some(block) = lines.next() {
                blocks.push(block);
            }
        }
        blocks
    }

    fn block(id: Option<&str>, event: Option<&str>, data: Option<&str>) -> Block {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Block { id: own(id), event: own(event), data: own(data) }
    }

    fn expected() -> Vec<Block> {
        vec![
            block(Some("e:3"), None, None),
            block(Some("e:4"), Some("AGENT_EVENT"), Some("{\"a\":\"ü\"}")),
            block(None, None, Some("one\ntwo")),
        ]
    }

    #[test]
    fn blocks_end_with_a_blank_line_and_comments_are_none() {
        assert_eq!(blocks(&[TEXT.as_bytes()]), expected());
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_come(cuts in proptest::collection::vec(0..TEXT.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&TEXT.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&TEXT.as_bytes()[from..]);
            prop_assert_eq!(blocks(&pieces), expected());
        }
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(&[b'x'; 64 << 10]);
            assert!(lines.next().is_none());
            assert!(lines.bytes.len() < 512 << 10);
        }
    }
}
