//! The binary `kopeck`. Everything it does is in the library beside it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A transfer makes and drops some dozens of small things on two threads. In place of Rust's allocator
/// only: in place of C's too, it could not start under a library that stands in for the clock.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    kopeck::run()
}
