//! What a run came to: everything that the reports show.

use std::time::Duration;

use giliran_fairness::measures::{self, holm, normal_two_sided};
use giliran_fairness::{LEVEL, Measure, Resources, groups};
use giliran_report::{Figure, Figures, Text, Unit, text};
use giliran_wire::Timestamp;
use giliran_wire::answer::Reason;
use giliran_wire::ledger::Order;
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::doubts::{MOST_LAG_MS, OrderDenied, Void, by_name};
use super::ended::Ended;
use super::forgers::Forgeries;
use super::load_test::LoadTest;
use super::stats::{Bin, Payments, RunStats, Series, histogram};
use super::target::Target;

const NONE: Text = text!("there is no such figure in this run" | "angka ini tidak ada di sini");
/// So many grants say how long one takes.
const TELLING: u64 = 20;

/// A distribution of times, ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "quantiles")]
pub struct Latency {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

/// How those of a cohort, channel, device, size or scalper fared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupRecord {
    /// `cohort`, `channel`, `device`, `party of` or `nats`.
    pub kind: &'static str,
    pub name: String,
    pub applied: u64,
    /// Parties that have a place.
    pub won: u64,
    /// Success against the average; people's groups against all people, scalpers
    /// against everybody.
    pub ratio: Option<f64>,
    /// Standard deviations from an even hand.
    pub z: Option<f64>,
    /// Whether it was tested, and found not to be served evenly.
    pub flagged: bool,
    /// Share of its requests that were settled in time.
    pub in_time: Option<f64>,
    /// From the intended sending to the answer.
    pub service: Latency,
    /// The way there and back on top.
    pub felt: Latency,
}

/// What happened in a stretch of time, bar by bar.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Stretch {
    /// Where it begins, s of the scenario from the opening.
    pub from_s: f64,
    /// Width of a bar, s.
    pub bin_s: f64,
    pub bins: Vec<Bin>,
}

impl Stretch {
    fn of(series: &Series, bins: Vec<Bin>) -> Self {
        let [from_s, bin_s] = [series.from_us, series.width_us].map(|us| us as f64 / 1e6);
        Self { from_s, bin_s, bins }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "each is named for what it is")]
pub struct RunSummary {
    pub scenario: String,
    pub about: String,
    pub seed: u64,
    pub scale: f64,
    pub speed: f64,
    pub opening: String,
    /// When its first second was, by the engine's clock.
    pub opened_at: Timestamp,
    /// The opening's time zone, by its IANA name.
    pub timezone: String,
    /// The order as announced: scalpers bought for it.
    #[serde(serialize_with = "by_name")]
    pub order: Order,
    /// What of that clients saw otherwise; none: nothing.
    pub order_denied: Option<OrderDenied>,
    pub ended: Ended,
    /// Why its figures say little of the engine; none: they do.
    pub void: Option<Void>,
    /// Why the clients' log is not whole; none: it is, or was not asked for.
    pub log_failed: Option<String>,
    /// How long it took, s.
    pub took_s: f64,
    pub offices: usize,
    pub offices_unasked: usize,
    pub places: i64,
    pub free_before: i64,
    pub people: u64,
    pub attackers: Vec<(String, Resources)>,
    pub requests: u64,
    pub answered: u64,
    pub bookings: u64,
    pub granted: u64,
    pub entered: u64,
    pub rejected: Vec<(&'static str, u64)>,
    pub unheard: u64,
    /// No answer in time.
    pub unanswered: u64,
    pub second_answers: u64,
    pub forgeries: Forgeries,
    pub grants: Latency,
    #[serde(rename = "refusals")]
    pub rejections: Latency,
    pub payments: Payments,
    pub confirmations: Latency,
    /// How late requests left.
    pub lag: Latency,
    #[serde(serialize_with = "as_list")]
    pub figures: Figures,
    /// Whether order and speed are judged by a sample of the people.
    pub sampled: bool,
    pub groups: Vec<GroupRecord>,
    pub tested: usize,
    pub deciles: Vec<f64>,
    pub by_office: Vec<(String, u64)>,
    pub from_s: f64,
    pub bin_s: f64,
    pub series: Vec<Bin>,
    /// The first ten seconds alone.
    pub rush: Stretch,
}

impl RunSummary {
    /// A figure by its name.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.of(name).ok()
    }

