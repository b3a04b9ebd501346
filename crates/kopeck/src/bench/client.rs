//! Owns the load: connections kept alive on a few threads, one request at a time on each.
//!
//! Never: a runtime, or a request's content. The client shares the processors with the server, so a
//! request costs it one write, one read and two looks at the clock. Bounds: as many requests under way
//! as there are connections; a run ends at its time, and what is under way then is waited for
//! [`DRAIN_MAX`] at most; at a fixed rate what was due by then is still sent for [`LATE_MAX`] at most.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::answer::{self, BODY_BYTES_MAX, Shape};
use super::connect;
use super::requests::{Requests, Written};
use super::tally::Tally;

/// How long answers to what was sent are waited for at the end.
const DRAIN_MAX: Duration = Duration::from_secs(20);
/// How long after the end that is sent, at a fixed rate, which was due before it and found no connection.
/// Without it a pause of the server at the end of a run would hide what waited for it.
const LATE_MAX: Duration = Duration::from_secs(1);
/// How long a thread sleeps at most before it looks whether the run is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How finely requests at a fixed rate are timed: what is due within it is sent together. It is part
/// of what is measured as latency, from the moment that a request was due.
const TICK: Duration = Duration::from_micros(200);
/// What a connection reads at a time, in bytes.
const READ_BYTES: usize = 16 * 1_024;

/// When a run begins to count, and when it ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// The first request.
    pub(super) begin: Instant,
    /// The first answer that counts.
    pub(super) from: Instant,
    /// No request is due any more, or sent, but for what is late.
    pub(super) until: Instant,
}

/// What the threads of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) span: Span,
    /// When the newest acknowledgement came, in nanoseconds since `span.from`; 0: none yet.
    pub(super) newest: AtomicU64,
    /// Somebody wants the benchmark to end.
    pub(super) stop: &'static AtomicBool,
}

/// Connects so many times. Waits for that. Raises the limit of open files as far as the system lets us.
pub(super) fn connect(
    address: SocketAddr,
    connections: usize,
) -> io::Result<Vec<std::net::TcpStream>> {
    // Where it cannot be raised, connecting says what is wrong.
    let _ = rlimit::increase_nofile_limit(connections as u64 + 256);
    (0..connections)
        .map(|_| {
            let stream = connect::connect(address)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        })
        .collect()
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    filled: usize,
    /// What is under way, and since when.
    asked: Option<(Written, Instant)>,
}

/// A thread of the client.
pub(super) struct Thread<'s> {
    address: SocketAddr,
    poll: Poll,
    connections: Vec<Connection>,
    free: Vec<usize>,
    requests: Requests,
    /// Time between two requests at a fixed rate.
    interval: Option<Duration>,
    /// When the oldest request was or will be due that is not sent yet.
    next_due: Instant,
    /// There is nothing more to ask.
    exhausted: bool,
    shared: &'s Shared,
    tally: Tally,
}

impl<'s> Thread<'s> {
    /// Takes the connections over. At a fixed rate, `interval` is this thread's time between two
    /// requests; without, each connection asks again as soon as it is answered.
    pub(super) fn new(
        address: SocketAddr,
        streams: Vec<std::net::TcpStream>,
        requests: Requests,
        interval: Option<Duration>,
        shared: &'s Shared,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(streams.len());
        for (number, stream) in streams.into_iter().enumerate() {
            connections.push(Connection::new(stream, number, &poll)?);
        }
        let free = (0..connections.len()).rev().collect();
        let next_due = shared.span.begin;
        let tally = Tally::new(shared.span.until - shared.span.from);
        Ok(Self {
            address,
            poll,
            connections,
            free,
            requests,
            interval,
            next_due,
            exhausted: false,
            shared,
            tally,
        })
    }

