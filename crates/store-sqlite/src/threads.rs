//! Owns the engine's threads: starting them, waiting for their end, and the halt of the engine when one of them
//! fails.
//!
//! Never: what a thread does, or the [decider](crate::write::decider), which is the writer's own. Bounds: one writer, one for
//! checkpoints, one for the keys' files, and [`READERS`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use ledger::LedgerError;
use rusqlite::Connection;
use tokio::sync::watch;

use crate::background;
use crate::file::connection::{connect_to_read, connect_to_write};
use crate::file::directory::Directory;
use crate::file::open_error::OpenError;
use crate::keys::keeper::Keeper;
use crate::queue::Queue;
use crate::read::readers::{READERS, Readers};
use crate::write::checkpoint::{Bell, Checkpoints};
use crate::write::work::Work;
use crate::write::writer::Writer;

/// Stops the engine for good, and says why. Clones are of the same engine.
#[derive(Clone)]
pub(crate) struct Halt {
    queue: Arc<Queue<Work>>,
    reason: watch::Sender<Option<String>>,
}

impl Halt {
    pub(crate) fn new(queue: Arc<Queue<Work>>) -> Self {
        Self { queue, reason: watch::Sender::new(None) }
    }

    /// Takes nothing more and says why. What waits was never begun: nothing of it was done.
    pub(crate) fn halt(&self, reason: String) {
        // Said first: a writer that wakes up because the queue is closed must know why.
        self.reason.send_if_modified(|halted| {
            let first = halted.is_none();
            halted.get_or_insert(reason);
            first
        });
        self.queue.close();
        let mut waiting = Vec::new();
        while self.queue.take(&mut waiting, usize::MAX) {
            waiting.drain(..).for_each(|work| work.refuse(&LedgerError::Closed));
        }
    }

    /// The reason, once there is one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.reason.subscribe()
    }

    pub(crate) fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }
}

/// What the threads do.
pub(crate) struct Tasks {
    pub(crate) writer: Writer,
    /// The writer's.
    pub(crate) connection: Connection,
    pub(crate) keeper: Keeper,
    pub(crate) readers: Readers,
    pub(crate) bell: Arc<Bell>,
}

/// The threads that run, and what must outlive them.
#[derive(Default)]
pub(crate) struct Threads {
    writer: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    /// The data file once more, kept open until every connection is closed: closing it earlier
    /// would let go of the connections' locks (that is how POSIX has it).
    data: Option<Arc<File>>,
    /// Unlocked last of all.
    directory: Option<Directory>,
}

impl Tasks {
    /// Starts them all. A failure of one, a panic included, halts the engine.
    pub(crate) fn start(
        self,
        halt: &Halt,
        file: &Path,
        directory: Directory,
    ) -> Result<Threads, OpenError> {
        let Self { writer, mut connection, keeper, readers, bell } = self;
        let data = File::open(file)
            .map_err(|error| OpenError::Unusable { path: file.to_owned(), error })?;
        let data = Arc::new(data);
        let checkpoints = Checkpoints {
            connection: connect_to_write(file)?,
            data: Arc::clone(&data),
            bell,
            gate: Arc::clone(&writer.gate),
            observer: Arc::clone(&writer.observer),
        };
        let mut threads =
            Threads { data: Some(data), directory: Some(directory), ..Threads::default() };
        for number in 1..=READERS {
            let (readers, connection) = (readers.clone(), connect_to_read(file)?);
            threads.others.push(spawn_guarded(halt, &format!("reader-{number}"), move || {
                readers.work(&connection);
                Ok(())
            })?);
        }
        threads.others.push(spawn_guarded(halt, "checkpoint", move || checkpoints.run())?);
        threads.others.push(spawn_guarded(halt, "keys", move || {
            // It sorts and merges for long stretches, and nobody waits for it.
            background::enter();
            keeper.run()
        })?);
        threads.writer = Some(spawn_guarded(halt, "writer", move || {
            Bell::hang(&mut connection).map_err(|error| error.to_string())?;
            writer.run(&connection)
        })?);
        Ok(threads)
    }
}

impl Threads {
    /// Waits until all have ended; what they work for must be closed.
    pub(crate) fn join(self) {
        for thread in self.others.into_iter().chain(self.writer) {
            // A thread that panicked has halted the engine already.
            let _ = thread.join();
        }
        drop((self.data, self.directory));
    }
}

/// Starts a thread whose failure, a panic included, halts the engine.
fn spawn_guarded(
    halt: &Halt,
    name: &str,
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let reason = Some(format!("the {name} thread panicked"));
    let guard = Guard { halt: halt.clone(), reason };
    let guarded = move || {
        // The whole guard moves in here, so that it is dropped here.
        let mut guard = guard;
        guard.reason = work().err();
    };
    std::thread::Builder::new()
        .name(format!("kopeck-{name}"))
        .spawn(guarded)
        .map_err(|error| OpenError::Unusable { path: PathBuf::from("thread"), error })
}

/// Halts the engine when its thread ends with a reason, or without having said anything.
struct Guard {
    halt: Halt,
    reason: Option<String>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(reason) = self.reason.take() {
            self.halt.halt(reason);
        }
    }
}
