#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kopeck::fuzzing::batch(data));
