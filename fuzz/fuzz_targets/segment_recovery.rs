//! Fuzzes `outcrop_fuzz::segment_recovery`; what must hold is written there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcrop_fuzz::segment_recovery(data));
