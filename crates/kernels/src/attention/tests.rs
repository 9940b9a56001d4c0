use super::*;
use crate::testing::{assert_close, gradient, matrix, to_f64};
use proptest::prelude::*;

/// What a case's attention borrows.
#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    kv_heads: usize,
    group: usize,
    queries: usize,
    keys: usize,
    head_dim: usize,
    scale: f32,
    before: Option<usize>,
    after: Option<usize>,
    lengths: Option<Vec<usize>>,
    seen: Option<Vec<bool>>,
    segments: Option<(Vec<i32>, Vec<i32>)>,
    alibi: Option<Vec<f32>>,
    softcap: Option<f32>,
    dropout: Option<DropoutMask>,
    precision: Precision,
}

impl Case {
    fn plain(batch: usize, kv_heads: usize, group: usize, queries: usize, keys: usize, head_dim: usize) -> Case {
        Case {
            batch,
            kv_heads,
            group,
            queries,
            keys,
            head_dim,
            scale: 0.7,
            before: None,
            after: None,
            lengths: None,
            seen: None,
            segments: None,
            alibi: None,
            softcap: None,
            dropout: None,
            precision: Precision::F32,
        }
    }

    /// Sizes as given, options by the bits of `seed`.
    fn any(sizes: [usize; 6], seed: u64) -> Case {
        let [batch, kv_heads, group, queries, keys, head_dim] = sizes;
        let mut case = Case::plain(batch, kv_heads, group, queries, keys, head_dim);
        let bits = |at: u32, n: u64| (seed >> at) % n;
        (case.before, case.after) = match bits(0, 6) {
            0 | 1 => (None, Some(0)),
            2 => (Some(bits(4, 90) as usize), Some(0)),
            3 => (Some(bits(4, 30) as usize), Some(bits(9, 30) as usize)),
            _ => (None, None),
        };
        let random = matrix(batch * (queries + keys), seed ^ 77);
        match bits(16, 4) {
            0 => case.lengths = Some((0..batch).map(|b| (seed >> (20 + b)) as usize % (keys + 1)).collect()),
            1 => case.seen = Some(random[..batch * keys].iter().map(|x| *x < 0.1).collect()),
            _ => {}
        }
        if bits(24, 3) == 0 {
            // Documents about 20 long, or every position at random.
            let ids = |n: usize, from: usize| -> Vec<i32> {
                let of = |b: usize, i: usize| match bits(27, 2) {
                    0 => (b + i) as i32 / 20,
                    _ => (random[from + b * n + i] * 5.0) as i32,
                };
                (0..batch).flat_map(|b| (0..n).map(move |i| (b, i))).map(|(b, i)| of(b, i)).collect()
            };
            case.segments = Some((ids(queries, 0), ids(keys, batch * queries)));
        }
        if bits(30, 3) == 0 {
            case.alibi = Some((0..kv_heads * group).map(|h| 0.5f32.powi(h as i32 + 1)).collect());
        }
        if bits(33, 3) == 0 {
            case.dropout = Some(DropoutMask { key: seed, stream: 5, probability: 0.3 });
        }
        if bits(36, 7) == 0 {
            case.scale = -0.4;
        }
        if bits(40, 3) == 0 {
            case.softcap = Some(0.5 + bits(43, 9) as f32);
        }
        case
    }

