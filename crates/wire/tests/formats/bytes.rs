//! Decoders meet any bytes: an answer or an error, never a panic.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_wire::admin::Beacon;
use giliran_wire::{LedgerId, NotHex, Text};
use proptest::prelude::*;

use crate::targets;

fn read_all(bytes: &[u8]) {
    targets::request(bytes);
    targets::block(bytes);
    targets::snapshot(bytes);
    targets::client_log(bytes);
}

/// The fixtures' bytes, which random bytes would hardly come near.
fn fixtures() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut all = Vec::new();
    for kind in ["requests", "answers", "ledger"] {
        for file in std::fs::read_dir(folder.join(kind)).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            if path.extension().is_some_and(|extension| extension == "hex") {
                let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
                let byte =
                    |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
                all.push(digits.chunks_exact(2).map(byte).collect());
            } else {
                all.push(text.into_bytes());
            }
        }
    }
    assert!(all.len() > 50);
    all
}

/// Identities and keys are compared as texts too: another form of the same bytes would be
/// another name. Both cases are read, as ever.
#[test]
fn hexadecimal_has_neither_prefix_nor_sign() {
    let id = LedgerId([0xab; 16]);
    assert_eq!(id.to_string(), "ab".repeat(16));
    assert_eq!("aB".repeat(16).parse(), Ok(id));
    for wrong in ["", "ab", "0xabab", &"+a".repeat(16), &"é".repeat(16), &"ab".repeat(17)] {
        assert_eq!(wrong.parse::<LedgerId>(), Err(NotHex), "{wrong}");
    }
    for digits in [28, 30, 32] {
        assert_eq!(format!("0x{}", "a".repeat(digits)).parse::<LedgerId>(), Err(NotHex));
    }
    let beacon = |signature: &'static str| {
        let text = |text: &'static str| Text::from(text);
        let (operator, reason, opening) = (text("o"), text("r"), text("w"));
        Beacon { operator, reason, opening, signature: text(signature), dry_run: false }.bytes()
    };
    assert_eq!(beacon("00aBff"), Some(vec![0, 0xab, 0xff]));
    for wrong in ["0x00ab", "00a", "+0", "0g"] {
        assert_eq!(beacon(wrong), None, "{wrong}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        read_all(&bytes);
        read_all(&[&[1][..], &bytes].concat());
    }

    /// A valid payload with some bytes changed, and cut.
    #[test]
    fn bytes_that_were_valid(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let fixtures = fixtures();
        let mut bytes = which.get(&fixtures).clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_all(&bytes);
        // The checksum would stop a changed block before its content is read.
        let content = &bytes[..bytes.len().saturating_sub(32)];
        targets::block(content);
    }
}
