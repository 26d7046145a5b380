//! A world in words, for whoever looks for the cause of what it did wrong.

use std::fmt::{self, Display, Formatter};

use giliran_wire::ledger::{Block, Chain, Entry, Reading};

use crate::streams::Message;
use crate::world::Run;

impl Display for Run {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "world {}, faults {:?}", self.seed, self.faults)?;
        let mut chain = Chain::new();
        for message in self.streams.messages() {
            let Message { generation, seq, bytes } = message;
            write!(f, "{generation}/{seq} at {} ms: ", self.streams.stored_ms(message))?;
            match chain.read_bytes(seq, bytes) {
                Ok(Reading::Valid(block)) => write_block(f, &block)?,
                other => {
                    write!(f, "{other:?}: ")?;
                    match Block::open(bytes) {
                        Ok((block, _)) => write_block(f, &block)?,
                        Err(error) => writeln!(f, "{error}")?,
                    }
                }
            }
        }
        for (seq, bytes) in self.streams.lost() {
            write!(f, "lost at {seq}: ")?;
            match Block::open(bytes) {
                Ok((block, _)) => write_block(f, &block)?,
                Err(error) => writeln!(f, "{error}")?,
            }
        }
        for attempt in &self.attempts {
            write!(f, "{} sent at {} ms", attempt.request_id, attempt.sent_ms)?;
            write!(f, " for {:?} {:?}:", attempt.slots, attempt.change)?;
            for heard in &attempt.answers {
                write!(f, " at {} ms {:?} on {}", heard.at_ms, heard.answer, heard.on)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn write_block(f: &mut Formatter<'_>, block: &Block) -> fmt::Result {
    let entries: Vec<&str> = block.entries.iter().map(Entry::what).collect();
    let Block { number, epoch, time, .. } = block;
    writeln!(f, "block {number}, epoch {epoch}, {time}, {entries:?}")
}
