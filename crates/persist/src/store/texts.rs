//! The texts of a batch that come from outside, by ledger sequence and field: to
//! say which one a database cannot hold.

use crate::rows::{Batch, EntryRow, Run};

/// Sequence of the block, the store's column, the text.
type Text<'a> = (u64, &'static str, &'a str);

/// Every text that a client or an operator gave.
pub(super) fn of<'a>(batch: &'a Batch) -> Vec<Text<'a>> {
    let mut texts = Vec::new();
    let mut add = |seq, field, text: Option<&'a String>| {
        texts.extend(text.map(|text| (seq, field, text.as_str())));
    };
    for run in &batch.runs {
        match run {
            Run::Grants(rows) => {
                for row in rows {
                    add(row.seq, "request_id", Some(&row.grant.request_id));
                    add(row.seq, "ref", row.grant.reference.as_ref());
                    add(row.seq, "channel", row.grant.channel.as_ref());
                }
            }
            Run::Updates(updates) => {
                for update in updates {
                    add(update.seq, "payment", update.payment.as_ref());
                }
            }
        }
    }
    for entry in &batch.entries {
        if let EntryRow::New { request_id, reference, seq, .. } = entry {
            add(*seq, "request_id", Some(request_id));
            add(*seq, "ref", reference.as_ref());
        }
    }
    for action in &batch.actions {
        add(action.ledger_seq, "value", Some(&action.value));
        if let Some((operator, reason)) = &action.signed {
            add(action.ledger_seq, "operator", Some(operator));
            add(action.ledger_seq, "reason", Some(reason));
        }
    }
    texts
}
