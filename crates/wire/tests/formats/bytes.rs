//! Decoders meet any bytes: an answer or an error, never a panic.

#![allow(clippy::unwrap_used, reason = "tests")]

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
