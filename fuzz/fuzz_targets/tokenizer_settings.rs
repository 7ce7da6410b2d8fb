#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| slender_fuzz::tokenizer_settings(bytes));
