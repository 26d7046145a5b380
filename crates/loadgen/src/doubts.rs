//! Why the figures of a run say little, or of another order than was announced.

use giliran_fairness::report::order_name;
use giliran_report::{Language, say};
use giliran_wire::ledger::Order;
use serde::{Serialize, Serializer};

use crate::generator::MOST_OPEN;

/// A run whose requests leave later than this, one in a hundred of them, says
/// more of the generator than of the engine.
pub(crate) const MOST_LAG_MS: f64 = 50.0;

/// The generator was the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Void {
    /// One request in a hundred left later than this after it was due, ms.
    pub lag_ms: f64,
}

impl Void {
    pub fn words(&self, language: Language) -> String {
        let [lag, most] = [self.lag_ms, MOST_LAG_MS].map(|ms| language.fixed(ms, 0));
        let open = language.count(MOST_OPEN);
        say!(
            language,
            "one request in a hundred left more than {lag} ms after it was due (most that counts: \
             {most} ms): the generator, or the {open} requests that it keeps on the way, was the \
             bottleneck. Lower --scale or --speed, or run it on a machine of its own"
                | "satu dari seratus permintaan berangkat lebih dari {lag} milidetik setelah waktunya \
                   (batas yang masih berlaku: {most} milidetik): penghambatnya adalah pembangkit \
                   beban, atau {open} permintaan yang dijalankannya sekaligus. Kecilkan --scale atau \
                   --speed, atau jalankan di mesin tersendiri"
        )
    }
}

impl Serialize for Void {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.serialize_str(&self.words(Language::English))
    }
}

/// What clients saw that cannot be under the announced order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OrderDenied {
    /// So many parties were entered into a draw.
    Entered(u64),
    /// So many bookings were granted at once, and nobody was entered.
    AtOnce(u64),
    /// Half of the grants came sooner than a round would have let them.
    TooSoon {
        /// Half of the grants came within, ms.
        half_ms: f64,
        /// How long a round is, ms.
        length_ms: u64,
    },
}

impl OrderDenied {
    pub fn words(&self, language: Language) -> String {
        match *self {
            Self::Entered(parties) => {
                let parties = language.count(parties);
                say!(
                    language,
                    "{parties} parties were entered into a draw"
                        | "{parties} rombongan didaftarkan ke sebuah undian"
                )
            }
            Self::AtOnce(bookings) => {
                let bookings = language.count(bookings);
                say!(
                    language,
                    "{bookings} bookings were granted at once, and nobody was entered into a draw"
                        | "{bookings} pemesanan langsung diberikan, dan tidak ada yang didaftarkan ke \
                           undian"
                )
            }
            Self::TooSoon { half_ms, length_ms } => {
                let [half, length] = [half_ms, length_ms as f64].map(|ms| language.digits(ms));
                say!(
                    language,
                    "half of the grants came within {half} ms, where a round takes half of its \
                     {length} ms on average"
                        | "separuh pemberian datang dalam {half} milidetik, padahal sebuah putaran \
                           rata-rata memakan separuh dari {length} milidetiknya"
                )
            }
        }
    }
}

impl Serialize for OrderDenied {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.serialize_str(&self.words(Language::English))
    }
}

/// An order by its name in files.
pub(crate) fn by_name<S: Serializer>(order: &Order, into: S) -> Result<S::Ok, S::Error> {
    into.serialize_str(&order.name())
}

/// An order as people read it.
pub(crate) fn in_words(order: &Order, language: Language) -> String {
    order_name(order, false, language)
}
