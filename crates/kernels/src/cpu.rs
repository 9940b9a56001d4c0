//! Run-time choice of instruction set, and the macro that compiles one loop for each.

use std::sync::OnceLock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Isa {
    Portable,
    Avx2,
    Avx512,
}

/// An instruction set that this machine is known to have.
///
/// Values come only from detection ([`Level::best`], [`Level::available`]), so holding one is proof that the code
/// compiled for it may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(Isa);

impl Level {
    /// The fastest level of this machine, or the one that `DANLU_CPU` (`avx512`, `avx2`, `portable`) asks for when it
    /// is lower. Decided once per process.
    pub fn best() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| {
            let wanted = match std::env::var("DANLU_CPU").as_deref() {
                Ok("portable") => Isa::Portable,
                Ok("avx2") => Isa::Avx2,
                _ => Isa::Avx512,
            };
            Level(wanted.min(detect()))
        })
    }

    /// Every level of this machine, slowest first: what the tests run through.
    pub fn available() -> Vec<Level> {
        let best = detect();
        [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| *isa <= best).map(Level).collect()
    }

    /// `"avx512"`, `"avx2"` or `"portable"`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    pub(crate) fn is_avx512(self) -> bool {
        self.0 == Isa::Avx512
    }

    /// Whether products of bfloat16 pairs are an instruction (`avx512_bf16`).
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn has_bf16_products(self) -> bool {
        self.is_avx512() && is_x86_feature_detected!("avx512bf16")
    }

    pub(crate) fn is_avx2(self) -> bool {
        self.0 == Isa::Avx2
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Isa::Avx512,
        (true, false) => Isa::Avx2,
        _ => Isa::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Portable
}

/// `multiversion! { fn name(a: A, ...) -> R = body; }` defines `name(level, a, ...)`, which runs
/// `body::<FMA>(a, ...)` compiled for `level`. `body` must be `#[inline(always)]` and generic over `const FMA: bool`
/// (whether a fused multiply-add is one instruction; without it `f32::mul_add` would be a library call).
macro_rules! multiversion {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident;)*) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(level: $crate::cpu::Level, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
                if level.is_avx512() {
                    // SAFETY: a `Level` exists only for instruction sets that were detected on this machine.
                    return unsafe { avx512($($arg),*) };
                }
                if level.is_avx2() {
                    // SAFETY: as above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            let _ = level;
            $body::<false>($($arg),*)
        }
    )*};
}
