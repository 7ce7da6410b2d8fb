//! From data to SVG coordinates, and the round numbers written along the axes.

use super::{BOTTOM, HEIGHT, LEFT, Point, TOP};

/// Data to SVG coordinates.
pub(super) struct Frame {
    pub right: f64,
    pub x: (f64, f64),
    pub y: (f64, f64),
    pub log: bool,
}

impl Frame {
    pub fn px(&self, x: f64) -> f64 {
        let f = |value: f64| if self.log { value.ln() } else { value };
        let share = (f(x) - f(self.x.0)) / (f(self.x.1) - f(self.x.0));
        LEFT + share * (self.right - LEFT)
    }

    pub fn at(&self, point: &Point) -> (f64, f64) {
        (self.px(point.x) + point.shift, self.py(point.y))
    }

    pub fn py(&self, y: f64) -> f64 {
        let share = (y - self.y.0) / (self.y.1 - self.y.0);
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    }
}

pub(super) struct Tick {
    pub value: f64,
    pub text: String,
}

/// About `wanted` round numbers between `low` and `high`, written with the digits they need.
pub(super) fn nice_ticks(low: f64, high: f64, wanted: usize) -> Vec<Tick> {
    let raw = (high - low) / wanted as f64;
    if !(raw.is_finite() && raw > 0.0) {
        return Vec::new();
    }
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= raw * 0.999)
        .unwrap_or(10.0 * power);
    let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last)
        .map(|index| {
            let value = index as f64 * step;
            Tick {
                value,
                text: format!("{value:.digits$}"),
            }
        })
        .collect()
}

pub(super) fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .filter(|value| value.is_finite())
        .fold(None, |range, value| match range {
            None => Some((value, value)),
            Some((low, high)) => Some((value.min(low), value.max(high))),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = nice_ticks(42.1, 45.3, 5);
        let texts: Vec<_> = ticks.iter().map(|tick| tick.text.as_str()).collect();
        assert_eq!(texts, ["43", "44", "45"]);
        assert!(nice_ticks(1.0, 1.0, 5).is_empty());
    }
}
