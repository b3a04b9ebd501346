//! Owns the end of a private server whose benchmark is gone. Its standard input is a pipe that nobody but
//! the benchmark holds; the pipe ends when the benchmark does, however that came.
//!
//! Never: a meaning of what is read there. Bounds: one thread that sleeps; a stop that takes longer than
//! [`STOP_MAX`] is cut short.

use std::io::{self, Read};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// How long the server may take to stop when nobody is there any more.
const STOP_MAX: Duration = Duration::from_secs(60);

/// Stops this process, as an operator would, when there is nothing more to be read.
pub(super) fn stop_at_the_end_of(input: impl Read + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("tether".to_owned()).spawn(move || {
        wait_for_the_end_of(input);
        if kill_process(getpid(), Signal::TERM).is_ok() {
            std::thread::sleep(STOP_MAX);
        }
        std::process::exit(1);
    })?;
    Ok(())
}

fn wait_for_the_end_of(mut input: impl Read) {
    // An input that cannot be read has come to its end, too.
    let _ = io::copy(&mut input, &mut io::sink());
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_the_end_of_a_pipe_ends_the_wait() {
        let (input, mut holder) = io::pipe().unwrap();
        let (send, ended) = mpsc::channel();
        std::thread::spawn(move || {
            wait_for_the_end_of(input);
            send.send(()).unwrap();
        });
        holder.write_all(b"a word").unwrap();
        assert!(ended.recv_timeout(Duration::from_millis(100)).is_err());
        drop(holder);
        ended.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}
