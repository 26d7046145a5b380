//! A booking's id as a QR code, so that a counter need not type it: inline SVG, which needs no
//! script, no image and no exception from the page's policy.
//!
//! The code holds the id as it is printed, and nothing else: no address, so that no scanner leads
//! anywhere, and nobody's id, so that whoever finds the paper learns nobody's. Who somebody is, a
//! counter sees by their papers.

use giliran_wire::BookingId;
use maud::{Markup, html};
use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around the code, without which scanners do not find it (ISO/IEC 18004).
const QUIET_ZONE: i32 = 4;

/// The code, dark on light by day and by night; `label` is what it is for whoever does not see
/// it.
pub(super) fn code(booking: BookingId, label: &str) -> Markup {
    // Of the highest level: it is read with 30 % of it worn, in the smallest size but one.
    let Ok(code) = QrCode::encode_text(&booking.to_string(), QrCodeEcc::High) else {
        unreachable!("a booking's id has 19 characters")
    };
    let side = code.size() + 2 * QUIET_ZONE;
    html! {
        svg.qr role="img" aria-label=(label) viewBox={ "0 0 " (side) " " (side) }
            shape-rendering="crispEdges" {
            path fill="#fff" d={ "M0 0h" (side) "v" (side) "H0z" } {}
            path fill="#000" d=(outline(&code)) {}
        }
    }
}

/// The dark modules, row by row, as rectangles of those that stand side by side.
fn outline(code: &QrCode) -> String {
    let mut out = String::new();
    for y in 0..code.size() {
        let mut x = 0;
        while x < code.size() {
            let dark = (x..code.size()).take_while(|x| code.get_module(*x, y)).count() as i32;
            if dark > 0 {
                let (left, top) = (x + QUIET_ZONE, y + QUIET_ZONE);
                out.push_str(&format!("M{left} {top}h{dark}v1h-{dark}z"));
            }
            x += dark.max(1);
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// What a scanner sees: whether each point of the picture is dark, some points a module.
    fn painted(svg: &str, scale: usize) -> (usize, Vec<bool>) {
        let (_, rest) = svg.split_once("viewBox=\"0 0 ").unwrap();
        let side: usize = rest.split_once(' ').unwrap().0.parse().unwrap();
        let (_, dark) = svg.split_once("fill=\"#000\" d=\"").unwrap();
        let (dark, _) = dark.split_once('"').unwrap();
        let width = side * scale;
        let mut points = vec![false; width * width];
        for one in dark.split('M').skip(1) {
            let (left, rest) = one.split_once(' ').unwrap();
            let (top, rest) = rest.split_once('h').unwrap();
            let (long, _) = rest.split_once('v').unwrap();
            let [left, top, long] = [left, top, long].map(|n| n.parse::<usize>().unwrap() * scale);
            for y in top..top + scale {
                points[y * width + left..y * width + left + long].fill(true);
            }
        }
        (width, points)
    }

    /// A reader of somebody else's, which knows nothing of how it was made.
    #[test]
    fn a_scanner_reads_the_id_and_nothing_else_worn_paper_included() {
        for id in [0, 1, 0x1234_5678_9abc, u128::MAX].map(BookingId::from_random) {
            let svg = code(id, "the id").into_string();
            let (width, mut points) = painted(&svg, 4);
            let read = |points: &[bool]| {
                let grey = |x: usize, y: usize| if points[y * width + x] { 0 } else { 255 };
                let mut seen = rqrr::PreparedImage::prepare_from_greyscale(width, width, grey);
                let grids = seen.detect_grids();
                assert_eq!(grids.len(), 1, "{svg}");
                grids[0].decode().map(|(_, text)| text)
            };
            assert_eq!(read(&points).unwrap(), id.to_string());
            // A blot in the middle.
            let middle = width * 4 / 10..width * 6 / 10;
            for y in middle.clone() {
                points[y * width + middle.start..y * width + middle.end].fill(true);
            }
            assert_eq!(read(&points).unwrap(), id.to_string());
        }
    }
}
