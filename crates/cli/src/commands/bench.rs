//! `danlu bench [train|gemm|attention|decode]`.

use std::time::Duration;

use danlu_bench::{
    AttentionFigures, Budget, DecodeFigures, DecodeSettings, GemmFigures, Machine, Overview, Pass, Precision, Product,
    TrainFigures, TrainSettings, Workload,
};
use serde::Serialize;

use crate::Usage;
use crate::args::{BenchArgs, BenchOptions, BenchPart, Global};
use crate::output::{bytes, count, line, note, table};

/// Precisions of a part that was not told one.
const BOTH: [Precision; 2] = [Precision::F32, Precision::Bf16];
const LARGER: [Workload; 3] = [Workload::S, Workload::M, Workload::L];

pub fn bench(global: &Global, args: &BenchArgs) -> anyhow::Result<()> {
    let device = danlu_pipeline::select_device(&global.device)?;
    let options = &args.options;
    let models = options.model.map_or(LARGER.to_vec(), |model| vec![model]);
    let precisions = options.precision.map_or(BOTH.to_vec(), |precision| vec![precision]);
    let model = options.model.unwrap_or(Workload::S);
    let (step, operation) = (options.budget(8.0)?, options.budget(0.2)?);
    match &args.part {
        None => {
            let mut told = |part: &str| note(&format!("measuring {part}"));
            let mut quiet = |_: &str| ();
            let on_part: &mut dyn FnMut(&str) = if options.json { &mut quiet } else { &mut told };
            let budget = options.budget(4.0)?;
            show(options, &danlu_bench::overview(model, &precisions, budget, &device, on_part)?, overview)
        }
        Some(BenchPart::Train(train)) => {
            let precision = options.precision.unwrap_or(Precision::F32);
            let settings = TrainSettings { workload: model, precision, recompute: train.recompute, budget: step };
            show(options, &danlu_bench::train(&settings, &device)?, training)
        }
        Some(BenchPart::Gemm) => show(options, &danlu_bench::gemm(&models, &precisions, operation), products),
        Some(BenchPart::Attention) => {
            show(options, &danlu_bench::attention(&models, &precisions, &device, operation)?, attention)
        }
        Some(BenchPart::Decode) => show(options, &danlu_bench::decode(DecodeSettings::of(model), &device)?, decoding),
    }
}

impl BenchOptions {
    fn budget(&self, default_seconds: f64) -> anyhow::Result<Budget> {
        if let Some(runs) = self.steps {
            let hint = "give the number of timed runs, for example --steps 5";
            return if runs > 0 {
                Ok(Budget::Runs(runs))
            } else {
                Err(Usage::new("--steps 0 measures nothing", hint).into())
            };
        }
        let seconds = self.seconds.unwrap_or(default_seconds);
        let limit = Duration::try_from_secs_f64(seconds);
        let hint = "give a number of seconds, for example --seconds 5";
        Ok(Budget::Time(limit.map_err(|_| Usage::new(format!("--seconds {seconds} is no time span"), hint))?))
    }
}

/// The JSON line or the table.
fn show<F: Serialize>(options: &BenchOptions, figures: &F, text: fn(&F) -> String) -> anyhow::Result<()> {
    let text = if options.json { serde_json::to_string(figures)? } else { text(figures) };
    line(text.trim_end());
    Ok(())
}

/// `danlu 0.1.0, AMD EPYC, 2 threads, avx512`
fn heading(machine: &Machine) -> String {
    let environment = danlu_store::environment();
    let cpu = environment["cpu"].as_str().unwrap_or("unknown processor");
    format!("danlu {}, {cpu}, {} threads, {}\n\n", machine.version, machine.threads, machine.cpu)
}

fn whole(value: f64) -> String {
    count(value.round().max(0.0) as u64)
}

fn share(value: Option<f64>) -> String {
    value.map_or("-".into(), danlu_report::number::percent)
}

fn memory(value: Option<u64>) -> String {
    value.map_or("-".into(), bytes)
}

fn training(f: &TrainFigures) -> String {
    let spread = format!("{} to {}", whole(f.spread.lowest), whole(f.spread.highest));
    let rows = [
        ("parameters", count(f.parameters as u64)),
        ("tokens per step", count(f.tokens_per_step as u64)),
        ("tokens per second", whole(f.tokens_per_second)),
        ("  over the steps", format!("{spread} ({} steps)", f.spread.samples)),
        ("GFLOP/s", whole(f.gflops)),
        ("  of the measured peak", share(f.fraction_of_peak)),
        ("peak memory", memory(f.peak_rss_bytes)),
        ("loss, first and last", format!("{:.4}, {:.4}", f.first_loss, f.last_loss)),
    ];
    let rows: Vec<Vec<String>> = rows.map(|(name, value)| vec![name.into(), value]).into();
    heading(&f.machine) + &table(&[&format!("training {} in {}", f.model.name(), f.precision.name()), ""], &rows)
}

