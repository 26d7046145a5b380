//! A snapshot's bookings, which are nearly all of it, read on all cores.

use std::io::Read;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use giliran_allocator::{Restorer, StateMachine};
use giliran_wire::snapshot::{Section, Sections, SnapshotError};

/// Most threads: what they share, file and tables, keeps no more of them busy.
const MOST_THREADS: usize = 4;

/// Takes the bookings of `first` and of the sections of bookings that follow it; the first
/// section behind them.
pub(super) fn bookings(
    sections: &mut Sections<impl Read + Send>,
    first: Section,
    state: &mut StateMachine,
) -> Result<Option<Section>, SnapshotError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
    let left = Left { sections, first: Some(first), taken: 0, ended: false, behind: None };
    let left = Mutex::new(left);
    let restorers = thread::scope(|scope| {
        let one = || restore(&left, state.restorer());
        // Where the system gives no thread, this one reads all.
        let others = (1..threads)
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, one).ok())
            .collect::<Vec<_>>();
        let own = one();
        let others = others
            .into_iter()
            .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(own).chain(others).collect::<Result<Vec<_>, _>>()
    })?;
    state.take_restored(restorers)?;
    Ok(left.into_inner().unwrap_or_else(PoisonError::into_inner).behind)
}

/// Takes one section after the other, until all are taken or one is wrong.
fn restore<R: Read>(
    left: &Mutex<Left<'_, R>>,
    mut restorer: Restorer,
) -> Result<Restorer, SnapshotError> {
    let mut memory = Vec::new();
    let next = |memory| left.lock().unwrap_or_else(PoisonError::into_inner).take(memory);
    while let Some((place, section)) = next(memory)? {
        section.pieces(|piece| piece.bookings(|booking| restorer.take(place, booking)))?;
        memory = section.into_memory();
    }
    restorer.fill()?;
    Ok(restorer)
}

/// What is left of the file.
struct Left<'a, R> {
    sections: &'a mut Sections<R>,
    first: Option<Section>,
    /// How many sections of bookings were taken.
    taken: u64,
    ended: bool,
    /// The section behind those of bookings; none: the file ends with them.
    behind: Option<Section>,
}

impl<R: Read> Left<'_, R> {
    /// The next section of bookings, with its place among them; none: that was all.
    fn take(&mut self, memory: Vec<u8>) -> Result<Option<(u64, Section)>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        let next = match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.sections.next(memory),
        };
        match next {
            Ok(Some(section)) if section.is_of_bookings() => {
                self.taken += 1;
                return Ok(Some((self.taken, section)));
            }
            Ok(behind) => self.behind = behind,
            Err(error) => {
                self.ended = true;
                return Err(error);
            }
        }
        self.ended = true;
        Ok(None)
    }
}
