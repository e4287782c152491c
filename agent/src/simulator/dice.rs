//! Draws that a seed repeats. They choose what is simulated, never anything secret.

use std::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

    /// The draws of one device of a run.
    pub fn new(seed: u64, device: usize) -> Self {
        let mut dice = Self(seed ^ (device as u64).wrapping_mul(Self::GOLDEN_GAMMA));
        dice.draw();
        dice
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::GOLDEN_GAMMA);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound, which must not be 0. The bias is far below what a simulation could show.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % bound as u64).unwrap_or_default()
    }

    /// One of several.
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())])
    }

    /// A time between nothing and this.
    pub fn within(&mut self, span: Duration) -> Duration {
        span.mul_f64(f64::from(self.byte()) / f64::from(u8::MAX))
    }

    /// This time, a tenth more or less.
    pub fn about(&mut self, span: Duration) -> Duration {
        span.mul_f64(0.9 + f64::from(self.byte()) / f64::from(u8::MAX) * 0.2)
    }

    /// Eight bits.
    pub fn byte(&mut self) -> u8 {
        self.draw().to_le_bytes()[7]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_devices_differ() {
        let draws = |seed, device| {
            let mut dice = Dice::new(seed, device);
            (0..20).map(|_| dice.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draws(7, 1), draws(7, 1));
        assert_ne!(draws(7, 1), draws(7, 2));
        assert_ne!(draws(7, 1), draws(8, 1));
    }

    #[test]
    fn times_stay_within_their_bounds_and_every_choice_comes_up() {
        let mut dice = Dice::new(1, 1);
        let span = Duration::from_secs(10);
        let mut chosen = [false; 5];
        for _ in 0..1000 {
            assert!(dice.within(span) <= span);
            assert!((Duration::from_secs(9)..=Duration::from_secs(11)).contains(&dice.about(span)));
            chosen[dice.choose(&[0, 1, 2, 3, 4]).unwrap()] = true;
        }
        assert_eq!(chosen, [true; 5]);
        assert_eq!(dice.choose::<u8>(&[]), None);
    }
}
