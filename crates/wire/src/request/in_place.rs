//! Booking requests of the binary form, read where they lie while nothing is wrong with them.
//!
//! One pass reads a request and checks its bounds. It takes exactly what the derived decoder
//! and [`Request::validate`](super::Request::validate) take together, and says nothing of the
//! rest: a payload that holds anything else is read again by those, which have the words for
//! what is wrong. The tests hold the two ways against each other.

use smallvec::SmallVec;

use super::{
    Book, Choice, Items, MAX_APPLICANTS, MAX_CHANNEL_BYTES, MAX_CHOICES, MAX_ID_BYTES,
    MAX_TEXT_BYTES,
};
use crate::text::CharacterClass;
use crate::{Date, Text, Timestamp};

/// The bytes of a payload that are still to be read; every step is `None` where something is wrong.
struct Cursor<'a> {
    bytes: &'a [u8],
    /// As much of them as was found to be UTF-8 at once, which costs less than field by field:
    /// the lengths between texts are small numbers, which are UTF-8 as well.
    text: &'a str,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, text: utf8_prefix(bytes) }
    }

    /// True where nothing is left.
    fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    #[inline(always)]
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        self.text = self.text.get(length..).unwrap_or_default();
        Some(taken)
    }

    #[inline(always)]
    fn number(&mut self) -> Option<u64> {
        let number = self.bytes.first_chunk()?;
        self.bytes(number.len())?;
        Some(u64::from_le_bytes(*number))
    }

    /// A length or count from 1 to `most`.
    #[inline(always)]
    fn length(&mut self, most: usize) -> Option<usize> {
        let given = self.number()?;
        (1..=most as u64).contains(&given).then_some(given as usize)
    }

    #[inline(always)]
    fn flag(&mut self) -> Option<bool> {
        match self.bytes(1)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    /// What may be left out. The outer `None`: something is wrong.
    #[inline(always)]
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    #[inline(always)]
    fn str(&mut self, length: usize) -> Option<&'a str> {
        let text = self.text.get(..length);
        let bytes = self.bytes(length)?;
        text.or_else(|| str::from_utf8(bytes).ok())
    }

    /// Text of 1 to `most` bytes, of any characters.
    #[inline(always)]
    fn text(&mut self, most: usize) -> Option<Text<'a>> {
        let length = self.length(most)?;
        self.str(length).map(Text::from)
    }

    /// Text of 1 to `most` characters of a class.
    #[inline(always)]
    fn text_of(&mut self, class: CharacterClass, most: usize) -> Option<Text<'a>> {
        let length = self.length(most)?;
        self.str(length).filter(|text| class.has_all(text.as_bytes())).map(Text::from)
    }

    fn id(&mut self) -> Option<Text<'a>> {
        self.text_of(CharacterClass::ID, MAX_ID_BYTES)
    }

    fn date(&mut self) -> Option<Date> {
        let length = self.number()?;
        if length != 10 {
            return None;
        }
        self.str(10)?.parse().ok()
    }

    fn timestamp(&mut self) -> Option<Timestamp> {
        let time = Timestamp::from_millis(self.number()?.cast_signed());
        // Its bytes are rarely UTF-8: then a new stretch begins behind them.
        if self.text.is_empty() {
            self.text = utf8_prefix(self.bytes);
        }
        time.is_within_bounds().then_some(time)
    }

    fn reference(&mut self) -> Option<Text<'a>> {
        let length = self.number()?;
        if length > MAX_TEXT_BYTES as u64 {
            return None;
        }
        let text = self.str(length as usize)?;
        CharacterClass::PRINTABLE.has_all(text.as_bytes()).then(|| Text::from(text))
    }

    fn applicants(&mut self) -> Option<SmallVec<[Text<'a>; 1]>> {
        let count = self.length(MAX_APPLICANTS)?;
        let mut applicants: SmallVec<[Text<'a>; 1]> = SmallVec::with_capacity(count);
        for _ in 0..count {
            let applicant = self.text(MAX_TEXT_BYTES)?;
            if applicants.contains(&applicant) {
                return None;
            }
            applicants.push(applicant);
        }
        Some(applicants)
    }

    fn choices(&mut self) -> Option<SmallVec<[Choice<'a>; 1]>> {
        let count = self.length(MAX_CHOICES)?;
        let mut choices = SmallVec::with_capacity(count);
        for _ in 0..count {
            choices.push(Choice {
                office: self.id()?,
                date: self.optional(Self::date)?,
                session: self.optional(Self::id)?,
            });
        }
        Some(choices)
    }
}

/// The longest beginning that is UTF-8.
fn utf8_prefix(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_else(|error| {
        let valid = &bytes[..error.valid_up_to()];
        str::from_utf8(valid).unwrap_or_default()
    })
}

/// The `given` requests that `bytes` are; `None` where anything is wrong with one of them.
pub(super) fn books(bytes: &[u8], given: usize) -> Option<Items<Book<'_>>> {
    let mut cursor = Cursor::new(bytes);
    let mut items = Items::with_capacity(given);
    for _ in 0..given {
        items.push(Ok(book(&mut cursor)?));
    }
    cursor.is_at_end().then_some(items)
}

