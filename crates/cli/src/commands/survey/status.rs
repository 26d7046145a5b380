//! `giliran status`: how all of Giliran stands at this moment, on one screen.

use std::time::Duration;

use giliran_nats::clock::Moment;
use giliran_survey::{judge, rates};
use giliran_wire::picture::{Judged, Known, Picture};
use serde_json::Value;

use super::{Looker, Looking, shown};
use crate::daemons::until_asked;
use crate::failure::Failure;
use crate::screen::Screen;

/// How long is counted for what happens a second, and how often a picture is taken.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    giliran status\n  \
    giliran status --watch --opening 2026-W49\n  \
    giliran status --json --nats-monitor http://n1:8222,http://n2:8222,http://n3:8222\n\n\
    It only looks. What this login may not see is shown as such.\n\
    Exit code 0: nothing is known to be wrong. 1: something is, or nobody could be asked.")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    looking: Looking,
    /// Show this opening alone; left out, all in the engine's memory.
    #[arg(long, value_name = "ID")]
    opening: Option<String>,
    /// Look again each second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// Print it as JSON (docs/schemas/status.json); with --watch a line each second.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn status(args: StatusArgs) -> Result<(), Failure> {
    let looker = args.looking.start("giliran status").await?;
    let mut counted = Counted::begin(&looker).await;
    let mut judged = counted.next(&looker, args.opening.as_deref()).await;
    if !args.watch {
        say(&args, &judged)?;
        return fine(&judged);
    }
    let shutdown = until_asked();
    let mut screen = Screen::of_pictures();
    loop {
        if args.json {
            outln!("{}", serde_json::to_string(&judged)?);
        } else {
            screen.draw(|| shown::screen(&judged, false), || shown::line(&judged));
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            next = counted.next(&looker, args.opening.as_deref()) => judged = next,
        }
    }
    fine(&judged)
}

fn say(args: &StatusArgs, judged: &Judged) -> Result<(), Failure> {
    if args.json {
        let value: Value = serde_json::to_value(judged)?;
        outln!("{value:#}");
    } else {
        outln!("{}", shown::screen(judged, shown::in_colour()).trim_end());
    }
    Ok(())
}

fn fine(judged: &Judged) -> Result<(), Failure> {
    let nobody = matches!(&judged.picture.processes, Known::Unknown(_))
        && matches!(&judged.picture.openings, Known::Unknown(_));
    match judged.go && !nobody {
        true => Ok(()),
        false => Err(Failure::Logged),
    }
}

/// What engines had counted when they were asked last.
pub(crate) struct Counted {
    at: Moment,
    picture: Picture,
}

impl Counted {
    pub(crate) async fn begin(looker: &Looker) -> Self {
        Self { at: Moment::now(), picture: looker.survey.picture().await }
    }

    /// The next picture, a second after the last one, and what is judged of it.
    pub(crate) async fn next(&mut self, looker: &Looker, opening: Option<&str>) -> Judged {
        tokio::time::sleep(EVERY.saturating_sub(self.at.elapsed())).await;
        let at = Moment::now();
        let mut picture = looker.survey.picture().await;
        let processes = |picture: &Picture| picture.processes.found().cloned().unwrap_or_default();
        let over = u64::try_from(at.since(self.at).as_millis()).unwrap_or(u64::MAX);
        picture.rates = rates(&processes(&self.picture), &processes(&picture), over);
        *self = Self { at, picture: picture.clone() };
        let checks = judge::now(&picture, &looker.limits, &looker.certificates);
        if let (Known::Known(openings), Some(id)) = (&mut picture.openings, opening) {
            openings.openings.retain(|opening| opening.offers.id == id);
        }
        Judged { opening: None, go: judge::is_fine(&checks), checks, picture }
    }
}
