//! That one entry is in a draw, shown without the others: the entry, and the hashes
//! beside its way up to the root. See `docs/draw.md`.

use serde::{Deserialize, Serialize};

use crate::draw::{
    About, Extract, Problem, SlotPlaces, fixed, hash, hex, holder, leaf, number, short, there,
};

/// What a proof begins with.
pub const FORMAT: &str = "giliran-proof/1";

/// An entry and its way to the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Must be [`FORMAT`]; a reader of another version does not go on.
    pub format: String,
    pub ledger: String,
    pub opening: String,
    /// Its ordinal in the ledger.
    pub ordinal: u32,
    /// The public value that will be mixed in, by name; none: the operator has to be
    /// trusted.
    #[serde(deserialize_with = "there")]
    pub beacon: Option<String>,
    /// The root, put on record at the close.
    pub root: String,
    /// Places of every slot before the draw.
    pub slots: Vec<SlotPlaces>,
    /// How many entries there are.
    pub entries: u64,
    /// Which of them this is, by number, from 0 on.
    pub index: u64,
    pub ballot: Entry,
    /// The hashes beside its way, from below.
    pub path: Vec<String>,
}

/// An entry, without what it got: that is not in the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Stands for the receipt.
    pub number: String,
    /// Binds it to the request.
    pub holder: String,
    /// How many places it wants, all in one slot.
    pub places: u16,
    /// The slots that fit, by preference: indexes into the proof's.
    pub slots: Vec<u32>,
}

impl Extract {
    /// The proof of a receipt's entry.
    ///
    /// # Errors
    ///
    /// [`Problem`] where it is not in this draw, or stands for another request.
    pub fn prove(&self, receipt: &[u8; 10], request_id: &str) -> Result<Proof, Problem> {
        let ballot = self.find(receipt, request_id)?;
        let index = self.ballots.partition_point(|other| other.number < ballot.number);
        Ok(Proof {
            format: FORMAT.to_owned(),
            ledger: self.ledger.clone(),
            opening: self.opening.clone(),
            ordinal: self.ordinal,
            beacon: self.beacon.as_ref().map(|beacon| beacon.name.clone()),
            root: self.root.clone(),
            slots: self.slots.clone(),
            entries: self.ballots.len() as u64,
            index: index as u64,
            ballot: Entry {
                number: ballot.number.clone(),
                holder: ballot.holder.clone(),
                places: ballot.places,
                slots: ballot.slots.clone(),
            },
            path: self.path(index)?.iter().map(|hash| hex(hash)).collect(),
        })
    }
}

