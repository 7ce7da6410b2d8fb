//! A panel: one small SVG chart with axes, series, error bars and direct labels.
//!
//! Why not `plotters`, which the house would prefer: its SVG backend writes colours as hex
//! attributes (no classes, so no dark mode), rounds every coordinate to whole pixels (curves turn
//! into stairs at these sizes), and has no place for `<title>` or data attributes (no hover), nor
//! for labels that avoid each other. What is left once those are done by hand is two linear scales.
//!
//! Colours are classes (`c0` … categorical, `r0` … ramp, `ink`), given by `report.css`, whose
//! palette holds on light and dark ground and for the common kinds of colour blindness.

mod dots;
mod labels;
mod scale;

use crate::format::escape;
pub(crate) use dots::{DotRow, Dots};
pub(crate) use labels::shorten;
use scale::{Frame, extent, nice_ticks};
use std::fmt::Write;

/// Width of a panel in SVG units.
pub(crate) const WIDTH: f64 = 480.0;
/// Height of a panel in SVG units.
pub(crate) const HEIGHT: f64 = 340.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 48.0;
const LEFT: f64 = 52.0;
/// Mean width of a character at the label's font size of 12.
const CHAR: f64 = 7.0;
const LINE: f64 = 15.0;
/// Ratio of the ends of a logarithmic x axis.
pub(crate) const LOG_REACH: f64 = 200.0;

/// How values are laid along the x axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum XScale {
    /// Equal differences are equal lengths, from 0.
    Linear,
    /// Equal differences are equal lengths, around the points.
    Near,
    /// Equal ratios are equal lengths, over the last two hundredfold of x.
    Log,
    /// Equal ratios are equal lengths; ticks stand at the points themselves.
    LogAtPoints,
}

/// One measured point.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    pub x: f64,
    pub y: f64,
    /// Half length of the error bar.
    pub error: Option<f64>,
    /// Text shown on hover.
    pub tip: String,
    /// Name written beside the point.
    pub label: Option<String>,
    /// Shift to the right in SVG units, so that points of one x do not cover each other.
    pub shift: f64,
    /// Drawn as a ring instead of a disc.
    pub hollow: bool,
    /// The run it belongs to, for highlighting.
    pub run: String,
}

/// Points of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Colour class.
    pub class: String,
    pub points: Vec<Point>,
    /// Connect the points.
    pub line: bool,
    pub dashed: bool,
    /// Draw a mark at every point.
    pub marks: bool,
    /// Name written at the right end of the line.
    pub end_label: Option<String>,
    /// Name of the line for those who point at it, where it is not what its points belong to.
    pub name: Option<String>,
}

impl Series {
    /// The run all points belong to; empty if there are several.
    fn owner(&self) -> &str {
        let run = self.points.first().map_or("", |point| &point.run);
        let same = self.points.iter().all(|point| point.run == run);
        if same { run } else { "" }
    }
}

/// One chart.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub x_scale: XScale,
    pub series: Vec<Series>,
    /// A horizontal reference line and its name.
    pub reference: Option<(f64, String)>,
    /// Upper end of the y axis, for curves whose beginning would flatten the rest.
    pub y_max: Option<f64>,
    /// How an x tick is written.
    pub x_format: fn(f64) -> String,
    /// Whether the page's script may zoom into it.
    pub zoom: bool,
}

/// Something to draw, [`WIDTH`] wide.
pub(crate) trait Picture {
    /// Height in SVG units.
    fn height(&self) -> f64;
    /// What it shows, for those who cannot see it.
    fn name(&self) -> String;
    /// The drawing, its top left corner at the origin; `id` makes its clip path unique.
    fn group(&self, id: &str) -> String;
    /// Further attributes of the SVG element.
    fn attributes(&self) -> String {
        String::new()
    }

    /// The picture as an SVG element for a page whose styles are already there.
    fn inline_svg(&self, id: &str) -> String {
        format!(
            "<svg class=\"panel\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\"{}>{}</svg>",
            self.height(),
            escape(&self.name()),
            self.attributes(),
            self.group(id)
        )
    }
}

impl Picture for Panel {
    fn height(&self) -> f64 {
        HEIGHT
    }

    fn name(&self) -> String {
        format!("{}, {}", self.title, self.y_label)
    }

    fn group(&self, id: &str) -> String {
        self.to_group(id)
    }

