//! Fuzzes what `giliran_wire_fuzz::client_log` reads.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| giliran_wire_fuzz::client_log(bytes));