    /// Rejections of this reason.
    pub fn rejected(&self, reason: Reason) -> u64 {
        let found = self.rejected.iter().find(|(name, _)| *name == reason.name());
        found.map_or(0, |(_, count)| *count)
    }
}

pub(crate) fn record(
    rush: &LoadTest,
    ground: &Target,
    means: &[Resources],
    tally: &RunStats,
    ended: Ended,
    took: Duration,
) -> RunSummary {
    let scenario = &rush.scenario;
    let slope = tally.slope();
    let lag = Latency::of(&tally.lag);
    let (groups, tested) = fared(rush, tally);
    let people: u64 = (0..scenario.cohorts.len()).map(|i| tally.count(i).0).sum();
    let names = scenario.attackers.iter().map(|attacker| attacker.name.clone());
    let told = |series: &Series| told(&series.bins, ground.free);
    RunSummary {
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        seed: rush.seed,
        scale: rush.scale,
        speed: rush.speed,
        opening: ground.opening.clone(),
        opened_at: ground.opened_at,
        timezone: ground.timezone.clone(),
        order: rush.order,
        order_denied: denied(rush.order, tally),
        ended,
        void: void(&lag),
        log_failed: None,
        took_s: took.as_secs_f64(),
        offices: ground.offices.len(),
        offices_unasked: ground.unasked,
        places: ground.places,
        free_before: ground.free,
        people,
        attackers: names.zip(means.iter().copied()).collect(),
        requests: tally.sent,
        answered: tally.answered,
        bookings: tally.bookings,
        granted: tally.places,
        entered: tally.entered,
        rejected: Reason::ALL
            .iter()
            .map(|reason| (reason.name(), tally.rejections(*reason)))
            .filter(|(_, count)| *count > 0)
            .collect(),
        unheard: tally.unheard,
        unanswered: tally.unanswered,
        second_answers: tally.second_answers,
        forgeries: tally.forgeries,
        grants: Latency::of(&tally.grants),
        rejections: Latency::of(&tally.rejections),
        payments: tally.payments,
        confirmations: Latency::of(&tally.confirmations),
        lag,
        figures: figures(rush, tally, &groups, slope.as_ref().map(|slope| slope.premium)),
        sampled: tally.sampled(),
        groups,
        tested,
        deciles: slope.map(|slope| slope.by_decile).unwrap_or_default(),
        by_office: tally.by_office.iter().map(|(office, n)| (office.clone(), *n)).collect(),
        from_s: tally.series.from_us as f64 / 1e6,
        bin_s: tally.series.width_us as f64 / 1e6,
        series: told(&tally.series),
        rush: Stretch::of(&tally.rush, told(&tally.rush)),
    }
}

/// Free places stay what they were until they are told anew.
fn told(bins: &[Bin], free: i64) -> Vec<Bin> {
    let mut free = Some(free);
    let known = |bin: &Bin| {
        free = bin.free.or(free);
        Bin { free, ..*bin }
    };
    bins.iter().map(known).collect()
}

/// Whether the generator was the bottleneck.
fn void(lag: &Latency) -> Option<Void> {
    (lag.p99 > MOST_LAG_MS).then_some(Void { lag_ms: lag.p99 })
}

/// What clients saw that cannot be under this order. An engine under first-come that
/// is slow cannot be told from one with rounds; of that nothing is said.
fn denied(order: Order, tally: &RunStats) -> Option<OrderDenied> {
    let half_ms = tally.grants.value_at_quantile(0.5) as f64 / 1e3;
    match order {
        Order::FirstCome | Order::Rounds { .. } if tally.entered > 0 => {
            Some(OrderDenied::Entered(tally.entered))
        }
        Order::Draw if tally.entered == 0 && tally.at_once > 0 => {
            Some(OrderDenied::AtOnce(tally.at_once))
        }
        Order::Rounds { length_ms }
            if tally.grants.len() >= TELLING && half_ms < length_ms as f64 / 10.0 =>
        {
            Some(OrderDenied::TooSoon { half_ms, length_ms })
        }
        Order::FirstCome | Order::Rounds { .. } | Order::Draw => None,
    }
}