fn product_name(product: Product) -> &'static str {
    match product {
        Product::Forward => "forward",
        Product::GradInput => "gradient of the input",
        Product::GradWeight => "gradient of the weight",
    }
}

fn products(f: &GemmFigures) -> String {
    let rows: Vec<Vec<String>> = f
        .cases
        .iter()
        .map(|case| {
            let [rows, inp, out] = case.shape;
            let range = format!("{} to {}", whole(case.spread.lowest), whole(case.spread.highest));
            let product = product_name(case.product).to_owned();
            vec![format!("{rows} x {inp} -> {out}"), product, case.precision.name().into(), whole(case.gflops), range]
        })
        .collect();
    let peaks: Vec<String> = f.peak_gflops.iter().map(|peak| whole(*peak)).collect();
    let header = ["rows x inputs -> outputs", "product", "precision", "GFLOP/s", "over the runs"];
    heading(&f.machine) + &table(&header, &rows) + &format!("\nmeasured peak: {} GFLOP/s", peaks.join(", "))
}

fn pass_name(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "forward",
        Pass::ForwardBackward => "forward and backward",
    }
}

fn attention(f: &AttentionFigures) -> String {
    let rows: Vec<Vec<String>> = f
        .cases
        .iter()
        .map(|case| {
            let [batch, heads, kv_heads, time, head_dim] = case.shape;
            vec![
                case.model.name().into(),
                format!("{batch} x {heads}/{kv_heads} x {time} x {head_dim}"),
                pass_name(case.pass).into(),
                case.precision.name().into(),
                format!("{:.2}", case.seconds * 1e3),
                format!("{:.2} to {:.2}", case.spread.lowest * 1e3, case.spread.highest * 1e3),
                whole(case.gflops),
            ]
        })
        .collect();
    let header = ["model", "batch x heads x time x width", "pass", "precision", "ms", "over the runs", "GFLOP/s"];
    heading(&f.machine) + &table(&header, &rows)
}

fn decoding(f: &DecodeFigures) -> String {
    let rows: Vec<Vec<String>> = f
        .cases
        .iter()
        .map(|case| {
            let range = format!("{} to {}", whole(case.spread.lowest), whole(case.spread.highest));
            vec![case.weights.into(), case.batch.to_string(), whole(case.tokens_per_second), range]
        })
        .collect();
    let told = format!("{}, {} tokens after a prompt of {}\n\n", f.model.name(), f.tokens, f.prompt);
    heading(&f.machine) + &told + &table(&["weights", "sequences", "tokens/s", "over the steps"], &rows)
}

/// One row per measure, one column per number format.
fn overview(f: &Overview) -> String {
    const COLUMNS: [&str; 3] = ["f32", "bf16", "int8"];
    let row = |name: String, value: &dyn Fn(&str) -> Option<String>| {
        let cells = COLUMNS.iter().map(|column| value(column).unwrap_or_else(|| "-".into()));
        std::iter::once(name).chain(cells).collect::<Vec<String>>()
    };
    let mut rows = vec![row("arithmetic peak, GFLOP/s".into(), &|column| {
        f.peaks.iter().find(|p| p.precision.name() == column).map(|p| whole(p.gflops))
    })];
    for product in [Product::Forward, Product::GradInput, Product::GradWeight] {
        rows.push(row(format!("linear layer, {}, GFLOP/s", product_name(product)), &|column| {
            let found = f.gemm.iter().find(|case| case.product == product && case.precision.name() == column);
            found.map(|case| whole(case.gflops))
        }));
    }
    for pass in [Pass::Forward, Pass::ForwardBackward] {
        rows.push(row(format!("attention, {}, GFLOP/s", pass_name(pass)), &|column| {
            let found = f.attention.iter().find(|case| case.pass == pass && case.precision.name() == column);
            found.map(|case| whole(case.gflops))
        }));
    }
    let trained = |column: &str| f.train.iter().find(|t| t.precision.name() == column);
    rows.push(row("training, tokens/s".into(), &|column| trained(column).map(|t| whole(t.tokens_per_second))));
    rows.push(row("training, share of the peak".into(), &|column| trained(column).map(|t| share(t.fraction_of_peak))));
    for batch in [1, 8] {
        let sequences = if batch == 1 { "1 sequence".into() } else { format!("{batch} sequences") };
        rows.push(row(format!("decoding {sequences}, tokens/s"), &|column| {
            let found = f.decode.iter().find(|case| case.weights == column && case.batch == batch);
            found.map(|case| whole(case.tokens_per_second))
        }));
    }
    let parameters = f.train.first().map_or(0, |t| t.parameters as u64);
    let told = format!("\nmodel {} ({} parameters); ", f.model.name(), count(parameters));
    heading(&f.machine)
        + &table(&["", COLUMNS[0], COLUMNS[1], COLUMNS[2]], &rows)
        + &told
        + &format!("peak memory of all this {}", memory(f.peak_rss_bytes))
}