    /// Works until the run's end.
    pub(super) fn run(mut self) -> io::Result<Tally> {
        std::thread::sleep(self.shared.span.begin.saturating_duration_since(Instant::now()));
        let mut events = Events::with_capacity(1_024);
        loop {
            let now = Instant::now();
            if self.shared.stop.load(Ordering::Relaxed) {
                // Nobody wants to know any more what is under way.
                break;
            }
            let over = self.is_over(now);
            if !over {
                self.start_due(now)?;
            }
            let idle = self.free.len() == self.connections.len();
            if over && (idle || now >= self.shared.span.until + DRAIN_MAX) {
                break;
            }
            self.wait(&mut events, over)?;
            for event in &events {
                self.progress(event.token().0, over)?;
            }
        }
        self.lose_the_rest();
        Ok(self.tally)
    }

    /// Whether nothing is sent any more.
    fn is_over(&self, now: Instant) -> bool {
        let until = self.shared.span.until;
        let is_late = self.interval.is_some() && self.next_due < until && now < until + LATE_MAX;
        self.exhausted || (now >= until && !is_late)
    }

    fn wait(&mut self, events: &mut Events, over: bool) -> io::Result<()> {
        let mut timeout = LOOK_EVERY;
        if self.interval.is_some() && !over {
            // The system's own time-outs are whole milliseconds, which is too coarse here.
            let ahead = self.next_due.saturating_duration_since(Instant::now());
            timeout = if ahead.is_zero() { Duration::from_millis(1) } else { Duration::ZERO };
            if !ahead.is_zero() {
                // With nothing under way there is nothing to look for before the next is due.
                let idle = self.free.len() == self.connections.len();
                std::thread::sleep(ahead.min(if idle { LOOK_EVERY } else { TICK }));
            }
        }
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    /// Sends what is to be sent now, on connections that are free.
    fn start_due(&mut self, now: Instant) -> io::Result<()> {
        let Some(interval) = self.interval else {
            while !self.exhausted
                && let Some(free) = self.free.pop()
            {
                self.ask(free, now)?;
            }
            return Ok(());
        };
        while !self.exhausted
            && self.next_due <= now
            && self.next_due < self.shared.span.until
            && let Some(free) = self.free.pop()
        {
            // From when it should have been sent: what waits for a connection waits for the server.
            self.ask(free, self.next_due)?;
            self.next_due += interval;
        }
        Ok(())
    }

    fn ask(&mut self, number: usize, since: Instant) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        let Some(written) = self.requests.write(&mut connection.out) else {
            self.exhausted = true;
            self.free.push(number);
            return Ok(());
        };
        connection.sent = 0;
        connection.asked = Some((written, since));
        self.tally.asked += 1;
        match connection.send() {
            Ok(()) => Ok(()),
            Err(error) => self.broke(number, &error.to_string()),
        }
    }

    /// Goes on with a connection on which something has happened.
    fn progress(&mut self, number: usize, over: bool) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        let sent = connection.send();
        // A request that is refused may be answered before it is all sent, and the rest not be taken.
        let done = match connection.receive() {
            Ok(None) => sent.map(|()| None),
            received => received,
        };
        let cut_short = !connection.is_sent();
        match done {
            Ok(None) => Ok(()),
            Ok(Some(shape)) => {
                let now = Instant::now();
                self.take_answer(number, shape, now);
                if cut_short {
                    return self.reconnect(number);
                }
                if over || self.interval.is_some() {
                    self.free.push(number);
                    return Ok(());
                }
                self.ask(number, now)
            }
            Err(error) => self.broke(number, &error.to_string()),
        }
    }

    fn take_answer(&mut self, number: usize, shape: Shape, now: Instant) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        let Some((written, since)) = connection.asked.take() else { return };
        let answer = shape.answer(&connection.input);
        self.tally.take(&answer, &written, (since, now), self.shared);
        connection.filled = 0;
    }

    /// What was under way on it may have been done or not, if it was all sent. Connects anew.
    fn broke(&mut self, number: usize, why: &str) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        if let Some((written, _)) = connection.asked.take() {
            self.tally.lost(written.operations, why, connection.is_sent());
        }
        self.reconnect(number)
    }

    fn reconnect(&mut self, number: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        let stream = connect::connect(self.address)?;
        stream.set_nonblocking(true)?;
        *connection = Connection::new(stream, number, &self.poll)?;
        self.free.push(number);
        Ok(())
    }

    fn lose_the_rest(&mut self) {
        for connection in &mut self.connections {
            if let Some((written, _)) = connection.asked.take() {
                self.tally.lost(written.operations, "no answer before the end", true);
            }
        }
    }
}

