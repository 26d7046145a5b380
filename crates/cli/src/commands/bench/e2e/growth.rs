//! Row S12: whether rates fall as the book or the number of slots grows.

use std::path::Path;

use super::super::Args;
use super::super::opening::{SLOTS, Slots};
use super::processes;
use super::report::{Bound, Figure, Pass, median};
use super::rig::{Ground, Rig};
use super::rows::{BATCHED, Row, SINGLE, Wanted};
use crate::failure::Failure;

/// Bookings that are there before.
const BOOKS: [f64; 3] = [1e3, 1e6, 1e7];
/// Memory that has to be free for each, with what the broker takes for it.
const FREE_PER_BOOKING: u64 = 1_000;
/// What the rate at a large book is to be at least of that at the smallest.
const AT_LEAST: f64 = 0.9;
/// The same rows at every book, of equal counts.
const ROWS: [Row; 3] = [
    Row { name: "S1", wanted: Wanted::SoldOut, requests: 300_000, ..SINGLE },
    Row { name: "S2", requests: 200_000, ..SINGLE },
    Row { name: "S4", requests: 1_000_000, ..BATCHED },
];
/// One slot takes no more.
const OF_A_SLOT: u64 = 60_000;
/// Offices, each with ten days.
const OFFICES: [u32; 2] = [50, 500];

pub(super) async fn measure(
    args: &Args,
    folder: &Path,
) -> Result<(Vec<Figure>, Vec<Pass>), Failure> {
    let mut passes = Vec::new();
    let books: Vec<u64> = BOOKS.iter().map(|book| (book * args.scale) as u64).collect();
    let free = processes::available().unwrap_or(u64::MAX);
    for pass in 0..args.passes as usize {
        for i in 0..books.len() {
            let book = books[(i + pass) % books.len()];
            if free < book * FREE_PER_BOOKING {
                eprintln!(
                    "S12: LEFT OUT: a book of {book} needs {} MiB, and {} MiB are free",
                    (book * FREE_PER_BOOKING) >> 20,
                    free >> 20
                );
                continue;
            }
            passes.extend(at(args, folder, SLOTS, book, &ROWS).await?);
        }
        for offices in OFFICES {
            let slots = Slots { offices, ..SLOTS };
            let spread = Row { name: "S2", requests: OF_A_SLOT, ..SINGLE };
            let hot = Row { name: "S3", wanted: Wanted::Hot, ..spread };
            let rows: &[Row] = if offices == SLOTS.offices { &[spread, hot] } else { &[spread] };
            let of_slots = at(args, folder, slots, 0, rows).await?;
            passes.extend(of_slots.into_iter().map(|pass| {
                let slots = if pass.row == "S3" { 1 } else { slots.offices * slots.days };
                Pass { row: format!("S2, slots {slots}"), ..pass }
            }));
        }
    }
    let figures = by_book(&passes, &books).into_iter().chain(by_slots(&passes)).collect();
    Ok((figures, passes))
}

/// A rig of its own, and the rows on it.
async fn at(
    args: &Args,
    folder: &Path,
    slots: Slots,
    book: u64,
    rows: &[Row],
) -> Result<Vec<Pass>, Failure> {
    let folder = folder.join("growth");
    std::fs::create_dir(&folder)?;
    let mut rig = Rig::start(&Ground { slots, book, ..Ground::of(args) }, &folder).await?;
    let mut passes = Vec::new();
    for row in rows {
        eprintln!("S12: {} at a book of {book}, {} slots …", row.name, slots.offices * slots.days);
        let pass = rig.pass(row).await?;
        let name = format!("{}, book {book}", row.name);
        let row = if book == 0 { pass.row.clone() } else { name };
        passes.push(Pass { row, ..pass });
    }
    rig.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(passes)
}

fn rate(passes: &[Pass], row: &str) -> Option<f64> {
    median(passes.iter().filter(|pass| pass.row == row).map(|pass| pass.per_s))
}

fn by_book(passes: &[Pass], books: &[u64]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for row in ROWS {
        let least = rate(passes, &format!("{}, book {}", row.name, books[0]));
        for book in &books[1..] {
            let name = format!("{}, book {book}", row.name);
            let Some((rate, least)) = rate(passes, &name).zip(least) else { continue };
            let of = passes.iter().filter(|pass| pass.row == name);
            let worst = of.filter_map(|pass| pass.worst_per_s).fold(f64::INFINITY, f64::min);
            let worst = if worst.is_finite() {
                format!("{:.1} k/s in the worst 100 ms", worst / 1e3)
            } else {
                "over within 100 ms".to_owned()
            };
            figures.push(Figure {
                row: "S12".to_owned(),
                what: format!("{name}, over book {}", books[0]),
                value: rate / least,
                unit: "×".to_owned(),
                goal: Some(Bound::AtLeast(AT_LEAST)),
                beside: format!("{:.1} k/s, {worst}", rate / 1e3),
            });
        }
    }
    figures
}

/// The slowest number of slots over the fastest.
fn by_slots(passes: &[Pass]) -> Option<Figure> {
    let slots = [1, SLOTS.offices * SLOTS.days, OFFICES[1] * SLOTS.days];
    let rates: Vec<(u32, f64)> = slots
        .iter()
        .filter_map(|slots| Some((*slots, rate(passes, &format!("S2, slots {slots}"))?)))
        .collect();
    let only = |rates: &[(u32, f64)]| rates.iter().map(|(_, rate)| *rate).collect::<Vec<f64>>();
    let (least, most) = only(&rates)
        .into_iter()
        .fold((f64::MAX, 0.0_f64), |(least, most), rate| (least.min(rate), most.max(rate)));
    if rates.len() < 2 {
        return None;
    }
    let beside: Vec<String> =
        rates.iter().map(|(slots, rate)| format!("{slots}: {:.1} k/s", rate / 1e3)).collect();
    Some(Figure {
        row: "S12".to_owned(),
        what: "S2, slowest over fastest number of slots".to_owned(),
        value: least / most,
        unit: "×".to_owned(),
        goal: Some(Bound::AtLeast(AT_LEAST)),
        beside: beside.join(", "),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn pass(row: &str, per_s: f64, worst_per_s: Option<f64>) -> Pass {
        let (others, book, idle, load) = (0, 0, 0.0, 0.0);
        let cpu_us = BTreeMap::new();
        Pass { row: row.to_owned(), per_s, others, book, cpu_us, idle, load, worst_per_s }
    }

    #[test]
    fn a_large_book_is_held_against_the_smallest() {
        let passes = [
            pass("S1, book 10", 100e3, None),
            pass("S1, book 10000", 80e3, Some(2e3)),
            pass("S1, book 10000", 95e3, Some(4e3)),
            pass("S1, book 10000", 85e3, None),
        ];
        let figures = by_book(&passes, &[10, 10_000, 100_000]);
        let [figure] = &figures[..] else { panic!("{figures:?}") };
        assert_eq!(
            (figure.value, figure.beside.as_str()),
            (0.85, "85.0 k/s, 2.0 k/s in the worst 100 ms")
        );
    }

    #[test]
    fn the_slowest_number_of_slots_counts() {
        let names = ["S2, slots 1", "S2, slots 500", "S2, slots 5000"];
        let passes: Vec<Pass> = names
            .iter()
            .zip([110e3, 100e3, 88e3])
            .map(|(row, per_s)| pass(row, per_s, None))
            .collect();
        assert!((by_slots(&passes).unwrap().value - 0.8).abs() < 1e-9);
        assert!(by_slots(&passes[..1]).is_none());
    }
}
