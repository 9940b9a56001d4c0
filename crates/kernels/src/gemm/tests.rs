use super::*;
use crate::activation::Activation;
use crate::linear::{Part, grad_weight, grad_x};
use crate::testing::{assert_close, matrix};
use crate::values::{ValueVec, short};
use half::bf16;
use pack::round_to_bf16;
use proptest::prelude::*;

/// `a (m, k) * b (k, n)` in f64.
fn reference(
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
    m: usize,
    n: usize,
    k: usize,
) -> Vec<f64> {
    let mut c = vec![0f64; m * n];
    for i in 0..m {
        for j in 0..n {
            c[i * n + j] = (0..k).map(|p| f64::from(a(i, p)) * f64::from(b(p, j))).sum();
        }
    }
    c
}

/// A stored operand: `values` of some length in which a (rows, cols) matrix lies, perhaps transposed, with gaps.
struct Operand {
    values: ValueVec,
    rows: usize,
    cols: usize,
    stride: usize,
    offset: usize,
    transposed: bool,
}

impl Operand {
    fn new(rows: usize, cols: usize, gap: usize, offset: usize, transposed: bool, seed: u64) -> Operand {
        let (tall, wide) = if transposed { (cols, rows) } else { (rows, cols) };
        let stride = wide + gap;
        let values = ValueVec::F32(matrix(offset + tall * stride, seed));
        Operand { values, rows, cols, stride, offset, transposed }
    }

    /// In the other format.
    fn short(self) -> Operand {
        Operand { values: ValueVec::new(self.values.into_f32(), Precision::Bf16), ..self }
    }

    fn matrix(&self) -> Matrix<'_> {
        let data = self.values.as_values().from(self.offset);
        if self.transposed {
            Matrix::strided(data, self.cols, self.rows, self.stride).transposed()
        } else {
            Matrix::strided(data, self.rows, self.cols, self.stride)
        }
    }

    fn get(&self, i: usize, j: usize, precision: Precision) -> f32 {
        let (i, j) = if self.transposed { (j, i) } else { (i, j) };
        let at = self.offset + i * self.stride + j;
        let x = self.values.as_values().part(at..at + 1).widened()[0];
        if precision == Precision::Bf16 { round_to_bf16(x) } else { x }
    }
}

/// All that a product does, by one kernel, into rows with gaps that must stay as they were.
fn check(
    kernel: &'static Kernel,
    precision: Precision,
    a: &Operand,
    b: &Operand,
    gap: usize,
    options: &Options,
    threads: Threads,
) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let mut want = reference(|i, p| a.get(i, p, precision), |p, j| b.get(p, j, precision), m, n, k);
    let stride = n + gap;
    let before = matrix(m * stride, 99);
    let (bias, residual) = (matrix(n, 7), matrix(m * stride, 8));
    let epilogue = Epilogue {
        bias: options.bias.then_some(&bias[..]),
        residual: (options.residual && !options.accumulate).then(|| Matrix::strided(&residual, m, n, n + gap)),
        activation: options.activation,
    };
    for (at, want) in want.iter_mut().enumerate() {
        let (i, j) = (at / n, at % n);
        *want += epilogue.bias.map_or(0.0, |b| f64::from(b[j]));
        *want += epilogue.residual.map_or(0.0, |_| f64::from(residual[i * stride + j]));
        *want += if options.accumulate { f64::from(before[i * stride + j]) } else { 0.0 };
        *want = options.activation.map_or(*want, |activation| activated(activation, *want));
    }
    let mut c = before.clone();
    if !options.accumulate {
        // What is not to be read is made to show.
        (0..m).for_each(|i| c[i * stride..i * stride + n].fill(f32::NAN));
    }
    let packed;
    let right = if options.packed {
        packed = Packed::for_kernel(kernel, b.matrix(), precision);
        Right::Packed(&packed)
    } else {
        Right::Matrix(b.matrix())
    };
    let product = Product {
        a: a.matrix(),
        b: right,
        c: Output::F32(c.as_mut_ptr()),
        c_stride: stride,
        accumulate: options.accumulate,
        epilogue,
    };
    // SAFETY: c is owned here and has m rows of that stride; the kernel is available.
    unsafe { run(kernel, &product, threads) };
    if !options.accumulate {
        let mut rounded = vec![bf16::NAN; m * stride];
        // SAFETY: as above.
        unsafe { run(kernel, &Product { c: Output::Bf16(rounded.as_mut_ptr()), ..product }, threads) };
        for (at, rounded) in rounded.iter().enumerate() {
            let want = if at % stride < n { short(c[at]) } else { bf16::NAN };
            assert_eq!(rounded.to_bits(), want.to_bits(), "{}: element {at} in bfloat16", kernel.name);
        }
    }
    for i in 0..m {
        assert_close(&c[i * stride..i * stride + n], &want[i * n..(i + 1) * n], 4e-6 * (k as f64 + 8.0).sqrt());
        assert_eq!(
            c[i * stride + n..(i + 1) * stride],
            before[i * stride + n..(i + 1) * stride],
            "the gap after row {i}"
        );
    }
}

