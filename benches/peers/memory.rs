//! One mutex around plain maps, and a log that one thread appends to and syncs: what waits
//! while it syncs goes out with the next write.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use tokio::sync::oneshot;

use crate::job::{BOOKED, QUOTA, Request, SLOTS};

#[derive(Clone)]
pub(crate) struct Memory(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something waits for the log.
    waits: Condvar,
}

struct State {
    booked: HashMap<String, usize>,
    free: Vec<i32>,
    /// Lines for the log, and who is told once they are in it.
    lines: Vec<u8>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Memory {
    pub(crate) fn new(log: PathBuf) -> Self {
        let state = State {
            booked: HashMap::new(),
            free: Vec::new(),
            lines: Vec::new(),
            waiting: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), waits: Condvar::new() });
        let memory = Self(Arc::clone(&shared));
        std::thread::spawn(move || write(&shared, File::create(log).unwrap()));
        memory
    }

    /// A book of so many bookings; what it syncs by.
    pub(crate) fn prepare(&self, book: u64) -> String {
        let mut state = self.0.state.lock().unwrap();
        state.booked = (0..book).map(|n| (format!("{:016}", BOOKED + n), 0)).collect();
        state.free = vec![QUOTA; SLOTS + 1];
        "fdatasync of a log file before each answer, one write for all that wait".to_owned()
    }

    pub(crate) async fn book(&self, requests: &[Request]) -> Vec<bool> {
        let (stored, wait) = oneshot::channel();
        let granted: Vec<bool> = {
            let mut state = self.0.state.lock().unwrap();
            let granted = requests.iter().map(|request| state.take(request)).collect();
            state.waiting.push(stored);
            self.0.waits.notify_one();
            granted
        };
        wait.await.unwrap();
        granted
    }
}

impl State {
    fn take(&mut self, request: &Request) -> bool {
        let Entry::Vacant(claim) = self.booked.entry(request.applicant.clone()) else {
            return false;
        };
        let free = &mut self.free[request.slot];
        if *free == 0 {
            return false;
        }
        *free -= 1;
        claim.insert(request.slot);
        let number = QUOTA - *free;
        let Request { id, applicant, slot } = request;
        writeln!(self.lines, "{applicant} {id} {slot} {number}").unwrap();
        true
    }
}

/// The log's thread.
fn write(shared: &Shared, mut log: File) {
    loop {
        let mut state = shared.state.lock().unwrap();
        while state.waiting.is_empty() {
            state = shared.waits.wait(state).unwrap();
        }
        let (lines, waiting) =
            (std::mem::take(&mut state.lines), std::mem::take(&mut state.waiting));
        drop(state);
        if !lines.is_empty() {
            log.write_all(&lines).unwrap();
            log.sync_data().unwrap();
        }
        // Whoever does not wait any more went with its pass.
        for stored in waiting {
            let _ = stored.send(());
        }
    }
}
