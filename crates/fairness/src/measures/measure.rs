//! The measures, as people and files know them.

use giliran_report::Unit;

use Measure::*;

/// A measure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is explained by `about`")]
pub enum Measure {
    ScalperShare,
    LatencyPremium,
    Inversion,
    JainCohorts,
    Families,
    TopTen,
    Hhi,
    GiniAccounts,
    RecycleCapture,
    RecycleFair,
    Waste,
    FirstChoice,
    WaitS,
    InTime,
    RankP,
    Oversell,
    Undersell,
    Replayed,
    Forged,
    Requests,
}

/// What is said of a measure.
struct Known {
    measure: Measure,
    name: &'static str,
    title: &'static str,
    short: &'static str,
    unit: Unit,
    about: &'static str,
}

type Text = &'static str;

const fn count(measure: Measure, name: Text, title: Text, short: Text) -> Known {
    Known { measure, name, title, short, unit: Unit::Count, about: "" }
}

const fn share(measure: Measure, name: Text, title: Text, short: Text) -> Known {
    Known { unit: Unit::Share, ..count(measure, name, title, short) }
}

const fn ratio(measure: Measure, name: Text, title: Text, short: Text) -> Known {
    Known { unit: Unit::Ratio, ..count(measure, name, title, short) }
}

impl Known {
    const fn about(self, about: Text) -> Self {
        Self { about, ..self }
    }
}

/// All of them, in the order of tables.
static KNOWN: [Known; 20] = [
    share(ScalperShare, "scalper_share", "places in scalpers' hands", "scalpers hold").about(
        "Share of all places that scalpers hold when the window closes: the size of the black \
         market.",
    ),
    ratio(LatencyPremium, "latency_premium", "premium of speed", "speed premium").about(
        "How far the tenth with the fastest connections is ahead of the slowest tenth, in parts \
         of the average chance. 0: speed buys nothing.",
    ),
    share(Inversion, "inversion_rate", "inversion rate", "inversions").about(
        "Of two parties that wanted the same, one won and one lost: how often the loser came \
         first. 0 is pure first-come, 50 % a lottery.",
    ),
    ratio(JainCohorts, "jain_cohorts", "evenness of cohorts (Jain)", "cohorts, Jain")
        .about("Evenness of the success rates of the people's cohorts: 1 if all are the same."),
    ratio(Families, "family_ratio", "families against singles", "families").about(
        "Success of parties of two and more over that of single people. Below 1 they are at a \
         disadvantage: a party needs its places together.",
    ),
    share(TopTen, "top10_share", "ten largest accounts", "ten largest")
        .about("Share of the granted places that the ten largest accounts hold."),
    ratio(Hhi, "hhi", "concentration (HHI)", "HHI")
        .about("Sum of the squared shares of accounts: 1 if one account has everything."),
    ratio(GiniAccounts, "gini_accounts", "Gini over winning accounts", "Gini").about(
        "Inequality of places among accounts that have some: 0 if all have the same. Families \
         count as what they are, several people on one account.",
    ),
    share(RecycleCapture, "recycle_capture", "recycled places recaptured", "recaptured")
        .about("Share of the places that scalpers gave back and then got again for a client."),
    share(RecycleFair, "recycle_base", "the same, were it a lottery", "by lot").about(
        "What the line above would be about if all who looked for returned places, scalpers' \
         clients among them, had the same chance: places that came back over people who looked, \
         whatever their office.",
    ),
    share(Waste, "waste", "places nobody used", "wasted")
        .about("Places unsold or expired at the end, and those whose people did not come."),
    share(FirstChoice, "first_choice", "winners with their first choice", "first choice")
        .about("Share of people's winning parties that got the day they like best."),
    ratio(WaitS, "wait_s", "wait for the result, s", "wait, s")
        .about("From a winner's first request to its result, in seconds."),
    share(InTime, "answered_in_time", "answered in time", "in time")
        .about("Requests that got an answer while somebody was still waiting for it."),
    ratio(RankP, "rank_p", "draw's ranks even (p)", "ranks, p").about(
        "Kolmogorov and Smirnov's p value for the draw's ranks: below 0.001 the draw would be \
         suspect.",
    ),
    count(Oversell, "oversell", "oversold", "oversold")
        .about("Places granted beyond a quota, at any moment. Must be 0."),
    count(Undersell, "undersell", "rejected beside a free place", "undersold")
        .about("Requests rejected although a fitting place was free. Must be 0."),
    count(Replayed, "booked_again_by_replays", "booked again by replays", "booked again").about(
        "Places that a request was given a second time because somebody sent it again, also \
         after they were given back. Must be 0.",
    ),
    count(Forged, "changed_by_forgers", "others' bookings changed", "others' changed").about(
        "Places of bookings that were given back or moved by somebody who is not in them. Must \
         be 0.",
    ),
    count(Requests, "requests", "requests", "requests").about("Requests that reached the service."),
];

impl Measure {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 20] = {
        let mut all = [ScalperShare; 20];
        let mut place = 0;
        while place < all.len() {
            all[place] = KNOWN[place].measure;
            place += 1;
        }
        all
    };

    const fn known(self) -> &'static Known {
        &KNOWN[self.index()]
    }

    /// The name in files.
    pub const fn name(self) -> &'static str {
        self.known().name
    }

    /// The name for people.
    pub const fn title(self) -> &'static str {
        self.known().title
    }

    /// The name over a narrow column.
    pub const fn short(self) -> &'static str {
        self.known().short
    }

    /// What it tells, in a sentence.
    pub const fn about(self) -> &'static str {
        self.known().about
    }

    pub const fn unit(self) -> Unit {
        self.known().unit
    }

    /// True where it is a share, shown in percent.
    pub const fn is_share(self) -> bool {
        matches!(self.unit(), Unit::Share)
    }

    /// A figure as people read it: shares in percent.
    pub fn shown(self, value: f64) -> String {
        self.unit().shown(value)
    }

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_long_as_they_need_to_be() {
        let share = |value| Measure::Waste.shown(value);
        assert_eq!(share(1.0), "100 %");
        assert_eq!(share(0.1234), "12.3 %");
        assert_eq!(share(0.01234), "1.23 %");
        assert_eq!(share(0.0), "0.00 %");
        assert_eq!(Measure::Requests.shown(12_345.4), "12345");
        assert_eq!(Measure::Hhi.shown(0.01234), "0.012");
    }

    #[test]
    fn the_index_of_a_measure_is_its_place_among_all() {
        for (place, measure) in Measure::ALL.into_iter().enumerate() {
            assert_eq!(measure.index(), place, "{measure:?}");
        }
    }
}
