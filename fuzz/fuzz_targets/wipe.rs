//! Fuzzes `outcrop_fuzz::wipe`; what must hold is written there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcrop_fuzz::wipe(data));
