//! The page for client developers shows the bytes that the fixtures hold.

use std::path::Path;

#[test]
fn the_page_shows_the_fixtures() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(here.join("../../docs/wire-protocol.md")).unwrap();
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    let mut shown = 0;
    for block in page.split("```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let (bytes, _) = rest.split_once("```").unwrap();
        let fixture =
            std::fs::read_to_string(here.join("tests/fixtures").join(name.trim())).unwrap();
        assert_eq!(plain(bytes), plain(&fixture), "{name}");
        shown += 1;
    }
    assert!(shown >= 4, "only {shown} fixtures are shown");
    for reason in giliran_wire::answer::Reason::ALL {
        let row = format!("| {} | `{}`", reason.number(), reason.name());
        assert!(page.contains(&row), "the table of reasons has no row `{row}`");
    }
}