    fn attention(&self) -> Attention<'_> {
        let padding = match (&self.lengths, &self.seen) {
            (Some(lengths), _) => Padding::Lengths(lengths),
            (_, Some(seen)) => Padding::Keys(seen),
            _ => Padding::None,
        };
        Attention {
            batch: self.batch,
            heads: self.kv_heads * self.group,
            kv_heads: self.kv_heads,
            queries: self.queries,
            keys: self.keys,
            head_dim: self.head_dim,
            scale: self.scale,
            precision: self.precision,
            mask: Mask {
                before: self.before,
                after: self.after,
                padding,
                segments: self.segments.as_ref().map(|(queries, keys)| Segments { queries, keys }),
            },
            dropout: self.dropout,
            alibi: self.alibi.as_deref(),
            softcap: self.softcap,
        }
    }

    /// Straight from the definition.
    fn sees(&self, b: usize, i: usize, j: usize) -> bool {
        let position = i as i64 + self.keys as i64 - self.queries as i64;
        let distance = position - j as i64;
        self.before.is_none_or(|n| distance <= n as i64)
            && self.after.is_none_or(|n| -distance <= n as i64)
            && self.lengths.as_ref().is_none_or(|lengths| j < lengths[b])
            && self.seen.as_ref().is_none_or(|seen| seen[b * self.keys + j])
            && self
                .segments
                .as_ref()
                .is_none_or(|(queries, keys)| queries[b * self.queries + i] == keys[b * self.keys + j])
    }

    fn q_len(&self) -> usize {
        self.batch * self.kv_heads * self.group * self.queries * self.head_dim
    }

    fn k_len(&self) -> usize {
        self.batch * self.kv_heads * self.keys * self.head_dim
    }

    fn inputs(&self, seed: u64) -> [Vec<f32>; 4] {
        let bf16 = |x: f32| f32::from_bits(x.to_bits() & 0xffff_0000);
        [(self.q_len(), 1), (self.k_len(), 2), (self.k_len(), 3), (self.q_len(), 4)]
            .map(|(len, part)| matrix(len, seed ^ part).iter().map(|x| bf16(3.0 * x)).collect())
    }

    /// (result, dq, dk, dv) for the gradient g of the result, (batch, heads, time, width) without gaps, in f64.
    fn reference(&self, q: &[f64], k: &[f64], v: &[f64], g: &[f64]) -> [Vec<f64>; 4] {
        let (d, heads, scale) = (self.head_dim, self.kv_heads * self.group, f64::from(self.scale));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (mut out, mut dq, mut dk, mut dv) =
            (vec![0.0; q.len()], vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; k.len()]);
        for row in 0..self.batch * heads * self.queries {
            let (b, h, i) = (row / (heads * self.queries), row / self.queries % heads, row % self.queries);
            let at = |j: usize| ((b * self.kv_heads + h / self.group) * self.keys + j) * d;
            let (q, g) = (&q[row * d..][..d], &g[row * d..][..d]);
            let position = (i + self.keys) as f64 - self.queries as f64;
            let bias = |j: usize| self.alibi.as_ref().map_or(0.0, |s| f64::from(s[h]) * (position - j as f64).abs());
            let seen: Vec<usize> = (0..self.keys).filter(|j| self.sees(b, i, *j)).collect();
            let tanh = |s: f64| self.softcap.map_or(0.0, |cap| (s / f64::from(cap)).tanh());
            let capped = |s: f64| self.softcap.map_or(s, |cap| f64::from(cap) * tanh(s));
            let scores: Vec<f64> = seen.iter().map(|j| scale * dot(q, &k[at(*j)..][..d])).collect();
            let mut p: Vec<f64> = seen.iter().zip(&scores).map(|(j, s)| capped(*s) - bias(*j)).collect();
            let top = p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            p.iter_mut().for_each(|p| *p = (*p - top).exp());
            let sum: f64 = p.iter().sum();
            let kept = |j: usize| match &self.dropout {
                Some(mask) => f64::from(mask.block(row as u64, j as u32 / 4)[j % 4]),
                None => 1.0,
            };
            for (j, p) in seen.iter().zip(&p) {
                for c in 0..d {
                    out[row * d + c] += p / sum * kept(*j) * v[at(*j) + c];
                }
            }
            let delta = dot(g, &out[row * d..][..d]);
            for ((j, p), s) in seen.iter().zip(&p).zip(&scores) {
                let slope = 1.0 - tanh(*s).powi(2);
                let ds = scale * slope * p / sum * (kept(*j) * dot(g, &v[at(*j)..][..d]) - delta);
                for c in 0..d {
                    dv[at(*j) + c] += p / sum * kept(*j) * g[c];
                    dk[at(*j) + c] += ds * q[c];
                    dq[row * d + c] += ds * k[at(*j) + c];
                }
            }
        }
        [out, dq, dk, dv]
    }

    /// The kernels' results on tensors lying (batch, heads, time, width), in that order too.
    fn run(&self, level: Level, inputs: &[Vec<f32>; 4]) -> [Vec<f32>; 4] {
        self.run_kept(level, inputs, Precision::F32)
    }

    /// [`run`](Self::run) with all tensors in the format `kept`.
    fn run_kept(&self, level: Level, inputs: &[Vec<f32>; 4], kept: Precision) -> [Vec<f32>; 4] {
        let a = self.attention();
        let inputs = inputs.each_ref().map(|x| ValueVec::new(x.clone(), kept));
        let [q, k, v, g] = inputs.each_ref().map(ValueVec::as_values);
        let plain = |data, heads: usize, time: usize| Heads {
            data,
            strides: [heads * time * self.head_dim, time * self.head_dim, self.head_dim],
        };
        let (q, g) = (plain(q, a.heads, a.queries), plain(g, a.heads, a.queries));
        let (k, v) = (plain(k, a.kv_heads, a.keys), plain(v, a.kv_heads, a.keys));
        let (out, sums) = a.forward_at(level, q, k, v);
        let strides = time_major(a.heads, a.queries, a.head_dim);
        let saved = Saved { q, k, v, out: Heads { data: (&out).into(), strides }, sums: &sums };
        let [dq, dk, dv] = a.backward_at(level, &saved, g).map(ValueVec::into_f32);
        let order = |x: &[f32], heads: usize, time: usize| {
            let [sb, sh, st] = time_major(heads, time, self.head_dim);
            let rows = (0..self.batch * heads * time).map(|i| (i / (heads * time), i / time % heads, i % time));
            rows.flat_map(|(b, h, t)| x[b * sb + h * sh + t * st..][..self.head_dim].to_vec()).collect()
        };
        [
            order(&out.clone().into_f32(), a.heads, a.queries),
            order(&dq, a.heads, a.queries),
            order(&dk, a.kv_heads, a.keys),
            order(&dv, a.kv_heads, a.keys),
        ]
    }

    fn check(&self, seed: u64, tolerance: f64) {
        let inputs = self.inputs(seed);
        let [q, k, v, g] = inputs.each_ref().map(|x| to_f64(x));
        let want = self.reference(&q, &k, &v, &g);
        // Rounded weights and gradients of scores leave errors in proportion to the terms of a sum, not to the sum.
        let largest = want.iter().flatten().fold(1f64, |m, x| m.max(x.abs()));
        let tolerance = if self.precision == Precision::Bf16 { tolerance * largest } else { tolerance };
        for level in Level::available() {
            for (got, want) in self.run(level, &inputs).iter().zip(&want) {
                assert_close(got, want, tolerance);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_shape_and_mask_agrees_with_the_formula(batch in 1usize..3, kv_heads in 1usize..3, group in 1usize..3, queries in 1usize..150, keys in 1usize..150, head_dim in 1usize..40, alone: bool, seed: u64) {
        let queries = if alone { keys } else { queries };
        Case::any([batch, kv_heads, group, queries, keys, head_dim], seed).check(seed, 3e-5);
    }

    #[test]
    fn bf16_agrees_up_to_its_rounding(kv_heads in 1usize..3, group in 1usize..3, queries in 1usize..150, keys in 1usize..150, head_dim in 1usize..70, seed: u64) {
        let mut case = Case::any([1, kv_heads, group, queries, keys, head_dim], seed);
        case.precision = Precision::Bf16;
        case.check(seed, 3e-2);
    }

    #[test]
    fn the_formula_agrees_with_finite_differences(kv_heads in 1usize..3, group in 1usize..3, queries in 1usize..7, keys in 1usize..7, head_dim in 1usize..4, seed: u64) {
        let case = Case::any([2, kv_heads, group, queries, keys, head_dim], seed);
        let [q, k, v, g] = case.inputs(seed).each_ref().map(|x| to_f64(x));
        let [_, dq, dk, dv] = case.reference(&q, &k, &v, &g);
        let loss = |q: &[f64], k: &[f64], v: &[f64]| case.reference(q, k, v, &g)[0].iter().zip(&g).map(|(y, g)| y * g).sum::<f64>();
        let close = |got: &[f64], want: &[f64]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6 * b.abs().max(1.0));
        prop_assert!(close(&dq, &gradient(&q, |q| loss(q, &k, &v))));
        prop_assert!(close(&dk, &gradient(&k, |k| loss(&q, k, &v))));
        prop_assert!(close(&dv, &gradient(&v, |v| loss(&q, &k, v))));
    }
}

/// The inputs are bfloat16 already, so that only results are rounded: those of the forward pass once, gradients through
/// the rounded result too.
#[test]
fn tensors_kept_in_bf16() {
    let mut cases = vec![Case::plain(2, 2, 2, 70, 70, 12), Case::plain(1, 1, 3, 65, 90, 33)];
    cases.extend(
        (0..12).map(|seed| Case::any([2, 1 + seed as usize % 2, 2, 37, 41, 15 + seed as usize], seed * 0x9E37_79B9)),
    );
    for case in &cases {
        let inputs = case.inputs(5);
        for level in Level::available() {
            let (wide, short) = (case.run(level, &inputs), case.run_kept(level, &inputs, Precision::Bf16));
            assert_eq!(short[0], ValueVec::new(wide[0].clone(), Precision::Bf16).into_f32(), "{case:?}");
            for (short, wide) in short.iter().zip(&wide) {
                assert_close(short, &to_f64(wide), 0.02);
            }
        }
    }
}

/// Longer than tiles in both directions, and few heads, so that the forward pass cuts a head.
#[test]
fn long_sequences() {
    let mut case = Case::plain(1, 1, 2, 700, 700, 48);
    case.after = Some(0);
    case.scale = 0.2;
    case.check(9, 3e-5);
    case.before = Some(100);
    case.check(10, 3e-5);
    case.precision = Precision::Bf16;
    case.check(11, 3e-2);
}

#[test]
fn a_query_that_sees_nothing_gives_zeros() {
    for precision in [Precision::F32, Precision::Bf16] {
        let mut case = Case::plain(2, 1, 1, 5, 3, 4);
        (case.after, case.precision) = (Some(0), precision);
        case.lengths = Some(vec![3, 0]);
        let inputs = case.inputs(3);
        for level in Level::available() {
            let [out, dq, dk, dv] = case.run(level, &inputs);
            // Five queries over three keys: the first two stand before all keys. The second sequence has no key.
            for x in [&out, &dq] {
                assert!(x[..2 * 4].iter().all(|x| *x == 0.0), "{x:?}");
                assert!(x[2 * 4..5 * 4].iter().any(|x| *x != 0.0), "{x:?}");
                assert!(x[5 * 4..].iter().all(|x| *x == 0.0), "{x:?}");
            }
            for x in [&dk, &dv] {
                assert!(x[3 * 4..].iter().all(|x| *x == 0.0), "{x:?}");
            }
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let case = Case { scale: 1.0, after: Some(0), ..Case::plain(1, 1, 1, 3, 3, 1) };
    let inputs = [vec![300.0, 300.0, -300.0], vec![300.0, -300.0, 300.0], vec![1.0, 2.0, 3.0], vec![1.0; 3]];
    for level in Level::available() {
        assert_eq!(case.run(level, &inputs)[0], vec![1.0, 1.0, 2.0]);
    }
}

#[test]
fn nan_reaches_those_who_see_it_and_padding_hides_it() {
    for precision in [Precision::F32, Precision::Bf16] {
        let mut case = Case { precision, after: Some(0), ..Case::plain(1, 1, 1, 200, 200, 8) };
        for part in 0..3 {
            for bad in [f32::NAN, f32::INFINITY] {
                let mut inputs = case.inputs(5);
                // Queries from 150 on see key 150; those before 128 share no block with one that does.
                inputs[part][150 * 8..151 * 8].fill(bad);
                for level in Level::available() {
                    let [out, ..] = case.run(level, &inputs);
                    assert!(out[..128 * 8].iter().all(|x| x.is_finite()), "part {part}");
                    let hit = &out[150 * 8..if part == 0 { 151 } else { 200 } * 8];
                    let reached = hit.chunks(8).filter(|row| row.iter().any(|x| !x.is_finite())).count();
                    // An infinite key is as likely to give a score of -infinity, whose weight is 0.
                    assert!(reached >= if bad.is_nan() { hit.len() / 8 } else { 1 }, "part {part}: {reached}");
                }
            }
        }
        case.lengths = Some(vec![150]);
        let mut inputs = case.inputs(5);
        for part in 1..3 {
            inputs[part][150 * 8..].fill(f32::NAN);
        }
        for level in Level::available() {
            for x in case.run(level, &inputs) {
                assert!(x.iter().all(|x| x.is_finite()));
            }
        }
    }
}

#[test]
fn joined_tensors_give_the_same_bits() {
    let mut case = Case::plain(2, 2, 2, 70, 70, 12);
    case.after = Some(0);
    let [q, k, v, g] = case.inputs(8);
    let want = case.run(Level::best(), &[q.clone(), k.clone(), v.clone(), g.clone()]);
    let a = case.attention();
    let joined = Joined::of(&a);
    let mut qkv = vec![f32::NAN; joined.len()];
    for (part, (x, heads)) in joined.split_mut(&mut qkv[..]).iter().zip([(&q, 4), (&k, 2), (&v, 2)]) {
        for (i, row) in x.chunks(12).enumerate() {
            // SAFETY: one thread.
            unsafe { part.write(Level::best(), i / (heads * 70), i / 70 % heads, i % 70, row) };
        }
    }
    let [q, k, v] = joined.split(&qkv);
    let plain = [4 * 70 * 12, 70 * 12, 12];
    let (mut out, mut sums) = (vec![f32::NAN; 2 * 4 * 70 * 12], vec![f32::NAN; 2 * 4 * 70]);
    a.forward_into(q, k, v, HeadsMut::new(&mut out[..], a.query_dims(), plain), &mut sums);
    assert_eq!(out, want[0]);
    let saved = Saved { q, k, v, out: Heads { data: (&out).into(), strides: plain }, sums: &sums };
    let grad = a.backward_joined(&saved, Heads { data: (&g).into(), strides: plain });
    for ((part, want), heads) in joined.split(&grad).iter().zip(&want[1..]).zip([4, 2, 2]) {
        for (i, want) in want.chunks(12).enumerate() {
            let at = i / (heads * 70) * part.strides[0] + i / 70 % heads * part.strides[1] + i % 70 * part.strides[2];
            assert_eq!(part.data.part(at..at + 12).widened(), want);
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut case = Case::plain(2, 2, 3, 130, 130, 16);
    case.after = Some(0);
    case.dropout = Some(DropoutMask { key: 1, stream: 2, probability: 0.1 });
    for precision in [Precision::F32, Precision::Bf16] {
        case.precision = precision;
        let inputs = case.inputs(4);
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.run(Level::best(), &inputs))
        };
        let one = with(1);
        assert!(with(2) == one && with(3) == one);
    }
}

#[test]
#[should_panic(expected = "overlap")]
fn destinations_that_overlap_are_refused() {
    HeadsMut::new(&mut [0.0; 100][..], [2, 1, 3, 4], [8, 8, 4]);
}

#[test]
fn masks_skip_what_is_hidden() {
    let case = Case { after: Some(0), before: Some(31), ..Case::plain(1, 1, 1, 1000, 1000, 4) };
    let (a, mut pieces) = (case.attention(), Vec::new());
    mask::Sequence::new(&a, 0).pieces(512, 64, &mut pieces);
    let scores: usize = pieces.iter().map(|p| p.keys * (p.end - p.first)).sum();
    // Each of the 64 queries sees 32 keys; pieces are 16 wide, so at most 48 are computed.
    assert!((64 * 32..=64 * 48).contains(&scores), "{pieces:?}");
    assert!(pieces.iter().all(|p| p.key >= 480 && p.key + p.keys <= 576), "{pieces:?}");
}