    /// The frame, from which the script gets from SVG units back to data.
    fn attributes(&self) -> String {
        if !self.zoom {
            return String::new();
        }
        let frame = self.frame();
        format!(
            " data-zoom=\"{LEFT} {} {TOP} {} {} {} {} {} {}\"",
            frame.right,
            HEIGHT - BOTTOM,
            frame.x.0,
            frame.x.1,
            frame.y.0,
            frame.y.1,
            u8::from(frame.log)
        )
    }
}

impl Panel {
    fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.iter().flat_map(|series| &series.points)
    }

    fn to_group(&self, id: &str) -> String {
        let mut out = String::new();
        let frame = self.frame();
        let _ = write!(
            out,
            "<text class=\"title\" x=\"0\" y=\"16\">{}</text><text class=\"unit\" x=\"0\" y=\"34\">{}</text>",
            escape(&self.title),
            escape(&self.y_label)
        );
        out.push_str("<g class=\"axes\">");
        self.axes(&frame, &mut out);
        out.push_str("</g>");
        let _ = write!(
            out,
            "<clipPath id=\"{id}\"><rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/></clipPath>",
            TOP - 6.0,
            frame.right - LEFT + 6.0,
            HEIGHT - BOTTOM - TOP + 6.0
        );
        for series in &self.series {
            self.draw(series, &frame, id, &mut out);
        }
        let taken = self.end_labels(&frame, &mut out);
        self.point_labels(&frame, taken, &mut out);
        out
    }

    fn frame(&self) -> Frame {
        let (x0, x1) = extent(self.points().map(|point| point.x)).unwrap_or((0.0, 1.0));
        let log = !matches!(self.x_scale, XScale::Linear | XScale::Near);
        let x = match (log, x1 > x0) {
            (false, true) if self.x_scale == XScale::Near => {
                let pad = 0.08 * (x1 - x0);
                (x0 - pad, x1 + pad)
            }
            (false, false) if self.x_scale == XScale::Near => (0.9 * x0, 1.1 * x0),
            (true, true) if self.x_scale == XScale::Log => (x0.max(x1 / LOG_REACH), x1),
            (true, true) => {
                let pad = (x1 / x0).powf(0.07);
                (x0 / pad, x1 * pad)
            }
            (true, false) => (x0 / 2.0, x0 * 2.0),
            (false, true) => (0.0f64.min(x0), x1),
            (false, false) => (0.0, x1.max(1.0)),
        };
        let ends = self.points().flat_map(|point| {
            let error = point.error.unwrap_or(0.0);
            [point.y - error, point.y + error]
        });
        let shown = ends.filter(|y| self.y_max.is_none_or(|most| *y <= most));
        let (mut y0, mut y1) = extent(shown).unwrap_or((0.0, 1.0));
        if let Some((level, _)) = &self.reference
            && self.shows_reference(*level, (y0, y1))
        {
            (y0, y1) = (y0.min(*level), y1.max(*level));
        }
        let pad = if y1 > y0 { 0.08 * (y1 - y0) } else { 0.5 };
        let labels = self.series.iter().filter_map(|s| s.end_label.as_deref());
        let longest = labels.map(|label| label.chars().count().min(22)).max();
        let margin = longest.map_or(16.0, |chars| 16.0 + CHAR * chars as f64);
        Frame {
            right: WIDTH - margin,
            x,
            y: (y0 - pad, y1 + pad),
            log,
        }
    }

    /// A reference far away from the data would flatten the picture.
    fn shows_reference(&self, level: f64, (y0, y1): (f64, f64)) -> bool {
        let reach = 1.0 * (y1 - y0);
        level >= y0 - reach && level <= y1 + reach
    }

    fn axes(&self, frame: &Frame, out: &mut String) {
        let floor = HEIGHT - BOTTOM;
        for tick in nice_ticks(frame.y.0, frame.y.1, 5) {
            let y = frame.py(tick.value);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                frame.right,
                LEFT - 8.0,
                y + 4.0,
                tick.text
            );
        }
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{floor}\" y2=\"{floor}\"/>",
            frame.right
        );
        let mut free_from = f64::NEG_INFINITY;
        for value in self.x_ticks(frame) {
            let (x, text) = (frame.px(value), (self.x_format)(value));
            let half = CHAR * text.chars().count() as f64 / 2.0;
            let _ = write!(
                out,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{floor}\" y2=\"{:.1}\"/>",
                floor + 4.0
            );
            if x - half < free_from {
                continue;
            }
            free_from = x + half + 6.0;
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                floor + 18.0
            );
        }
        let _ = write!(
            out,
            "<text class=\"unit\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            (LEFT + frame.right) / 2.0,
            floor + 38.0,
            escape(&self.x_label)
        );
        if let Some((level, name)) = &self.reference
            && *level > frame.y.0
            && *level < frame.y.1
        {
            let y = frame.py(*level);
            let _ = write!(
                out,
                "<line class=\"reference\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"note\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                frame.right,
                LEFT + 4.0,
                y - 5.0,
                escape(name)
            );
        }
    }

    fn x_ticks(&self, frame: &Frame) -> Vec<f64> {
        if matches!(self.x_scale, XScale::Linear | XScale::Near) {
            let ticks = nice_ticks(frame.x.0, frame.x.1, 4);
            return ticks.into_iter().map(|tick| tick.value).collect();
        }
        if self.x_scale == XScale::Log {
            let first = frame.x.0.log10().floor() as i32;
            let steps = (0..8).flat_map(|k| [1.0, 2.0, 5.0].map(|f| f * 10f64.powi(first + k)));
            return steps
                .filter(|x| *x >= frame.x.0 && *x <= frame.x.1)
                .collect();
        }
        let mut values: Vec<f64> = self.points().map(|point| point.x).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    }

    fn draw(&self, series: &Series, frame: &Frame, id: &str, out: &mut String) {
        let owner = series.owner();
        let _ = write!(
            out,
            "<g class=\"series {}\" data-run=\"{}\">",
            series.class,
            escape(owner)
        );
        let name = series.name.as_deref().unwrap_or(owner);
        if series.line && series.points.len() > 1 {
            let path: Vec<String> = series
                .points
                .iter()
                .map(|point| format!("{:.2},{:.2}", frame.px(point.x), frame.py(point.y)))
                .collect();
            let dash = if series.dashed { " dashed" } else { "" };
            let _ = write!(
                out,
                "<polyline class=\"line{dash}\" clip-path=\"url(#{id})\" data-name=\"{}\" points=\"{}\">{}</polyline>",
                escape(name),
                path.join(" "),
                match name {
                    "" => String::new(),
                    name => format!("<title>{}</title>", escape(name)),
                }
            );
        }
        for point in series.points.iter().filter(|_| series.marks) {
            if self.y_max.is_some_and(|most| point.y > most) {
                continue;
            }
            let (x, y) = frame.at(point);
            let _ = write!(
                out,
                "<g class=\"mark\" data-run=\"{}\"><title>{}</title>",
                escape(&point.run),
                escape(&point.tip)
            );
            if let Some(error) = point.error.filter(|error| *error > 0.0) {
                let _ = write!(
                    out,
                    "<line class=\"error\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                    frame.py(point.y - error),
                    frame.py(point.y + error)
                );
            }
            let hollow = if point.hollow { " hollow" } else { "" };
            let _ = write!(
                out,
                "<circle class=\"dot{hollow}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/><circle class=\"target\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"11\"/></g>"
            );
        }
        out.push_str("</g>");
    }
}

