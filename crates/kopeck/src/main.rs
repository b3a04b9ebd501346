//! The binary `kopeck`. Everything it does is in the library beside it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A transfer makes and drops some dozens of small things on two threads.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    kopeck::run()
}
