//! `danlu bench`, and `bench/run` with a stand-in for PyTorch: what programs read from them.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Place, skip, stderr};

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {value}"))
}

#[test]
fn training_figures_as_json_and_as_a_table() {
    let place = Place::new();
    let args = ["bench", "train", "--model", "XS", "--precision", "bf16", "--recompute", "block", "--steps", "3"];
    let figures = place.json(&[&args[..], &["--json"]].concat());
    assert_eq!(figures["side"], "danlu");
    assert_eq!((&figures["model"], &figures["precision"]), (&"XS".into(), &"bf16".into()));
    assert_eq!(figures["recompute"], "block");
    assert_eq!(figures["step_seconds"].as_array().map(Vec::len), Some(3));
    let rate = number(&figures, "tokens_per_second");
    assert!(rate > 0.0 && rate <= number(&figures["spread"], "highest"));
    assert!(number(&figures, "last_loss") < number(&figures, "first_loss"));
    assert!(number(&figures, "fraction_of_peak") > 0.0);
    let table = place.ok(&args);
    assert!(table.contains("training XS in bf16") && table.contains("tokens per second"), "{table}");
}

#[test]
fn every_part_has_its_cases() {
    let place = Place::new();
    for (part, rate) in [("gemm", "gflops"), ("attention", "gflops"), ("decode", "tokens_per_second")] {
        let figures = place.json(&["bench", part, "--model", "XS", "--steps", "2", "--json"]);
        let cases = figures["cases"].as_array().unwrap();
        assert!(cases.len() >= 2 && cases.iter().all(|case| number(case, rate) > 0.0), "{part}: {figures}");
        let table = place.ok(&["bench", part, "--model", "XS", "--steps", "2"]);
        assert!(table.lines().count() >= cases.len() + 2, "{table}");
    }
}

#[test]
fn alone_it_looks_at_everything() {
    let place = Place::new();
    let look = place.json(&["bench", "--model", "xs", "--steps", "2", "--json"]);
    assert_eq!(look["train"].as_array().map(Vec::len), Some(2));
    let table = place.ok(&["bench", "--model", "xs", "--steps", "2"]);
    for row in ["arithmetic peak", "linear layer, forward", "attention, forward", "training, tokens/s", "decoding 8"] {
        assert!(table.contains(row), "no `{row}` in\n{table}");
    }
}

#[test]
fn what_cannot_be_measured_is_said() {
    let place = Place::new();
    let unknown = place.fails(2, &["bench", "train", "--model", "XXL"]);
    assert!(unknown.contains("XXL") && unknown.contains("LSTM"), "{unknown}");
    let none = place.fails(2, &["bench", "train", "--steps", "0"]);
    assert!(none.contains("hint:"), "{none}");
    let time = place.fails(2, &["bench", "train", "--seconds=-1"]);
    assert!(time.contains("time span"), "{time}");
}

fn bench_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bench").canonicalize().unwrap()
}

fn python_is_there(test: &str) -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        skip(test, "no python3");
    }
    there
}

#[test]
fn bench_run_joins_danlu_and_its_peer() {
    if !python_is_there("bench_run_joins_danlu_and_its_peer") {
        return;
    }
    for (part, rate) in [("train", "tokens_per_second"), ("gemm", "gflops"), ("decode", "tokens_per_second")] {
        let output = Command::new(bench_folder().join("run"))
            .args([part, "--model", "XS", "--rounds", "1", "--seconds", "0.01", "--threads", "1", "--json"])
            .env("DANLU_BIN", env!("CARGO_BIN_EXE_danlu"))
            .env("DANLU_BENCH_PYTHON", bench_folder().join("tests/fake_peer.py"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{part}: {}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let joined: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let (ours, theirs) = (number(&joined, &format!("danlu_{rate}")), number(&joined, &format!("peer_{rate}")));
        assert!((number(&joined, "ratio") - ours / theirs).abs() < 1e-9 * ours / theirs, "{joined}");
        assert!(number(&joined, "memory_ratio") > 0.0 && number(&joined, "fraction_of_peak") > 0.0, "{joined}");
        if part == "train" {
            // 32 tokens in the stand-in's median second.
            assert_eq!((theirs, &joined["peer_mode"]), (32.0, &"compile".into()));
        }
    }
}

#[test]
fn bench_run_adds_up_what_it_is_given() {
    if !python_is_there("bench_run_adds_up_what_it_is_given") {
        return;
    }
    let folder = bench_folder().join("tests");
    let output = Command::new("python3").args(["-m", "unittest", "discover", "-s"]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}
