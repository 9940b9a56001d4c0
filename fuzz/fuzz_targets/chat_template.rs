#![no_main]

#[allow(dead_code)]
#[path = "../model_targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::chat_template(bytes));