/// GELU by the error function is compared through its own scalar kernel, whose test holds it to the integral.
fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::GeluErf => f64::from(crate::activation::gelu_erf(&[x as f32])[0]),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::ReluSquared => x.max(0.0).powi(2),
        Activation::Swiglu | Activation::Geglu => f64::NAN,
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    accumulate: bool,
    bias: bool,
    residual: bool,
    packed: bool,
    activation: Option<Activation>,
}

fn options() -> impl Strategy<Value = Options> {
    let activation = prop::option::of(prop_oneof![
        Just(Activation::GeluTanh),
        Just(Activation::GeluErf),
        Just(Activation::Silu),
        Just(Activation::QuickGelu),
        Just(Activation::Relu),
        Just(Activation::ReluSquared)
    ]);
    (any::<(bool, bool, bool, bool)>(), activation).prop_map(|((accumulate, bias, residual, packed), activation)| {
        Options { accumulate, bias, residual, packed, activation }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn products_of_every_layout_and_size_at_every_level(
        (m, k, n) in (0usize..50, 0usize..80, 0usize..80), (gap_a, gap_b, gap_c) in (0usize..4, 0usize..4, 0usize..4),
        (ta, tb) in any::<(bool, bool)>(), options in options(), seed: u64,
    ) {
        for precision in [Precision::F32, Precision::Bf16] {
            let mut a = Operand::new(m, k, gap_a, gap_c, ta, seed);
            let mut b = Operand::new(k, n, gap_b, gap_a, tb, seed ^ 1);
            if seed & 1 == 1 { a = a.short(); }
            if seed & 2 == 2 { b = b.short(); }
            for kernel in Kernel::available(precision) {
                check(kernel, precision, &a, &b, gap_c, &options, Threads::One);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn products_of_several_blocks_and_tasks(
        (m, k, n) in (100usize..400, 700usize..1000, 100usize..400), (ta, tb) in any::<(bool, bool)>(), options in options(), seed: u64,
    ) {
        for precision in [Precision::F32, Precision::Bf16] {
            let (mut a, b) = (Operand::new(m, k, 1, 3, ta, seed), Operand::new(k, n, 2, 1, tb, seed ^ 1));
            if seed & 1 == 1 { a = a.short(); }
            for kernel in Kernel::available(precision) {
                check(kernel, precision, &a, &b, 1, &options, Threads::All);
            }
        }
    }

    #[test]
    fn products_of_several_super_blocks(deep in any::<bool>(), (ta, tb) in any::<(bool, bool)>(), options in options(), seed: u64) {
        // More steps, or more columns and rows, than one super-block holds.
        let (m, k, n) = if deep { (17, 9000, 33) } else { (9, 1100, 4200) };
        for precision in [Precision::F32, Precision::Bf16] {
            let (a, b) = (Operand::new(m, k, 1, 0, ta, seed), Operand::new(k, n, 0, 0, tb, seed ^ 1));
            let kernel = Kernel::of(Level::best(), precision);
            check(kernel, precision, &a, &b, 0, &options, Threads::All);
            let (b, a) = (Operand::new(m, k, 1, 0, ta, seed), Operand::new(k, n, 0, 0, tb, seed ^ 1));
            let turned = |x: Operand| Operand { rows: x.cols, cols: x.rows, transposed: !x.transposed, ..x };
            check(kernel, precision, &turned(a), &turned(b), 0, &options, Threads::All);
        }
    }

    #[test]
    fn linear_and_its_gradients_are_the_products(rows in 1usize..40, inp in 1usize..70, out in 1usize..70, seed: u64) {
        for precision in [Precision::F32, Precision::Bf16] {
            let (x, w, g, bias) = (matrix(rows * inp, seed), matrix(out * inp, seed ^ 1), matrix(rows * out, seed ^ 2), matrix(out, seed ^ 3));
            let round = |x: f32| if precision == Precision::Bf16 { round_to_bf16(x) } else { x };
            let (xa, wa, ga) = (|r: usize, i: usize| round(x[r * inp + i]), |o: usize, i: usize| round(w[o * inp + i]), |r: usize, o: usize| round(g[r * out + o]));
            assert_close(&linear(&x, rows, &w, out, inp, None, precision), &reference(xa, |i, o| wa(o, i), rows, out, inp), 1e-5);
            let mut biased = reference(xa, |i, o| wa(o, i), rows, out, inp);
            for (i, y) in biased.iter_mut().enumerate() { *y += f64::from(bias[i % out]); }
            assert_close(&linear(&x, rows, &w, out, inp, Some(&bias), precision), &biased, 1e-5);
            for (y, g) in biased.iter_mut().zip(&g) { *y = activated(Activation::Silu, *y + f64::from(*g)); }
            let residual = Some(Matrix::new(&g, rows, out));
            let both = Epilogue { bias: Some(&bias), residual, activation: Some(Activation::Silu) };
            assert_close(&linear_with(&x, rows, &w, out, inp, both, precision), &biased, 1e-5);
            assert_close(&grad_x((&g).into(), rows, inp, &[Part { weight: &w, bias: None, out }], precision.into()).into_f32(), &reference(ga, wa, rows, inp, out), 1e-5);
            assert_close(&grad_weight((&g).into(), (&x).into(), rows, 0, out, out, precision), &reference(|o, r| ga(r, o), xa, out, inp, rows), 1e-5);
        }
    }

    #[test]
    fn few_rows_agree_at_every_level_and_in_every_batch(rows in 1usize..16, inp in 1usize..150, out in 1usize..70, seed: u64) {
        let (x, w) = (matrix(rows * inp, seed), matrix(out * inp, seed ^ 1));
        let want = reference(|r, i| x[r * inp + i], |i, o| w[o * inp + i], rows, out, inp);
        for level in Level::available() {
            let y = few_rows(level, &x, rows, &w, out, inp, None, None);
            assert_close(&y, &want, 1e-5);
            let alone = few_rows(level, &x[..inp], 1, &w, out, inp, None, None);
            prop_assert_eq!(&y[..out], &alone[..], "a row's result must not depend on its company");
        }
    }
}

#[test]
fn a_batch_is_its_products() {
    for (m, k, n) in [(5, 33, 17), (300, 300, 200), (3, 0, 2), (0, 4, 4)] {
        let (a, b) = (matrix(4 * m * k, 1), matrix(4 * k * n, 2));
        let left: Vec<_> = (0..4).map(|i| Matrix::new(&a[i * m * k..(i + 1) * m * k], m, k)).collect();
        let right: Vec<_> = (0..4).map(|i| Matrix::new(&b[i * k * n..(i + 1) * k * n], n, k).transposed()).collect();
        for precision in [Precision::F32, Precision::Bf16] {
            let each: Vec<f32> = left.iter().zip(&right).flat_map(|(a, b)| product(*a, *b, precision)).collect();
            assert!(bits(&batched_product(&left, &right, precision)) == bits(&each), "{m} x {k} x {n}");
        }
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (rows, inp, out) = (257, 900, 331);
    let (x, w, g) = (matrix(rows * inp, 5), matrix(out * inp, 6), matrix(rows * out, 7));
    for precision in [Precision::F32, Precision::Bf16] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                [
                    linear(&x, rows, &w, out, inp, None, precision),
                    linear(&x[..3 * inp], 3, &w, out, inp, None, precision),
                    grad_x((&g).into(), rows, inp, &[Part { weight: &w, bias: None, out }], precision.into())
                        .into_f32(),
                    grad_weight((&g).into(), (&x).into(), rows, 0, out, out, precision),
                ]
                .map(|y| bits(&y))
            })
        };
        let one = with(1);
        for threads in 2..5 {
            assert!(with(threads) == one, "{threads} threads, {precision:?}");
        }
    }
}

#[test]
fn a_row_does_not_depend_on_its_company_nor_on_packing() {
    let (rows, inp, out) = (100, 1500, 97);
    let (x, w) = (matrix(rows * inp, 5), matrix(out * inp, 6));
    let weight = Matrix::new(&w, out, inp).transposed();
    for precision in [Precision::F32, Precision::Bf16] {
        let all = product(Matrix::new(&x, rows, inp), weight, precision);
        let packed = Packed::new(weight, precision);
        for (first, count) in [(0, 1), (3, 8), (90, 10), (0, 77)] {
            let some = Matrix::new(&x, rows, inp).rows(first, count);
            let want = bits(&all[first * out..(first + count) * out]);
            assert!(bits(&product(some, weight, precision)) == want, "{count} rows from {first}, {precision:?}");
            let mut c = vec![0f32; count * out];
            // SAFETY: c is owned and large enough.
            unsafe { multiply_packed(c.as_mut_ptr(), out, some, &packed, precision, false, Threads::One) };
            assert!(bits(&c) == want, "{count} rows from {first}, {precision:?}, packed");
        }
    }
}

#[test]
fn nan_and_infinities_propagate() {
    // Row 0 of a: NaN; row 1: infinity; row 2: zeros. Column 0 of b: ones; column 1: zeros; column 2: minus infinity.
    for k in [1, 2, 7, 33] {
        let mut a = vec![0f32; 3 * k];
        let mut b = vec![0f32; k * 3];
        a[k - 1] = f32::from_bits(0x7F80_0001); // a NaN whose payload rounding would cut off
        a[2 * k - 1] = f32::INFINITY;
        for p in 0..k {
            (b[p * 3], b[p * 3 + 2]) = (1.0, f32::NEG_INFINITY);
        }
        for precision in [Precision::F32, Precision::Bf16] {
            for kernel in Kernel::available(precision) {
                let mut c = [0f32; 9];
                let product = Product {
                    a: Matrix::new(&a, 3, k),
                    b: Right::Matrix(Matrix::new(&b, k, 3)),
                    c: Output::F32(c.as_mut_ptr()),
                    c_stride: 3,
                    accumulate: false,
                    epilogue: Epilogue::default(),
                };
                // SAFETY: c has 3 x 3 elements; the kernel is available.
                unsafe { run(kernel, &product, Threads::One) };
                let name = kernel.name;
                assert!(c[..3].iter().all(|x| x.is_nan()), "{name}, k {k}: {c:?}");
                assert_eq!(c[3], f32::INFINITY, "{name}, k {k}: {c:?}");
                assert!(c[4].is_nan(), "{name}, k {k}: infinity times zero: {c:?}");
                assert!(if k == 1 { c[5] == f32::NEG_INFINITY } else { c[5].is_nan() }, "{name}, k {k}: {c:?}");
                assert_eq!(c[6..8], [0.0, 0.0], "{name}, k {k}: {c:?}");
                assert!(c[8].is_nan(), "{name}, k {k}: zero times infinity: {c:?}");
            }
        }
    }
}

#[test]
fn rounding_is_to_nearest_even() {
    for (x, want) in [
        (0x3F80_8000u32, 0x3F80_0000u32), // halfway, even below
        (0x3F81_8000, 0x3F82_0000),       // halfway, even above
        (0x3F80_8001, 0x3F81_0000),
        (0x3F80_7FFF, 0x3F80_0000),
        (0x7F7F_FFFF, 0x7F80_0000), // the largest number rounds to infinity
        (0xFF80_0000, 0xFF80_0000),
    ] {
        assert_eq!(round_to_bf16(f32::from_bits(x)).to_bits(), want, "{x:#x}");
        for kernel in Kernel::available(Precision::Bf16) {
            let (a, b, mut c) = ([f32::from_bits(x)], [1f32], [0f32]);
            let (a, b) = (Matrix::new(&a[..], 1, 1), Right::Matrix(Matrix::new(&b[..], 1, 1)));
            let (output, epilogue) = (Output::F32(c.as_mut_ptr()), Epilogue::default());
            let product = Product { a, b, c: output, c_stride: 1, accumulate: false, epilogue };
            // SAFETY: c is one element; the kernel is available.
            unsafe { run(kernel, &product, Threads::One) };
            assert_eq!(c[0].to_bits(), want, "{}: {x:#x}", kernel.name);
        }
    }
}
