#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| slender_fuzz::llama2c_vocabulary(bytes));
