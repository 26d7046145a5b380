//! Text that borrows from the payload where it can.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Characters that a kind of text may consist of, all of them ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CharacterClass(u8);

impl CharacterClass {
    /// Of ids of offices and sessions, and of channels: `a-z 0-9 -`.
    pub(crate) const ID: Self = Self(1);
    /// Of ids of openings: `A-Z a-z 0-9 -`.
    pub(crate) const OPENING_ID: Self = Self(2);
    /// Of ids of requests: `A-Z a-z 0-9 - _ . :`.
    pub(crate) const REQUEST_ID: Self = Self(4);
    /// From the space to the tilde.
    pub(crate) const PRINTABLE: Self = Self(8);

    /// The classes of each byte.
    const OF_BYTE: [u8; 256] = {
        let mut table = [0; 256];
        let mut byte: u8 = 0;
        while byte < 128 {
            let letter = byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            let any_letter = letter || byte.is_ascii_uppercase();
            let mut classes = 0;
            if letter {
                classes |= Self::ID.0;
            }
            if any_letter {
                classes |= Self::OPENING_ID.0;
            }
            if any_letter || matches!(byte, b'_' | b'.' | b':') {
                classes |= Self::REQUEST_ID.0;
            }
            if byte >= b' ' && byte <= b'~' {
                classes |= Self::PRINTABLE.0;
            }
            table[byte as usize] = classes;
            byte += 1;
        }
        table
    };

    /// True where every byte is a character of the class.
    #[inline]
    pub(crate) fn has_all(self, bytes: &[u8]) -> bool {
        bytes.iter().fold(self.0, |left, byte| left & Self::OF_BYTE[*byte as usize]) != 0
    }
}

/// True for a text that can be shown and stored anywhere: no control character
/// (NUL, line ends, escapes), nothing that breaks a line or turns its direction,
/// nothing that is no character. Letters of every script may stand in it.
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(|c| {
        c.is_control()
            || matches!(
                c,
                '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            )
            || matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff)
            || ('\u{fdd0}'..='\u{fdef}').contains(&c)
    })
}

/// A string that borrows from the message it was decoded from, and owns its
/// bytes only where JSON escapes forced a copy.
///
/// serde borrows a plain `Cow` only where it stands directly in a field; inside
/// `Vec` and `Option` it would copy, on the hot path, for every applicant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, bincode::Encode)]
pub struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// The text: printable characters alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, independent of the payload.
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(s: &'a str) -> Self {
        Self(Cow::Borrowed(s))
    }
}

impl From<String> for Text<'_> {
    fn from(s: String) -> Self {
        Self(Cow::Owned(s))
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, v: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(v)))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(v.to_owned())))
            }
            fn visit_string<E: de::Error>(self, v: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(v)))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl<'de: 'a, 'a, C> bincode::BorrowDecode<'de, C> for Text<'a> {
    fn borrow_decode<D: bincode::de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        <&'de str>::borrow_decode(decoder).map(|s| Text(Cow::Borrowed(s)))
    }
}

#[cfg(test)]
mod tests {
    use super::is_printable;

    #[test]
    fn letters_of_every_script_are_printable_and_control_characters_are_not() {
        for good in
            ["", " ", "Kantor Imigrasi", "08:00–10:00", "Überweisung", "办公室", "مكتب", "🛂"]
        {
            assert!(is_printable(good), "{good:?}");
        }
        for bad in ["\0", "inv\u{0}-1", "a\nb", "\t", "\u{1b}[31m", "\u{7f}", "\u{85}", "\u{2028}"]
        {
            assert!(!is_printable(bad), "{bad:?}");
        }
        for bad in ["abc\u{202e}def", "\u{2066}", "\u{feff}", "\u{ffff}", "\u{1fffe}", "\u{fdd0}"] {
            assert!(!is_printable(bad), "{bad:?}");
        }
    }
}
