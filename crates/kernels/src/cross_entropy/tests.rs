use super::*;
use crate::testing::{assert_close, gradient, matrix, to_f64};
use proptest::prelude::*;

const BOTH: Wanted = Wanted { x: true, weight: true };
const NEITHER: Wanted = Wanted { x: false, weight: false };

/// The module's formulas, in f64 and token by token.
fn reference(x: &[f64], w: &[f64], targets: &[i64], dim: usize, options: &Options<'_>) -> f64 {
    let vocab = w.len() / dim;
    let logits = |x: &[f64], w: &[f64], dim: usize| -> Vec<f64> {
        w.chunks(dim).map(|w| x.iter().zip(w).map(|(x, w)| x * w).sum()).collect()
    };
    let log_softmax = |l: &[f64], t: f64| -> Vec<f64> {
        let log_z = l.iter().map(|l| (l / t).exp()).sum::<f64>().ln();
        l.iter().map(|l| l / t - log_z).collect()
    };
    let mut loss = 0.0;
    for (i, (target, x)) in targets.iter().zip(x.chunks(dim)).enumerate() {
        if *target == options.ignored {
            continue;
        }
        let l = logits(x, w, dim);
        let log_p = log_softmax(&l, 1.0);
        let s = f64::from(options.label_smoothing);
        let hard = -(1.0 - s) * log_p[*target as usize] - s / vocab as f64 * log_p.iter().sum::<f64>();
        let share = options.soft.map_or(1.0, |soft| f64::from(soft.hard_share));
        let soft = match options.soft.map(|soft| soft.targets) {
            None => 0.0,
            Some(SoftTargets::Probabilities(q)) => {
                -q[i * vocab..].iter().zip(&log_p).map(|(q, p)| f64::from(*q) * p).sum::<f64>()
            }
            Some(SoftTargets::Teacher { hidden, weight, dim, temperature }) => {
                let t = f64::from(temperature);
                let teacher = logits(&to_f64(&hidden[i * dim..(i + 1) * dim]), &to_f64(weight), dim);
                let (teacher, student) = (log_softmax(&teacher, t), log_softmax(&l, t));
                t * t * teacher.iter().zip(&student).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
            }
        };
        let log_z = l.iter().map(|l| l.exp()).sum::<f64>().ln();
        let token = share * hard + (1.0 - share) * soft + f64::from(options.z_loss) * log_z * log_z;
        loss += options.token_weights.map_or(1.0, |w| f64::from(w[i])) * token;
    }
    loss
}

