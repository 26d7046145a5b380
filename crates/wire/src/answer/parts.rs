//! A message's answers, written one by one.

use super::{Answer, Element as _, json_into};
use crate::codec;
use crate::request::{BINARY_VERSION, Form};

/// Answers to the requests of one message, each written once it is known, in whatever
/// order; put together in the order of the requests.
#[derive(Debug)]
pub struct Parts {
    form: Form,
    /// The payload so far, its answers in the order in which they became known.
    written: Vec<u8>,
    /// Where in `written` each request's answer stands: begin and end, which is 0 for one
    /// that is missing.
    places: Vec<(u32, u32)>,
    missing: usize,
    /// The answers so far are those of the first requests, in their order.
    in_order: bool,
}

impl Parts {
    /// None of so many answers. `form` is [`Form::JsonMany`] or [`Form::Binary`].
    pub fn new(form: Form, requests: usize) -> Self {
        let (written, places) = (Vec::new(), vec![(0, 0); requests]);
        let mut parts = Self { form, written, places, missing: requests, in_order: true };
        parts.begin();
        parts
    }

    /// Writes what stands before the answers.
    fn begin(&mut self) {
        if self.form == Form::Binary {
            self.written.push(BINARY_VERSION);
            codec::encode_into(&(self.places.len() as u64), &mut self.written);
        } else {
            self.written.push(b'[');
        }
    }

    /// Writes the answer to the request of this index. The first one stands.
    pub fn put(&mut self, index: usize, answer: &Answer<'_>) {
        let requests = self.places.len();
        let known = requests - self.missing;
        let Some(place @ (_, 0)) = self.places.get_mut(index) else { return };
        if self.form != Form::Binary && known > 0 {
            self.written.push(b',');
        }
        let begin = self.written.len();
        match self.form {
            Form::JsonOne | Form::JsonMany => json_into(answer, &mut self.written),
            Form::Binary => answer.binary_into(&mut self.written),
        }
        *place = (begin as u32, self.written.len() as u32);
        self.in_order &= index == known;
        self.missing -= 1;
        if known == 0 {
            // Most answers of a message are of one kind: as long as the first.
            let length = self.written.len() - begin + 1;
            self.written.reserve(length * self.missing);
        }
    }

    /// True once every request has its answer.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The payload, as [`write`](super::write) would make it. Nothing is left.
    pub fn take_payload(&mut self) -> Vec<u8> {
        let written = std::mem::take(&mut self.written);
        if !self.in_order {
            self.written.reserve(written.len());
            self.begin();
            for (index, (begin, end)) in self.places.iter().enumerate() {
                if self.form != Form::Binary && index > 0 {
                    self.written.push(b',');
                }
                self.written.extend_from_slice(&written[*begin as usize..*end as usize]);
            }
        } else {
            self.written = written;
        }
        if self.form != Form::Binary {
            self.written.push(b']');
        }
        std::mem::take(&mut self.written)
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
            let mut whole = Vec::new();
            write(form, &answers, &mut whole);
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let mut parts = Parts::new(form, answers.len());
                for index in order {
                    assert!(!parts.is_complete());
                    parts.put(index, &answers[index]);
                }
                parts.put(1, &answer("the first one stands"));
                assert!(parts.is_complete());
                assert_eq!(parts.take_payload(), whole, "{form:?}, {order:?}");
            }
        }
        assert_eq!(Parts::new(Form::JsonMany, 0).take_payload(), b"[]");
    }
}