impl Proof {
    /// Reads a proof.
    ///
    /// # Errors
    ///
    /// [`Problem`] where it is none, or incomplete.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Which {
            format: String,
        }
        match serde_json::from_str(text) {
            Ok(Which { format }) if format != FORMAT => Err(Problem(format!(
                "format: {} is another; this release reads `{FORMAT}` as a proof",
                short(&format)
            ))),
            _ => serde_json::from_str(text).map_err(|error| {
                Problem(format!(
                    "this is not a proof of an entry: {error}; expected what `giliran draw proof` \
                     writes"
                ))
            }),
        }
    }

    /// Holds it against the root that was told at the close.
    ///
    /// # Errors
    ///
    /// The first [`Problem`] met.
    pub fn verify(&self, published: &str) -> Result<(), Problem> {
        let (mut index, mut entries) = (self.index, self.entries);
        if index >= entries {
            return Err(Problem(format!("index: {index}, and there are {entries} entries")));
        }
        let number = fixed::<10>("ballot.number", &self.ballot.number)?;
        let holder = fixed::<32>("ballot.holder", &self.ballot.holder)?;
        let mut node = leaf(&number, &holder, self.ballot.places, &self.ballot.slots);
        let mut path = self.path.iter();
        while entries > 1 {
            // One that is left over goes up as it is.
            if index ^ 1 < entries {
                let beside = path.next().ok_or_else(|| Problem("path: it is too short".into()))?;
                let beside = fixed::<32>("path", beside)?;
                let pair = if index % 2 == 0 { [&node, &beside] } else { [&beside, &node] };
                node = hash("node", &[pair[0], pair[1]]);
            }
            (index, entries) = (index / 2, entries.div_ceil(2));
        }
        if path.next().is_some() {
            return Err(Problem("path: it is too long".into()));
        }
        let about = About {
            ledger: &self.ledger,
            ordinal: self.ordinal,
            opening: &self.opening,
            beacon: self.beacon.as_deref().unwrap_or_default(),
            slots: &self.slots,
        };
        let root = about.root(self.entries, &node)?;
        if root != fixed::<32>("root", &self.root)? {
            return Err(Problem(format!(
                "root: entry and path lead to {}, not to {}; one of them was changed",
                hex(&root),
                self.root
            )));
        }
        if !published.eq_ignore_ascii_case(&self.root) {
            let own = &self.root;
            return Err(Problem(format!(
                "root: another one was published before the draw; the proof's is {own}"
            )));
        }
        Ok(())
    }

    /// That it is the entry of this receipt, made by this request.
    ///
    /// # Errors
    ///
    /// [`Problem`] where it is another's.
    pub fn is_of(&self, receipt: &[u8; 10], request_id: &str) -> Result<(), Problem> {
        let ledger = fixed::<16>("ledger", &self.ledger)?;
        if self.ballot.number != hex(&number(&ledger, self.ordinal, receipt)) {
            return Err(Problem("the entry is not that of this receipt".to_owned()));
        }
        if self.ballot.holder != hex(&holder(receipt, request_id)) {
            let request_id = short(request_id);
            return Err(Problem(format!(
                "the entry was made by another request than {request_id}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::draw::{Ballot, FORMAT as DRAW};

    fn extract(entries: u8) -> Extract {
        let ballot = |n: u8| Ballot {
            number: hex(&number(&[1; 16], 2, &[n; 10])),
            holder: hex(&holder(&[n; 10], &format!("r{n}"))),
            places: 1,
            slots: vec![0],
            drawn: None,
        };
        let mut ballots: Vec<Ballot> = (0..entries).map(ballot).collect();
        ballots.sort_by(|one, other| one.number.cmp(&other.number));
        let mut extract = Extract {
            format: DRAW.into(),
            ledger: hex(&[1; 16]),
            opening: "w".into(),
            ordinal: 2,
            commitment: String::new(),
            beacon: None,
            root: String::new(),
            seed: String::new(),
            slots: vec![SlotPlaces {
                office: "o".into(),
                date: "2026-12-01".into(),
                session: "a".into(),
                places: 2,
            }],
            passed: Vec::new(),
            ballots,
        };
        extract.root = hex(&extract.root_of_ballots());
        extract
    }

    #[test]
    fn every_entry_of_every_tree_is_proven_and_nothing_else_is() {
        for entries in 1..=20 {
            let extract = extract(entries);
            for n in 0..entries {
                let proof = extract.prove(&[n; 10], &format!("r{n}")).unwrap();
                proof.verify(&extract.root).unwrap();
                proof.is_of(&[n; 10], &format!("r{n}")).unwrap();
                assert!(proof.is_of(&[n; 10], "another").is_err());
                assert!(proof.is_of(&[99; 10], &format!("r{n}")).is_err());
                assert!(proof.verify(&hex(&[0; 32])).is_err());
                type Change = fn(&mut Proof);
                let changes: [Change; 11] = [
                    |p| p.ballot.places += 1,
                    |p| p.ballot.slots.push(0),
                    |p| p.ballot.holder = hex(&[0; 32]),
                    |p| p.ballot.number = hex(&[0; 10]),
                    |p| p.index += 1,
                    |p| p.entries += 1,
                    |p| p.path.push(hex(&[0; 32])),
                    |p| p.slots[0].places += 1,
                    |p| p.opening.push('x'),
                    |p| p.slots[0].date.push('0'),
                    |p| p.beacon = Some("drand 00 1".into()),
                ];
                for (i, change) in changes.into_iter().enumerate() {
                    let mut changed = proof.clone();
                    change(&mut changed);
                    assert!(changed.verify(&extract.root).is_err(), "{entries} {n}: change {i}");
                }
            }
        }
    }
}