fn fared(rush: &LoadTest, tally: &RunStats) -> (Vec<GroupRecord>, usize) {
    let scenario = &rush.scenario;
    let cohorts = scenario.cohorts.len();
    let all_people = tally.sizes(0..5);
    let everybody = (0..tally.cells.len()).fold((0, 0), |(applied, won), i| {
        let (a, w) = tally.count(i);
        (applied + a, won + w)
    });
    let mut records = Vec::new();
    let (mut tested, mut p_values) = (Vec::new(), Vec::new());
    for group in groups(scenario) {
        let (mut applied, mut won, mut requests, mut in_time) = (0, 0, 0, 0);
        let (mut service, mut felt) = (histogram(2), histogram(2));
        for (index, cell) in tally.cells.iter().enumerate() {
            let sizes = (1..=5_u8).filter(|size| group.holds(scenario, index, *size));
            let sizes: Vec<usize> = sizes.map(|size| usize::from(size) - 1).collect();
            for size in &sizes {
                applied += cell.applied[*size];
                won += cell.won[*size];
            }
            if sizes.len() == 5 {
                requests += cell.requests;
                in_time += cell.in_time;
                // The same bounds: what one holds fits the other.
                let _ = (service.add(&cell.service), felt.add(&cell.felt));
            }
        }
        let (all, winners) = if group.kind == "scalper" { everybody } else { all_people };
        let ratio = measures::cohort_ratio(won, applied, winners, all);
        if let Some(ratio) = ratio.filter(|_| group.tested) {
            tested.push(records.len());
            p_values.push(normal_two_sided(ratio.z));
        }
        records.push(GroupRecord {
            kind: group.kind,
            name: group.name,
            applied,
            won,
            ratio: ratio.map(|ratio| ratio.ratio),
            z: ratio.map(|ratio| ratio.z),
            flagged: false,
            in_time: measures::answered_in_time(in_time, requests),
            service: Latency::of(&service),
            felt: Latency::of(&felt),
        });
    }
    for (at, fails) in tested.iter().zip(holm(&p_values, LEVEL)) {
        records[*at].flagged = fails;
    }
    debug_assert!(records.len() >= cohorts, "each cohort is a group");
    (records, tested.len())
}

/// Figures as the files have them.
fn as_list<S: Serializer>(figures: &Figures, into: S) -> Result<S::Ok, S::Error> {
    into.collect_seq(figures.iter().map(|Figure { name, title, about, unit, value }| {
        let share = *unit == Unit::Share;
        json!({
            "name": name, "title": title.english, "about": about.english, "share": share,
            "value": value.ok(),
        })
    }))
}

/// Adds a measure of the bench, by the bench's names and with its meaning.
fn of(measure: Measure, value: Option<f64>, into: &mut Figures) -> &mut Figure {
    let value = value.ok_or(NONE);
    let figure = into.add(measure.name(), measure.title(), measure.unit(), value);
    figure.about(measure.about());
    figure
}

