//! Owns on which processors the client's threads stay, and how many they are; and where a private server's thread
//! for HTTP is told to stay.
//!
//! Never: a thread of the server's, which is a process of its own and started by none of them.

use std::io;
use std::path::Path;

use super::document::Document;
use super::options::{Client, Service};
use crate::http_threads::Place;
use crate::processors::{OfTwo, Processors};

/// Both with their places, where nobody said them. With two processors the client has the one to which the
/// interrupts of the disk that has `dir` come, where the server's writer is woken too; the server's busiest
/// thread has the other. With more, there is room enough for both.
///
/// It is looked for once, and all servers are told: each would find the same as `auto`, but not on a machine
/// that others use, and what is compared must be alike.
pub(super) fn placed((service, client): (&Service, &Client), dir: &Path) -> (Service, Client) {
    let is_asked = service.http_processors == Place::Auto || client.client_processors.is_none();
    told(is_asked.then(|| OfTwo::of(dir)).flatten(), (service, client))
}

fn told(two: Option<OfTwo>, (service, client): (&Service, &Client)) -> (Service, Client) {
    let (interrupted, other) =
        two.map(|OfTwo { interrupted, other }| (interrupted, other)).unwrap_or_default();
    let http_processors = match &service.http_processors {
        Place::Auto => Place::On(other),
        said => said.clone(),
    };
    let client_processors = client.client_processors.clone().unwrap_or(interrupted);
    (
        Service { http_processors },
        Client { client_processors: Some(client_processors), ..client.clone() },
    )
}

impl Client {
    /// Somewhere else, anywhere: one more client, which is not to be in this one's way.
    pub(super) fn anywhere(&self) -> Self {
        Self { client_processors: None, ..self.clone() }
    }

    /// How many: if nobody says it, one keeps up with three processors of server.
    pub(super) fn threads(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.client_threads.unwrap_or(processors.div_ceil(4)).max(1)
    }

    /// Keeps the calling thread where the client's threads are to be.
    pub(super) fn stay(&self) -> io::Result<()> {
        self.client_processors.as_ref().map_or(Ok(()), Processors::stay)
    }

    /// Says where they are.
    pub(super) fn describe(&self, document: &mut Document) {
        let processors = self.client_processors.clone().unwrap_or_default();
        let listed = processors.numbers().iter().map(usize::to_string).collect::<Vec<_>>();
        let listed = (!listed.is_empty()).then(|| listed.join(", "));
        document.set("client", place(listed.as_deref()));
    }
}

/// Where threads are, in words.
pub(super) fn place(processors: Option<&str>) -> String {
    match processors {
        None => "on any processor".to_owned(),
        Some(listed) => format!("kept to processor {listed}"),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const AUTO: Service = Service { http_processors: Place::Auto };

    #[test]
    fn every_server_is_told_the_same_place_and_none_is_left_to_look_for_itself() {
        let all = Processors::allowed();
        let one = |number: &usize| number.to_string().parse::<Processors>().unwrap();
        let interrupted = one(all.numbers().first().unwrap());
        let other = one(all.numbers().last().unwrap());
        let client = Client { client_threads: None, client_processors: None };
        let two = OfTwo { interrupted: interrupted.clone(), other: other.clone() };
        let (service, placed) = told(Some(two), (&AUTO, &client));
        assert_eq!(service.http_processors, Place::On(other));
        assert_eq!(placed.client_processors, Some(interrupted.clone()));
        let (service, placed) = told(None, (&AUTO, &client));
        assert_eq!(service.http_processors, Place::On(Processors::default()));
        assert_eq!(placed.client_processors, Some(Processors::default()));
        let said = Service { http_processors: Place::On(interrupted.clone()) };
        assert_eq!(told(None, (&said, &client)).0.http_processors, Place::On(interrupted));
    }

    #[test]
    fn a_thread_stays_where_it_was_said_that_the_client_is_to_be() {
        let last = Processors::allowed().numbers().last().unwrap().to_string();
        let client_processors: Option<Processors> = Some(last.parse().unwrap());
        let chosen = Client { client_threads: None, client_processors: client_processors.clone() };
        let (_, placed) = placed((&AUTO, &chosen), Path::new("nowhere"));
        assert_eq!(placed.client_processors, client_processors);
        let there = std::thread::spawn(move || {
            placed.stay().unwrap();
            Processors::allowed()
        });
        assert_eq!(Some(there.join().unwrap()), client_processors);
    }

    #[test]
    fn nobody_is_kept_where_they_may_be_on_any() {
        let before = Processors::allowed();
        let any = Client { client_threads: None, client_processors: Some("any".parse().unwrap()) };
        let home = tempfile::tempdir().unwrap();
        for free in [placed((&AUTO, &any), home.path()).1, any.anywhere()] {
            free.stay().unwrap();
            assert_eq!(Processors::allowed(), before);
        }
    }

    #[test]
    fn by_default_it_is_one_of_two_or_any() {
        let home = tempfile::tempdir().unwrap();
        let client = Client { client_threads: None, client_processors: None };
        let placed = placed((&AUTO, &client), home.path()).1.client_processors.unwrap();
        let all = Processors::allowed();
        assert!(placed.numbers().len() <= usize::from(all.numbers().len() == 2));
        assert!(placed.numbers().iter().all(|processor| all.numbers().contains(processor)));
    }
}