/// Pictures side by side, up to three in a row, as a file of their own with `style` inside.
pub(crate) fn standalone_svg(pictures: &[&dyn Picture], title: &str, style: &str) -> String {
    let gap = 28.0;
    let columns = pictures.len().clamp(1, 3);
    let tallest = |row: &[&dyn Picture]| row.iter().map(|p| p.height()).fold(0.0, f64::max);
    let rows: Vec<&[&dyn Picture]> = pictures.chunks(columns).collect();
    let width = columns as f64 * (WIDTH + gap) + gap;
    let height: f64 = 20.0 + rows.iter().map(|row| tallest(row) + 20.0).sum::<f64>();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\"><style>{style}</style><rect class=\"ground\" width=\"100%\" height=\"100%\"/>",
        escape(title)
    );
    let (mut y, mut index) = (20.0, 0);
    for row in rows {
        let mut x = gap;
        for picture in row {
            let group = picture.group(&format!("clip{index}"));
            let _ = write!(out, "<g transform=\"translate({x} {y})\">{group}</g>");
            x += WIDTH + gap;
            index += 1;
        }
        y += tallest(row) + 20.0;
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_without_points_still_draws() {
        let panel = Panel {
            title: "a < b".into(),
            x_label: String::new(),
            y_label: String::new(),
            x_scale: XScale::Linear,
            series: vec![Series::default()],
            reference: None,
            y_max: None,
            x_format: |value| value.to_string(),
            zoom: true,
        };
        let svg = panel.inline_svg("c");
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN"));
    }
}
