//! A message's answers, written one by one.

use std::ops::Range;

use bincode::Encode;
use serde::Serialize;

use super::json_into;
use crate::codec;
use crate::request::{BINARY_VERSION, Form};

/// What a rejection takes in the binary form, about; for the room that is made beforehand.
const REJECTION_BYTES: usize = 64;
/// What a payload has beside its answers: version and count, or brackets.
const PAYLOAD_OVERHEAD_BYTES: usize = 9;

/// Answers to the requests of one message, each written once it is known, in whatever
/// order; put together in the order of the requests.
#[derive(Debug)]
pub struct Parts {
    form: Form,
    /// The answers so far, one behind the other.
    written: Vec<u8>,
    /// Where in `written` each request's answer stands.
    places: Vec<Option<Range<usize>>>,
    missing: usize,
}

impl Parts {
    /// None of so many answers. `form` is [`Form::JsonMany`] or [`Form::Binary`].
    pub fn new(form: Form, requests: usize) -> Self {
        let places = vec![None; requests];
        let written = Vec::with_capacity(requests * REJECTION_BYTES);
        Self { form, written, places, missing: requests }
    }

    /// Writes the answer to the request of this index. The first one stands.
    pub fn put<T: Serialize + Encode>(&mut self, index: usize, answer: &T) {
        let Some(place @ None) = self.places.get_mut(index) else { return };
        let start = self.written.len();
        match self.form {
            Form::JsonOne | Form::JsonMany => json_into(answer, &mut self.written),
            Form::Binary => codec::encode_into(answer, &mut self.written),
        }
        *place = Some(start..self.written.len());
        self.missing -= 1;
    }

    /// True once every request has its answer.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Appends the payload, as [`write`] would.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.written.len() + self.places.len() + PAYLOAD_OVERHEAD_BYTES);
        let answers = self.places.iter().flatten().map(|place| &self.written[place.clone()]);
        if self.form == Form::Binary {
            out.push(BINARY_VERSION);
            codec::encode_into(&(self.places.len() as u64), out);
            answers.for_each(|answer| out.extend_from_slice(answer));
            return;
        }
        out.push(b'[');
        for (index, answer) in answers.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(answer);
        }
        out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answer, Reason, Rejection, Verdict, write};

    #[test]
    fn parts_in_any_order_are_what_the_whole_is() {
        let answer = |id: &'static str| Answer {
            request_id: Some(id.into()),
            verdict: Verdict::Rejected(Rejection::new(Reason::SoldOut)),
        };
        let answers = [answer("a"), answer("bcd"), answer("e")];
        for form in [Form::JsonMany, Form::Binary] {
            let mut parts = Parts::new(form, answers.len());
            for index in [2, 0, 1] {
                assert!(!parts.is_complete());
                parts.put(index, &answers[index]);
            }
            parts.put(1, &answer("the first one stands"));
            assert!(parts.is_complete());
            let (mut put_together, mut whole) = (b"before".to_vec(), b"before".to_vec());
            parts.write(&mut put_together);
            write(form, &answers, &mut whole);
            assert_eq!(put_together, whole, "{form:?}");
        }
        let mut none = Vec::new();
        Parts::new(Form::JsonMany, 0).write(&mut none);
        assert_eq!(none, b"[]");
    }
}
