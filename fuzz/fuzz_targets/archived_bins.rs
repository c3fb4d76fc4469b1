//! Fuzzes `outcrop_fuzz::archived_bins`; what must hold is written there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcrop_fuzz::archived_bins(data));
