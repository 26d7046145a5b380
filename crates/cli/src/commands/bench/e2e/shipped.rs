//! As shipped: the broker with the accounts and permissions of `deploy/nats/giliran.conf`,
//! beside an open one.

use std::path::Path;

use super::super::Args;
use super::report::{Figure, Pass, median};
use super::rig::{Ground, Rig};
use super::rows::{Row, SINGLE, Wanted};
use crate::failure::Failure;

const ROWS: [Row; 2] = [
    Row { name: "S1", wanted: Wanted::SoldOut, requests: 500_000, ..SINGLE },
    Row { name: "S2", ..SINGLE },
];
/// What stands behind a row's name.
const SHIPPED: &str = "as shipped";
const OPEN: &str = "open broker";

pub(super) async fn measure(
    args: &Args,
    folder: &Path,
) -> Result<(Vec<Figure>, Vec<Pass>), Failure> {
    let Some(accounts) = args.accounts.as_deref() else {
        eprintln!(
            "as shipped: LEFT OUT: --accounts names no configuration (`cargo xtask bench e2e` does)"
        );
        return Ok((Vec::new(), Vec::new()));
    };
    let mut passes = Vec::new();
    for pass in 0..args.passes {
        for turn in 0..2 {
            let is_shipped = (pass + turn) % 2 == 0;
            let folder = folder.join("shipped");
            std::fs::create_dir(&folder)?;
            let accounts = Some(accounts).filter(|_| is_shipped);
            let ground = Ground { accounts, ..Ground::of(args) };
            let mut rig = Rig::start(&ground, &folder).await?;
            let name = if is_shipped { SHIPPED } else { OPEN };
            for row in &ROWS {
                eprintln!("pass {} of {}: {}, {name} …", pass + 1, args.passes, row.name);
                let pass = rig.pass(row).await?;
                passes.push(Pass { row: format!("{}, {name}", row.name), ..pass });
            }
            rig.stop().await?;
            std::fs::remove_dir_all(&folder)?;
        }
    }
    let rate = |row: &Row, name: &str| {
        let name = format!("{}, {name}", row.name);
        median(passes.iter().filter(|pass| pass.row == name).map(|pass| pass.per_s))
    };
    let figures = ROWS.iter().filter_map(|row| {
        let (shipped, open) = (rate(row, SHIPPED)?, rate(row, OPEN)?);
        Some(Figure {
            row: row.name.to_owned(),
            what: format!("{SHIPPED}, over an {OPEN}"),
            value: shipped / open,
            unit: "×".to_owned(),
            goal: None,
            beside: format!("{:.1} k/s beside {:.1} k/s", shipped / 1e3, open / 1e3),
        })
    });
    Ok((figures.collect(), passes))
}