impl Connection {
    fn new(stream: std::net::TcpStream, number: usize, poll: &Poll) -> io::Result<Self> {
        let mut stream = TcpStream::from_std(stream);
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(number), both)?;
        let input = vec![0; READ_BYTES];
        Ok(Self { stream, out: Vec::new(), sent: 0, input, filled: 0, asked: None })
    }

    /// Whether the whole request is on its way: only then can it have been done.
    fn is_sent(&self) -> bool {
        self.sent >= self.out.len()
    }

    /// Writes as much of the request as goes.
    fn send(&mut self) -> io::Result<()> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there; what the answer is when it is all there. When something is read that
    /// does not fill the buffer there is nothing more, so that an answer mostly costs one read.
    fn receive(&mut self) -> io::Result<Option<Shape>> {
        loop {
            if self.filled == self.input.len() {
                if self.filled > 2 * BODY_BYTES_MAX {
                    return Err(io::Error::other("an answer without an end"));
                }
                self.input.resize(2 * self.filled, 0);
            }
            let room = self.input.get_mut(self.filled..).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => return Err(io::Error::other("the connection was closed")),
                Ok(read) => {
                    self.filled += read;
                    let so_far = self.input.get(..self.filled).unwrap_or_default();
                    if let Some(answer) = answer::read(so_far).map_err(io::Error::other)? {
                        if self.asked.is_none() {
                            return Err(io::Error::other("an answer to no request"));
                        }
                        return Ok(Some(answer.shape()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use super::super::requests::{Crowd, What};
    use super::super::scenario::{Chooser, Scenario};
    use super::*;

    /// Answers at once until a moment, and from another one on.
    fn pausing(listener: &TcpListener, (pause, go_on): (Instant, Instant)) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut input = [0; 4_096];
        while stream.read(&mut input).is_ok_and(|read| read > 0) {
            if Instant::now() >= pause {
                std::thread::sleep(go_on.saturating_duration_since(Instant::now()));
            }
            let said = b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{\"operation_id\":1}";
            stream.write_all(said).unwrap();
        }
    }

    #[test]
    fn at_a_fixed_rate_a_pause_at_the_end_hides_nothing_that_was_due() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let begin = Instant::now();
        let after = move |millis| begin + Duration::from_millis(millis);
        let span = Span { begin, from: begin, until: after(1_000) };
        let server = std::thread::spawn(move || pausing(&listener, (after(800), after(1_100))));
        let crowd = Crowd::of_two();
        let chooser = Chooser::new(Scenario::Uniform, (2, 2), Arc::default(), 7);
        let what = (What::Single, true);
        let requests = Requests::new(address, Arc::new(crowd), chooser, what, (0, 1));
        let shared = Shared { span, newest: AtomicU64::new(0), stop: &STOP };
        let interval = Some(Duration::from_millis(10));
        let streams = connect(address, 1).unwrap();
        let tally = Thread::new(address, streams, requests, interval, &shared).unwrap().run();
        let tally = tally.unwrap();
        server.join().unwrap();
        assert_eq!((tally.asked, tally.latencies.len()), (100, 100));
        assert!(tally.counted < 100, "what comes after the end is not in the rate");
        let slow = tally.latencies.count_between(100_000_000, u64::MAX);
        assert!(slow >= 15, "those that were due in the pause waited: {slow}");
    }
}
