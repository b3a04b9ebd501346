//! Owns a book under load: its server, its people, and what was acknowledged, for the checks at the end.
//!
//! Never: a load of its own. Bounds: a sample of the last payments, and counts of all.

use std::sync::Arc;
use std::time::Duration;

use super::checks::{self, Told};
use super::document::Document;
use super::load::{Load, Round};
use super::options::Service;
use super::requests::{Crowd, What};
use super::server::{Kind, Server};
use super::tally::Tally;
use super::work::Work;

/// A server with everything that is known of it.
pub(super) struct Book {
    pub(super) work: Work,
    pub(super) crowd: Arc<Crowd>,
    pub(super) server: Server,
    /// Operations in it before.
    pub(super) before: u64,
    pub(super) told: Told,
    /// The last payments, to be sent again.
    pub(super) sample: Tally,
}

impl Book {
    pub(super) fn start(kind: Kind, work: Work, service: &Service) -> anyhow::Result<Self> {
        let crowd = Arc::new(work.crowd()?);
        let server = Server::start(kind, &work, service)?;
        let before = if kind == Kind::Kopeck { server.operations()? } else { 0 };
        let (told, sample) = (Told::default(), Tally::new(Duration::ZERO));
        Ok(Self { work, crowd, server, before, told, sample })
    }

    /// One round on it, counted for the checks if it pays.
    pub(super) fn round(&mut self, load: &Load, title: &str) -> anyhow::Result<Round> {
        let load = Load { crowd: Arc::clone(&self.crowd), ..load.clone() };
        let round = load.run(&self.server, title)?;
        if matches!(load.what, What::Single | What::Batch(_)) {
            self.told.add(&round.tally);
            if !round.tally.sample.is_empty() {
                self.sample.clone_from(&round.tally);
            }
        }
        Ok(round)
    }

    /// Stops it, and looks at what it has left behind.
    pub(super) fn finish(self, document: &mut Document) -> anyhow::Result<Work> {
        document.findings.push(checks::replays(&self.server, &self.crowd, &self.sample.sample)?);
        self.server.stop()?;
        judge(&self.work, (self.told, self.before), document)?;
        Ok(self.work)
    }
}

/// What is left behind by whatever had a book, now that it is closed, against what it told.
pub(super) fn judge(
    work: &Work,
    (told, before): (Told, u64),
    document: &mut Document,
) -> anyhow::Result<()> {
    document.notes.extend(work.grown(before));
    let after = checks::left_behind(work, &mut document.findings)?;
    document.findings.push(checks::one_effect_each(told, before, after));
    Ok(())
}
