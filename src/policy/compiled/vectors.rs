//! Which vector registers rules are compared in.

/// Vectors of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vectors {
    /// Whatever the compiler makes of plain code.
    Plain,
    /// 256 bits: eight rules.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512 bits: sixteen rules.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Vectors {
    /// From the narrowest to the widest.
    pub const ALL: &[Vectors] = &[
        Vectors::Plain,
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx2,
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx512,
    ];

    /// The widest that this processor has.
    pub fn of_this_processor() -> Vectors {
        Vectors::ALL.iter().copied().rfind(|vectors| vectors.are_here()).unwrap_or(Vectors::Plain)
    }

    /// True if this processor has them.
    pub fn are_here(self) -> bool {
        match self {
            Vectors::Plain => true,
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1"),
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("bmi1"),
        }
    }

    /// Up to so many rules, comparing them all is faster than a search (`benches/rules.rs`).
    pub fn most_scanned(self) -> usize {
        match self {
            Vectors::Plain => 16,
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => 48,
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => 112,
        }
    }
}