fn figures(
    rush: &LoadTest,
    tally: &RunStats,
    groups: &[GroupRecord],
    premium: Option<f64>,
) -> Figures {
    let mut figures = Figures::default();
    let into = &mut figures;
    let (people, winners) = tally.sizes(0..5);
    of(Measure::HonestChance, measures::share(winners, people), into).about(text!(
        "Share of the people's parties, scalpers left out, that have a place at the end."
            | "Bagian rombongan warga, tanpa calo, yang mendapat tempat pada akhirnya."
    ));
    shares_of_scalpers(rush, tally, into);
    of(Measure::Inversion, tally.inversion(), into);
    of(Measure::LatencyPremium, premium, into);
    evenness(tally, groups, into);
    holdings(tally, into);
    let recaptured = tally.recaptured.min(tally.recycled);
    of(Measure::RecycleCapture, measures::recycle_capture(recaptured, tally.recycled), into);
    of(Measure::FirstChoice, measures::share(tally.first_choice, tally.winners), into).about(
        text!(
            "Share of people's winning parties that got the office and day they like best."
                | "Bagian rombongan warga yang berhasil dan mendapat kantor dan hari yang paling \
                   disukainya."
        ),
    );
    let wait = (tally.winners > 0).then(|| tally.waited_us / 1e6 / tally.winners as f64);
    of(Measure::WaitS, wait, into).about(text!(
        "From a winner's first request (or the opening, if that was later) to its result, in \
         seconds of the scenario."
            | "Dari permintaan pertama seorang pemenang (atau pembukaan, bila itu kemudian) sampai \
               hasilnya, dalam detik skenario."
    ));
    holds(&tally.payments, into);
    let (requests, in_time) = tally
        .cells
        .iter()
        .fold((0, 0), |(all, timely), cell| (all + cell.requests, timely + cell.in_time));
    of(Measure::InTime, measures::answered_in_time(in_time, requests), into).about(text!(
        "Requests that were settled while somebody was still waiting for it, of all that were \
         settled or got no answer."
            | "Permintaan yang selesai diputuskan selagi seseorang masih menunggunya, dari semua yang \
               selesai atau tidak mendapat jawaban."
    ));
    promises(tally, into);
    figures
}

fn shares_of_scalpers(rush: &LoadTest, tally: &RunStats, into: &mut Figures) {
    let cohorts = rush.scenario.cohorts.len();
    let scalped: u64 = (cohorts..tally.cells.len()).map(|i| tally.held_by(i)).sum();
    let paid = &tally.payments;
    let share = |part, all| {
        measures::scalper_share(part, all).filter(|_| !rush.scenario.attackers.is_empty())
    };
    of(Measure::ScalperShare, share(scalped, tally.places), into).about(text!(
        "Share of the places granted in this run that went to scalpers, paid or not: the size of \
         the black market."
            | "Bagian tempat yang diberikan di sini yang jatuh ke calo, dibayar atau tidak: besarnya \
               pasar gelap."
    ));
    let of_paid = share(paid.scalpers_paid, paid.places_paid).ok_or(NONE);
    let title = text!("paid places in scalpers' hands" | "tempat terbayar di tangan calo");
    into.share("scalper_share_paid", title, of_paid).about(text!(
        "Share of the places paid for in this run that scalpers have."
            | "Bagian tempat yang dibayar di sini yang dimiliki calo."
    ));
}

fn evenness(tally: &RunStats, groups: &[GroupRecord], into: &mut Figures) {
    let cohorts = groups.iter().filter(|group| group.kind == "cohort");
    let rates: Vec<f64> =
        cohorts.filter_map(|group| measures::share(group.won, group.applied)).collect();
    of(Measure::JainCohorts, measures::jain(&rates), into);
    let rate = |(applied, won): (u64, u64)| measures::share(won, applied);
    let families = match (rate(tally.sizes(0..1)), rate(tally.sizes(1..5))) {
        (Some(single), Some(several)) if single > 0.0 => Some(several / single),
        _ => None,
    };
    of(Measure::Families, families, into);
}

fn holdings(tally: &RunStats, into: &mut Figures) {
    let concentration = tally.concentration();
    of(Measure::TopTen, concentration.map(|c| c.top), into);
    of(Measure::Hhi, concentration.map(|c| c.hhi), into);
    of(Measure::GiniAccounts, tally.gini(), into);
}

/// What became of held bookings.
fn holds(payments: &Payments, into: &mut Figures) {
    let paid = measures::share(payments.paid, payments.held).ok_or(NONE);
    let title = text!("held bookings that were paid" | "pemesanan tertahan yang dibayar");
    into.share("paid", title, paid).about(text!(
        "Share of the held bookings that were paid while this run lasted."
            | "Bagian pemesanan tertahan yang dibayar selama percobaan berlangsung."
    ));
    let lapsed = measures::share(payments.lapsed, payments.held).ok_or(NONE);
    let title = text!("held bookings that lapsed" | "pemesanan tertahan yang gugur");
    into.share("lapsed", title, lapsed).about(text!(
        "Share of the held bookings that nobody paid for and that were seen to have lapsed while \
         this run lasted."
            | "Bagian pemesanan tertahan yang tidak dibayar siapa pun dan terlihat gugur selama \
               percobaan berlangsung."
    ));
}