fn check_against_reference(x: &[f32], w: &[f32], targets: &[i64], dim: usize, options: &Options<'_>) {
    let vocab = w.len() / dim;
    let got = linear_cross_entropy(x, w, targets, dim, vocab, options, BOTH);
    let (x64, w64) = (to_f64(x), to_f64(w));
    let want = reference(&x64, &w64, targets, dim, options);
    assert!((got.loss - want).abs() < 1e-5 * want.abs().max(1.0), "{options:?}: {} {want}", got.loss);
    assert_close(&got.dx, &gradient(&x64, |x| reference(x, &w64, targets, dim, options)), 2e-5);
    assert_close(&got.d_weight, &gradient(&w64, |w| reference(&x64, w, targets, dim, options)), 2e-5);
    for (target, dx) in targets.iter().zip(got.dx.chunks(dim)) {
        assert!(*target != options.ignored || dx.iter().all(|d| *d == 0.0), "an ignored row has no gradient");
    }
    let loss_only = linear_cross_entropy(x, w, targets, dim, vocab, options, NEITHER);
    assert_eq!(loss_only.loss, got.loss);
    assert!(loss_only.dx.is_empty() && loss_only.d_weight.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn loss_and_gradients_with_every_option(
        tokens in 1usize..6, dim in 1usize..6, vocab in 1usize..40, teacher_dim in 1usize..5,
        smoothing in 0f32..0.9, z_loss in 0f32..0.1, hard_share in 0f32..1.0, temperature in 0.5f32..4.0, seed: u64,
    ) {
        let (x, w) = (matrix(tokens * dim, seed), matrix(vocab * dim, seed ^ 1));
        let targets: Vec<i64> =
            (0..tokens).map(|i| if i == 1 { 77 } else { ((seed >> 3) as usize + 7 * i) as i64 % vocab as i64 }).collect();
        let weights: Vec<f32> = matrix(tokens, seed ^ 2).iter().map(|w| w + 1.0).collect();
        // Not normalised, and with zeros.
        let q: Vec<f32> = matrix(tokens * vocab, seed ^ 3).iter().map(|q| q.max(0.0)).collect();
        let hidden: Vec<f32> = matrix(tokens * teacher_dim, seed ^ 4).iter().map(|h| 8.0 * h).collect();
        let teacher = matrix(vocab * teacher_dim, seed ^ 5);
        let plain = Options { ignored: 77, ..Options::default() };
        let teacher = SoftTargets::Teacher { hidden: &hidden, weight: &teacher, dim: teacher_dim, temperature };
        let mut soft = [SoftTargets::Probabilities(&q), teacher].map(|targets| Some(Soft { hard_share, targets })).to_vec();
        soft.push(None);
        soft.push(Some(Soft { hard_share: 0.0, targets: teacher }));
        for soft in soft {
            let bare = Options { soft, ..plain };
            let full = Options { label_smoothing: smoothing, z_loss, token_weights: Some(&weights), ..bare };
            for options in [bare, full, Options { z_loss, ..bare }, Options { label_smoothing: smoothing, ..bare }] {
                check_against_reference(&x, &w, &targets, dim, &options);
            }
        }
    }

    /// Rows longer than one round of lanes, large logits, at every level.
    #[test]
    fn one_row_at_every_level(vocab in 1usize..100, smoothing in 0f32..0.5, seed: u64) {
        let logits: Vec<f32> = matrix(vocab, seed).into_iter().map(|x| 60.0 * x).collect();
        let teacher: Vec<f32> = matrix(vocab, seed ^ 1).into_iter().map(|x| 30.0 * x).collect();
        let q: Vec<f32> = matrix(vocab, seed ^ 2).into_iter().map(|x| x + 0.5).collect();
        let target = (seed % vocab as u64) as usize;
        let c = Coefficients { hard: 0.25, soft: 0.75, smoothing, z_loss: 0.01 };
        let alone = Coefficients { hard: 1.0, soft: 0.0, ..c };
        let identity = |l: &[f64]| -> Vec<f64> { l.to_vec() };
        let options = |soft| Options { label_smoothing: smoothing, z_loss: 0.01, soft, ..Options::default() };
        // With one input of 1 per token and the logits as weight, the reference is a function of the logits.
        let want = |soft| {
            let options = options(soft);
            let f = |l: &[f64]| reference(&[1.0], &identity(l), &[target as i64], 1, &options);
            (f(&to_f64(&logits)), gradient(&to_f64(&logits), f))
        };
        let hard = want(None);
        let given = want(Some(Soft { hard_share: 0.25, targets: SoftTargets::Probabilities(&q) }));
        let taught = want(Some(Soft { hard_share: 0.25, targets: SoftTargets::Teacher { hidden: &[1.0], weight: &teacher, dim: 1, temperature: 2.0 } }));
        for level in Level::available() {
            let check = |f: &dyn Fn(&mut [f32], bool) -> f32, want: &(f64, Vec<f64>)| {
                let (mut row, mut kept) = (logits.clone(), logits.clone());
                let loss = f(&mut row, true);
                assert!((f64::from(loss) - want.0).abs() < 1e-5 * want.0.abs().max(1.0), "{}: {loss} {}", level.name(), want.0);
                assert_close(&row, &want.1, 1e-5);
                assert_eq!(f(&mut kept, false).to_bits(), loss.to_bits());
                assert_eq!(kept, logits, "without a gradient the logits stay");
            };
            check(&|row, g| hard_row(level, row, target, &alone, 1.0, g), &hard);
            check(&|row, g| probabilities_row(level, row, target, &c, 1.0, g, &q), &given);
            check(&|row, g| teacher_row(level, row, target, &c, 1.0, g, &teacher, 2.0), &taught);
        }
    }
}

/// More tokens than a chunk: the pieces must add up to what each token gives alone, with few chunks and with so many
/// that the weight is packed.
#[test]
fn chunks_add_up() {
    for (tokens, packed) in [(600, false), (1700, true)] {
        let vocab = 20_000;
        assert!(chunk_rows(tokens, vocab) < tokens, "a vocabulary of {vocab} takes {tokens} tokens at a time");
        assert_eq!(packs_weight(tokens, vocab), packed);
        check_chunks(tokens, vocab);
    }
}

fn check_chunks(tokens: usize, vocab: usize) {
    let (dim, teacher_dim) = (3, 2);
    let (x, w) = (matrix(tokens * dim, 1), matrix(vocab * dim, 3));
    let (hidden, teacher) = (matrix(tokens * teacher_dim, 4), matrix(vocab * teacher_dim, 5));
    let targets: Vec<i64> = (0..tokens as i64).map(|i| i % vocab as i64).collect();
    let weights: Vec<f32> = (0..tokens).map(|i| (i % 3) as f32).collect();
    let options = |range: std::ops::Range<usize>, soft: bool| Options {
        token_weights: Some(&weights[range.clone()]),
        soft: soft.then(|| Soft {
            hard_share: 0.5,
            targets: SoftTargets::Teacher {
                hidden: &hidden[range.start * teacher_dim..range.end * teacher_dim],
                weight: &teacher,
                dim: teacher_dim,
                temperature: 2.0,
            },
        }),
        ..Options::default()
    };
    for soft in [false, true] {
        let all = linear_cross_entropy(&x, &w, &targets, dim, vocab, &options(0..tokens, soft), BOTH);
        let (mut loss, mut d_weight) = (0f64, vec![0f64; vocab * dim]);
        for i in (0..tokens).step_by(50) {
            let x = &x[i * dim..(i + 50) * dim];
            let part = linear_cross_entropy(x, &w, &targets[i..i + 50], dim, vocab, &options(i..i + 50, soft), BOTH);
            loss += part.loss;
            d_weight.iter_mut().zip(&part.d_weight).for_each(|(s, d)| *s += f64::from(*d));
            assert_close(&all.dx[i * dim..(i + 50) * dim], &to_f64(&part.dx), 1e-5);
        }
        assert!((all.loss - loss).abs() < 1e-3, "{} {loss}", all.loss);
        assert_close(&all.d_weight, &d_weight, 1e-5);
    }
}

/// A student that is its teacher has nothing to learn from it.
#[test]
fn the_divergence_from_oneself_is_nothing() {
    let (x, w) = (matrix(4 * 8, 1), matrix(50 * 8, 2));
    let targets = SoftTargets::Teacher { hidden: &x, weight: &w, dim: 8, temperature: 3.0 };
    let options = Options { soft: Some(Soft { hard_share: 0.0, targets }), ..Options::default() };
    let got = linear_cross_entropy(&x, &w, &[0, 1, 2, 3], 8, 50, &options, BOTH);
    assert!(got.loss.abs() < 1e-6, "{}", got.loss);
    assert_close(&got.d_weight, &vec![0.0; 50 * 8], 1e-6);
}

#[test]
fn rounded_products_stay_near_exact_ones() {
    let (x, w) = (matrix(40 * 64, 1), matrix(100 * 64, 2));
    let targets: Vec<i64> = (0..40).collect();
    let run =
        |precision| linear_cross_entropy(&x, &w, &targets, 64, 100, &Options { precision, ..Options::default() }, BOTH);
    let (exact, rounded) = (run(Precision::F32), run(Precision::Bf16));
    assert!(exact.loss != rounded.loss && (exact.loss - rounded.loss).abs() < 1e-2 * exact.loss);
    assert_close(&rounded.dx, &to_f64(&exact.dx), 2e-2);
    assert_close(&rounded.d_weight, &to_f64(&exact.d_weight), 2e-2);
}

#[test]
fn nothing_to_learn_from() {
    let none = linear_cross_entropy(&[], &[0.5; 10], &[], 2, 5, &Options::default(), BOTH);
    assert_eq!((none.loss, none.dx.len(), none.d_weight), (0.0, 0, vec![0.0; 10]));
    let ignored = linear_cross_entropy(&[1.0; 4], &[0.5; 10], &[IGNORED; 2], 2, 5, &Options::default(), BOTH);
    assert_eq!((ignored.loss, ignored.dx, ignored.d_weight), (0.0, vec![0.0; 4], vec![0.0; 10]));
}

/// A NaN or infinite logit must show in the loss: the training loop's watchdog looks there.
#[test]
fn bad_logits_show() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = matrix(3 * 4, 1);
        x[5] = bad;
        let loss = linear_cross_entropy(&x, &matrix(20 * 4, 2), &[1, 2, 3], 4, 20, &Options::default(), NEITHER).loss;
        assert!(!loss.is_finite(), "{bad} gave {loss}");
    }
}

#[test]
#[should_panic(expected = "target 5 is outside the vocabulary of 5")]
fn a_target_outside_the_vocabulary_is_named() {
    linear_cross_entropy(&[0.0; 2], &[0.0; 10], &[5], 2, 5, &Options::default(), NEITHER);
}

#[test]
fn threads_change_no_bit() {
    let (tokens, dim, vocab) = (1600, 40, 9000);
    assert!(packs_weight(tokens, vocab));
    let (x, w) = (matrix(tokens * dim, 1), matrix(vocab * dim, 2));
    let targets: Vec<i64> = (0..tokens as i64).map(|i| i * 7 % vocab as i64).collect();
    for precision in [Precision::F32, Precision::Bf16] {
        let options = Options { precision, label_smoothing: 0.1, z_loss: 1e-3, ..Options::default() };
        crate::testing::assert_threads_change_nothing(|| {
            linear_cross_entropy(&x, &w, &targets, dim, vocab, &options, BOTH)
        });
    }
}
