//! How figures are distributed, in little room: for medians and percentiles over any time and any group.
//!
//! Figures are counted in bins of two significant digits, as HDR histograms do: a quantile is within
//! [`Sketch::ERROR`] of the figure that has that rank, and figures below 256 are exact. Sketches add up: those of two
//! stretches of time make that of both, bin by bin, and what was counted can be taken out again.

use std::cmp::Ordering;

use hdrhistogram::Histogram;

/// Counts of figures, by bin. Negative while it says what to take out of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// The largest figure that falls into a bin, and how many did; in order, without empty bins.
    bins: Vec<(u64, i64)>,
}

/// The bytes are not those of a sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a sketch")]
pub struct UnreadableSketch;

impl Sketch {
    /// How far a quantile may be from the figure of its rank, as a part of that figure: half a percent.
    pub const ERROR: f64 = 0.005;
    const DIGITS: u8 = 2;

    /// Counts a figure, at least zero, `times` times; takes it out where that is negative.
    pub fn add(&mut self, figure: i64, times: i64) {
        self.add_bin(Self::bin(u64::try_from(figure).unwrap_or(0)), times);
    }

    /// Counts figures that lie in the same bins as another sketch's.
    pub fn merge(&mut self, other: &Self) {
        if other.bins.len() <= 4 {
            // Few are found faster than all are copied
            other.bins.iter().for_each(|(bin, count)| self.add_bin(*bin, *count));
            return;
        }
        let mut both = Vec::with_capacity(self.bins.len() + other.bins.len());
        let (mut left, mut right) = (self.bins.as_slice(), other.bins.as_slice());
        while let ([(a, m), rest_left @ ..], [(b, n), rest_right @ ..]) = (left, right) {
            match a.cmp(b) {
                Ordering::Less => {
                    left = rest_left;
                    both.push((*a, *m));
                }
                Ordering::Greater => {
                    right = rest_right;
                    both.push((*b, *n));
                }
                Ordering::Equal => {
                    (left, right) = (rest_left, rest_right);
                    let sum = m.saturating_add(*n);
                    if sum != 0 {
                        both.push((*a, sum));
                    }
                }
            }
        }
        both.extend_from_slice(left);
        both.extend_from_slice(right);
        self.bins = both;
    }

    fn add_bin(&mut self, bin: u64, times: i64) {
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(at) => {
                let count = &mut self.bins[at].1;
                *count = count.saturating_add(times);
                if *count == 0 {
                    self.bins.remove(at);
                }
            }
            Err(at) if times != 0 => self.bins.insert(at, (bin, times)),
            Err(_) => {}
        }
    }

    /// The largest figure in the bin of this one.
    fn bin(figure: u64) -> u64 {
        thread_local! {
            static BINS: Option<Histogram<u64>> = Histogram::new(Sketch::DIGITS).ok();
        }
        BINS.with(|bins| bins.as_ref().map_or(figure, |bins| bins.highest_equivalent(figure)))
    }

    /// How many figures were counted.
    pub fn count(&self) -> i64 {
        self.bins.iter().fold(0, |sum: i64, (_, count)| sum.saturating_add(*count))
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// The figure below which the part `q` (0–1) of all lies: for 0.5 the median. `None` of nothing.
    pub fn quantile(&self, q: f64) -> Option<i64> {
        let mut histogram = Histogram::<u64>::new(Self::DIGITS).ok()?;
        for (bin, count) in &self.bins {
            // Bins that hold less than nothing are damaged, and count as empty
            histogram.record_n(*bin, u64::try_from(*count).unwrap_or(0)).ok()?;
        }
        if histogram.is_empty() {
            return None;
        }
        let bin = histogram.value_at_quantile(q);
        i64::try_from(histogram.median_equivalent(bin)).ok()
    }

    /// As it is stored: the distance from bin to bin and the count of each, as variable-length numbers.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bins.len() * 4);
        let mut last = 0;
        for (bin, count) in self.bins.iter().filter(|(_, count)| *count > 0) {
            write_number(&mut bytes, bin - last);
            write_number(&mut bytes, count.unsigned_abs());
            last = *bin;
        }
        bytes
    }

    /// Reads what [`Sketch::to_bytes`] wrote.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, UnreadableSketch> {
        let mut sketch = Self::default();
        let mut last = 0_u64;
        while !bytes.is_empty() {
            let bin = last.checked_add(read_number(&mut bytes)?).ok_or(UnreadableSketch)?;
            let count = i64::try_from(read_number(&mut bytes)?).map_err(|_| UnreadableSketch)?;
            sketch.add_bin(bin, count);
            last = bin;
        }
        Ok(sketch)
    }
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Result<u64, UnreadableSketch> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(UnreadableSketch)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(UnreadableSketch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Sketch;

    fn of(figures: &[i64]) -> Sketch {
        let mut sketch = Sketch::default();
        figures.iter().for_each(|figure| sketch.add(*figure, 1));
        sketch
    }

    #[test]
    fn small_figures_are_exact_and_nothing_has_no_median() {
        let sketch = of(&[0, 3, 3, 7, 250]);
        assert_eq!([0.0, 0.5, 0.7, 1.0].map(|q| sketch.quantile(q)), [0, 3, 7, 250].map(Some));
        assert_eq!((Sketch::default().quantile(0.5), Sketch::default().count()), (None, 0));
    }

    #[test]
    fn bytes_that_are_no_sketch_are_refused() {
        for bad in [&[0x80][..], &[1], &[0xff; 12], &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
            assert!(Sketch::from_bytes(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Sketch::from_bytes(&[]), Ok(Sketch::default()));
    }

    proptest! {
        #[test]
        fn a_quantile_is_near_the_figure_of_its_rank(
            mut figures in prop::collection::vec(prop_oneof![0..1_000_i64, 0..1_000_000_000_000_000_i64], 1..200),
            q in 0.0..1.0_f64,
        ) {
            let found = of(&figures).quantile(q).expect("figures") as f64;
            figures.sort_unstable();
            let rank = ((q * figures.len() as f64).ceil() as usize).clamp(1, figures.len());
            let exact = figures[rank - 1] as f64;
            prop_assert!((found - exact).abs() <= exact * Sketch::ERROR + 0.5, "{found} for {exact}");
        }

        #[test]
        fn sketches_add_up_and_are_taken_apart_again(
            left in prop::collection::vec(0..1_000_000_000_000_000_i64, 0..50),
            right in prop::collection::vec(0..1_000_000_i64, 0..50),
        ) {
            let mut both = of(&left);
            both.merge(&of(&right));
            prop_assert_eq!(&both, &of(&[left.clone(), right.clone()].concat()));
            let mut taken = both.clone();
            let mut minus = Sketch::default();
            right.iter().for_each(|figure| minus.add(*figure, -1));
            taken.merge(&minus);
            prop_assert_eq!(&taken, &of(&left));
            prop_assert_eq!(Sketch::from_bytes(&both.to_bytes()), Ok(both.clone()));
            right.iter().for_each(|figure| both.add(*figure, -1));
            prop_assert_eq!(both, of(&left));
        }
    }
}