/// What must be 0.
fn promises(tally: &RunStats, into: &mut Figures) {
    let title = text!("queue numbers answered twice" | "nomor antrean yang dijawab dua kali");
    into.count("numbers_twice", title, Ok(tally.numbers_twice as f64)).about(text!(
        "Queue numbers of a slot that two bookings held at the same time, by what clients were \
         answered. Must be 0."
            | "Nomor antrean satu sesi yang dipegang dua pemesanan pada saat yang sama, menurut \
               jawaban kepada pengguna. Harus 0."
    ));
    let forged = &tally.forgeries;
    let some = |tried: u64, came: u64| (tried > 0).then_some(came as f64);
    of(Measure::Replayed, some(forged.replays, forged.replayed), into).about(text!(
        "Bookings answered to a request that somebody else sent once more, and that were not the \
         first one's. Must be 0."
            | "Pemesanan yang dijawabkan pada permintaan kiriman ulang orang lain, dan yang bukan milik \
               permintaan pertama. Harus 0."
    ));
    of(Measure::Forged, some(forged.forged, forged.changed), into).about(text!(
        "Cancellations, moves and lookups by who is not in a booking that were granted, and \
         bookings that their owner found changed afterwards. Must be 0."
            | "Pembatalan, pemindahan, dan pencarian oleh orang yang tidak tercantum dalam pemesanan \
               namun dikabulkan, dan pemesanan yang kemudian ditemukan pemiliknya berubah. Harus 0."
    ));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use giliran_fairness::scenario::shipped;
    use giliran_report::Language;

    #[test]
    fn a_run_is_void_where_requests_leave_late() {
        let lag = |late_ms: u64, of_a_thousand: u64| {
            let mut lag = histogram(3);
            for n in 0..1_000 {
                lag.saturating_record(if n < of_a_thousand { late_ms * 1_000 } else { 400 });
            }
            Latency::of(&lag)
        };
        assert_eq!(void(&lag(500, 9)), None, "less than one in a hundred");
        assert_eq!(void(&lag(49, 500)), None);
        let said = void(&lag(80, 20)).unwrap().words(Language::English);
        assert!(said.contains("more than 80 ms after it was due"), "{said}");
    }

    #[test]
    fn every_figure_is_in_the_document() {
        let scenario = shipped("calm").unwrap();
        let tally = RunStats::new(&scenario, 0, 1);
        let rush = LoadTest::new(giliran_wire::subject::Namespace::default(), scenario, 1);
        let document = include_str!("../../../docs/surge.md");
        for Figure { name, .. } in figures(&rush, &tally, &[], None).iter() {
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn an_order_is_denied_by_what_clients_saw() {
        let scenario = shipped("calm").unwrap();
        let tally = |entered, at_once, grants_ms: u64| {
            let mut tally = RunStats::new(&scenario, 0, 1);
            (tally.entered, tally.at_once) = (entered, at_once);
            for _ in 0..at_once {
                tally.grants.saturating_record(grants_ms * 1_000);
            }
            tally
        };
        let rounds = Order::Rounds { length_ms: 500 };
        for (order, entered, at_once, grants_ms) in [
            (Order::FirstCome, 0, 100, 2),
            (Order::FirstCome, 0, 100, 400),
            (rounds, 0, 100, 200),
            (rounds, 0, 19, 2),
            (Order::Draw, 50, 3, 2),
            (Order::Draw, 0, 0, 0),
        ] {
            assert_eq!(denied(order, &tally(entered, at_once, grants_ms)), None, "{order:?}");
        }
        for (order, entered, at_once, part) in [
            (Order::FirstCome, 7, 0, "7 parties were entered into a draw"),
            (rounds, 7, 0, "7 parties were entered into a draw"),
            (Order::Draw, 0, 5, "5 bookings were granted at once"),
            (rounds, 0, 20, "half of the grants came within 2.00 ms"),
        ] {
            let said = denied(order, &tally(entered, at_once, 2)).unwrap().words(Language::English);
            assert!(said.contains(part), "{said}");
        }
    }
}