#[inline]
fn book<'a>(cursor: &mut Cursor<'a>) -> Option<Book<'a>> {
    // In the order of the fields, which is that of the form.
    Some(Book {
        request_id: cursor.text_of(CharacterClass::REQUEST_ID, MAX_TEXT_BYTES)?,
        applicants: cursor.applicants()?,
        choices: cursor.choices()?,
        opening: cursor.optional(|c| c.text_of(CharacterClass::OPENING_ID, MAX_ID_BYTES))?,
        expires_at: cursor.optional(Cursor::timestamp)?,
        account: cursor.optional(|c| c.text(MAX_TEXT_BYTES))?,
        channel: cursor.optional(|c| c.text_of(CharacterClass::ID, MAX_CHANNEL_BYTES))?,
        reference: cursor.optional(Cursor::reference)?,
        wait: cursor.flag()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::codec;
    use crate::request::Request as _;

    /// The request that bytes are, by the derived decoder and its validation.
    fn decoded(bytes: &[u8]) -> Option<Book<'_>> {
        codec::decode::<Book<'_>>(bytes).ok().filter(|book| book.validate().is_ok())
    }

    fn read(bytes: &[u8]) -> Option<Book<'_>> {
        let mut cursor = Cursor::new(bytes);
        book(&mut cursor).filter(|_| cursor.is_at_end())
    }

    /// Texts at their bounds and beyond, of right characters and of wrong ones.
    fn text() -> impl Strategy<Value = Text<'static>> {
        let right = "[a-z0-9-]{1,16}";
        prop_oneof![
            12 => right.prop_map(Text::from),
            1 => "[ -~]{0,66}".prop_map(Text::from),
            1 => "[A-Za-z0-9._:-]{1,64}".prop_map(Text::from),
            1 => "[a-z]{38,42}".prop_map(Text::from),
            1 => any::<String>().prop_map(Text::from),
        ]
    }

    fn date() -> impl Strategy<Value = Date> {
        (2_000..10_000_u16, 1..13_u8, 1..29_u8)
            .prop_filter_map("beyond the last day", |(y, m, d)| {
                format!("{y:04}-{m:02}-{d:02}").parse().ok()
            })
    }

    fn timestamp() -> impl Strategy<Value = Timestamp> {
        let (first, last) = (Timestamp::EARLIEST.as_millis(), Timestamp::LATEST.as_millis());
        prop_oneof![first - 1..=first + 1, last - 1..=last + 1, first..=last, any::<i64>()]
            .prop_map(Timestamp::from_millis)
    }

    fn choice() -> impl Strategy<Value = Choice<'static>> {
        (text(), proptest::option::of(date()), proptest::option::of(text()))
            .prop_map(|(office, date, session)| Choice { office, date, session })
    }

    prop_compose! {
        fn any_book()(
            request_id in text(),
            applicants in proptest::collection::vec(text(), 0..7),
            choices in prop_oneof![
                9 => proptest::collection::vec(choice(), 0..4),
                1 => proptest::collection::vec(choice(), 15..18),
            ],
            opening in proptest::option::of(text()),
            expires_at in proptest::option::of(timestamp()),
            account in proptest::option::of(text()),
            channel in proptest::option::of(text()),
            reference in proptest::option::of(text()),
            wait in any::<bool>(),
        ) -> Book<'static> {
            Book {
                request_id, applicants: applicants.into(), choices: choices.into(), opening, expires_at, account, channel, reference,
                wait,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_048, ..ProptestConfig::default() })]

        /// Every request is taken, or passed on, as the other way takes or rejects it.
        #[test]
        fn both_ways_take_the_same_requests(book in any_book()) {
            let mut bytes = Vec::new();
            codec::encode_into(&book, &mut bytes);
            prop_assert_eq!(read(&bytes).is_some(), book.validate().is_ok());
            prop_assert_eq!(read(&bytes), decoded(&bytes));
        }

        #[test]
        fn both_ways_take_the_same_bytes(
            book in any_book(),
            changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4),
            cut in proptest::option::of(any::<Index>()),
        ) {
            let mut bytes = Vec::new();
            codec::encode_into(&book, &mut bytes);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            prop_assert_eq!(read(&bytes), decoded(&bytes));
        }
    }

    #[test]
    fn a_table_says_what_the_rules_say() {
        for byte in 0..=u8::MAX {
            let id = byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            let opening = byte.is_ascii_alphanumeric() || byte == b'-';
            let rules = [
                (CharacterClass::ID, id),
                (CharacterClass::OPENING_ID, opening),
                (CharacterClass::REQUEST_ID, opening || b"_.:".contains(&byte)),
                (CharacterClass::PRINTABLE, (b' '..=b'~').contains(&byte)),
            ];
            for (class, right) in rules {
                assert_eq!(class.has_all(&[b'a', byte, b'0']), right, "{class:?} {byte:#x}");
            }
        }
    }
}
