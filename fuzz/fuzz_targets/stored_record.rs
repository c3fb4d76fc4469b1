//! Fuzzes `outcrop_fuzz::stored_record`; what must hold is written there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcrop_fuzz::stored_record(data));
