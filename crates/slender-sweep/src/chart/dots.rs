//! A dot plot: one row a variant, its value with an interval, and a line for guessing.

use super::scale::nice_ticks;
use super::{CHAR, Picture, WIDTH};
use crate::format::escape;
use std::fmt::Write;

const TOP: f64 = 44.0;
const ROW: f64 = 22.0;
const FLOOR: f64 = 26.0;

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct DotRow {
    /// Name at the left.
    pub label: String,
    /// What it belongs to, for highlighting.
    pub key: String,
    pub value: f64,
    /// Half the length of the interval.
    pub error: Option<f64>,
    /// A second value for comparison: the paper's.
    pub other: Option<f64>,
    pub hollow: bool,
    /// Text shown on hover.
    pub tip: String,
}

/// One dot plot.
#[derive(Clone, Debug)]
pub(crate) struct Dots {
    pub title: String,
    pub unit: String,
    pub rows: Vec<DotRow>,
    /// A vertical reference line and its name.
    pub reference: Option<(f64, String)>,
}

impl Dots {
    fn left(&self) -> f64 {
        let longest = self.rows.iter().map(|row| row.label.chars().count()).max();
        // The page writes small pictures larger.
        (1.2 * CHAR * longest.unwrap_or(0) as f64).clamp(40.0, 200.0) + 14.0
    }
}

impl Picture for Dots {
    fn height(&self) -> f64 {
        TOP + ROW * self.rows.len() as f64 + FLOOR
    }

    fn name(&self) -> String {
        format!("{}, {}", self.title, self.unit)
    }

    fn group(&self, _id: &str) -> String {
        let mut out = String::new();
        let (left, right) = (self.left(), WIDTH - 16.0);
        let ends = self.rows.iter().flat_map(|row| {
            let error = row.error.unwrap_or(0.0);
            [Some(row.value - error), Some(row.value + error), row.other]
        });
        let ends = ends.flatten().chain(self.reference.as_ref().map(|r| r.0));
        let (low, high) = super::scale::extent(ends).unwrap_or((0.0, 1.0));
        let pad = if high > low { 0.05 * (high - low) } else { 1.0 };
        let (low, high) = (low - pad, high + pad);
        let px = |x: f64| left + (x - low) / (high - low) * (right - left);
        let bottom = TOP + ROW * self.rows.len() as f64;
        let _ = write!(
            out,
            "<text class=\"title\" x=\"0\" y=\"16\">{}</text><text class=\"unit\" x=\"0\" y=\"33\">{}</text>",
            escape(&self.title),
            escape(&self.unit)
        );
        for tick in nice_ticks(low, high, 5) {
            let x = px(tick.value);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                tick.text
            );
        }
        if let Some((level, name)) = &self.reference {
            let x = px(*level);
            let _ = write!(
                out,
                "<line class=\"reference\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"><title>{}</title></line>",
                escape(name)
            );
        }
        for (index, row) in self.rows.iter().enumerate() {
            let y = TOP + ROW * (index as f64 + 0.5);
            let x = px(row.value);
            let label = super::labels::shorten(&row.label, 24);
            let _ = write!(
                out,
                "<g class=\"series c0\" data-run=\"{0}\"><text class=\"row\" x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text><g class=\"mark\" data-run=\"{0}\"><title>{4}</title>",
                escape(&row.key),
                left - 12.0,
                y + 4.0,
                escape(&label),
                escape(&row.tip)
            );
            if let Some(error) = row.error.filter(|error| *error > 0.0) {
                let _ = write!(
                    out,
                    "<line class=\"error\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                    px(row.value - error),
                    px(row.value + error)
                );
            }
            if let Some(other) = row.other {
                let x = px(other);
                let _ = write!(
                    out,
                    "<path class=\"cross\" d=\"M{:.1},{:.1}l8,8m0,-8l-8,8\"/>",
                    x - 4.0,
                    y - 4.0
                );
            }
            let hollow = if row.hollow { " hollow" } else { "" };
            let _ = write!(
                out,
                "<circle class=\"dot{hollow}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/><circle class=\"target\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"10\"/></g></g>"
            );
        }
        out
    }
}
