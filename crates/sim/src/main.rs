//! Any range of worlds: `cargo xtask sim`.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use giliran_sim::sweep::{self, Tally};
use giliran_sim::{Kind, Mutant, ORDERS, Setup, run};
use giliran_wire::ledger::Order;

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);
/// Broken worlds after which it is over.
const BROKEN: usize = 5;

/// Simulates worlds, and says which of them broke a promise.
#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  cargo xtask sim --from 0 --runs 10000 --kind ground --order draw"
)]
struct Arguments {
    /// Seed of the first world; the others follow it, one by one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many worlds of each kind and order.
    #[arg(long, default_value_t = 1_000)]
    runs: u64,
    /// Only these kinds (may be repeated); without it all of them
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,
    /// Only these orders (may be repeated); without it all of them
    #[arg(long, value_name = "ORDER", value_parser = order)]
    order: Vec<(&'static str, Order)>,
    /// How many threads simulate at once.
    #[arg(long, default_value_t = thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// Look for planted faults instead, in so many worlds at most.
    #[arg(long)]
    mutants: bool,
    /// Print what each world's ledger holds, and what its clients were told.
    #[arg(long)]
    show: bool,
}

fn order(text: &str) -> Result<(&'static str, Order), String> {
    let names = ORDERS.map(|(name, _)| name).join(", ");
    let named = ORDERS.into_iter().find(|(name, _)| *name == text);
    named.ok_or_else(|| format!("{text:?} is not an order; expected one of {names}"))
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.mutants {
        return mutants(arguments.runs);
    }
    if arguments.kind.is_empty() {
        arguments.kind = Kind::ALL.to_vec();
    }
    if arguments.order.is_empty() {
        arguments.order = ORDERS.to_vec();
    }
    let mut all = Tally::default();
    let (mut broken, started) = (0, Instant::now());
    for kind in &arguments.kind {
        for (name, order) in &arguments.order {
            if arguments.show {
                let seeds = arguments.from..arguments.from + arguments.runs;
                seeds.for_each(|seed| print!("{}", run(seed, Setup::new(*order, *kind))));
            }
            let tally = worlds(&arguments, Setup::new(*order, *kind), name, &mut broken);
            println!("{:<10}{name:<12}{:>8} worlds", kind.name(), tally.worlds);
            all.add(tally);
            if broken >= BROKEN {
                return ExitCode::FAILURE;
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = all.worlds as f64 / seconds;
    println!("{} worlds in {seconds:.0} s, {rate:.0} a second", all.worlds);
    println!(
        "answers   {:?}\nfaults    {:?}\nbranches  {:?}",
        all.answers, all.faults, all.branches
    );
    println!("broken    {broken}");
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The worlds of one kind and order.
fn worlds(arguments: &Arguments, setup: Setup, order: &str, broken: &mut usize) -> Tally {
    let seeds = arguments.from..arguments.from + arguments.runs;
    let mut printed = Instant::now();
    sweep::sweep(setup, seeds, arguments.jobs, |tally, wrong| {
        wrong.iter().for_each(|broken| println!("{broken}"));
        *broken += wrong.len();
        if printed.elapsed() >= PROGRESS {
            printed = Instant::now();
            let kind = setup.kind.name();
            eprintln!("{kind} {order}: {} of {} worlds", tally.worlds, arguments.runs);
        }
        if *broken >= BROKEN { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// After how many worlds each planted fault is found.
fn mutants(worlds: u64) -> ExitCode {
    let mut missed = 0;
    for (mutant, kind) in Mutant::ALL {
        let found = sweep::found_after(mutant, kind, Order::FirstCome, worlds);
        match found {
            Some(seed) => println!("{mutant:?}: found in world {seed}"),
            None => println!("{mutant:?}: not found in {worlds} worlds"),
        }
        missed += u32::from(found.is_none());
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
