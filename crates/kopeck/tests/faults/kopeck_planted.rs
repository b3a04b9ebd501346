//! The service with a fault planted, under a name of its own: it never takes the place of `kopeck`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    kopeck::run()
}
