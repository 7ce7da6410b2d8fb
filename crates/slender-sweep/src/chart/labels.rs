//! Names written into the picture, placed so that none covers another: a legend would make the
//! reader match colours, and there are more runs than colours to match.

use super::scale::Frame;
use super::{BOTTOM, CHAR, HEIGHT, LEFT, LINE, Panel, Series, TOP, WIDTH};
use crate::format::escape;
use std::fmt::Write;

/// Width of a character of a point's name in the larger print of a phone, to keep enough room there too.
const NAME_CHAR: f64 = 7.8;

/// An area that is taken.
#[derive(Clone, Copy)]
pub(super) struct Box2 {
    x0: f64,
    y0: f64,
    x1: f64,
    y1: f64,
}

impl Box2 {
    fn meets(&self, other: &Box2) -> bool {
        self.x0 < other.x1 && other.x0 < self.x1 && self.y0 < other.y1 && other.y0 < self.y1
    }
}

impl Panel {
    /// Names at the right ends of lines, pushed apart so that none covers another.
    pub(super) fn end_labels(&self, frame: &Frame, out: &mut String) -> Vec<Box2> {
        let mut taken = Vec::new();
        let mut labels: Vec<(f64, f64, &Series, &str)> = Vec::new();
        for series in &self.series {
            if let (Some(label), Some(last)) = (series.end_label.as_deref(), series.points.last()) {
                let y = frame.py(last.y).clamp(TOP, HEIGHT - BOTTOM);
                labels.push((y, y, series, label));
            }
        }
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let step = LINE.min((HEIGHT - BOTTOM) / labels.len().max(1) as f64);
        let long_leaders = labels.len() <= 8;
        let mut floor = f64::NEG_INFINITY;
        for label in &mut labels {
            label.1 = label.1.max(floor);
            floor = label.1 + step;
        }
        let mut ceiling = HEIGHT - BOTTOM + 2.0;
        for label in labels.iter_mut().rev() {
            label.1 = label.1.min(ceiling);
            ceiling = label.1 - step;
        }
        for (y, shifted, series, label) in labels {
            let x = series.points.last().map_or(frame.right, |p| frame.px(p.x));
            let start = frame.right + 12.0;
            // Many long leaders would cross the curves that go on; colour and hover join those.
            let leader = if long_leaders || x > frame.right - 30.0 {
                format!(
                    "<polyline class=\"leader\" points=\"{:.1},{y:.1} {:.1},{shifted:.1}\"/>",
                    x + 5.0,
                    start - 2.0
                )
            } else {
                String::new()
            };
            let text = shorten(label, 22);
            let _ = write!(
                out,
                "<g class=\"series {}\" data-run=\"{}\">{leader}<text class=\"label\" x=\"{start:.1}\" y=\"{:.1}\">{}</text></g>",
                series.class,
                escape(series.owner()),
                shifted + 4.0,
                escape(&text)
            );
            taken.push(Box2 {
                x0: start,
                x1: start + CHAR * text.chars().count() as f64,
                y0: shifted - 7.0,
                y1: shifted + 7.0,
            });
        }
        taken
    }

    /// Names beside points, each at the first of several places where it covers nothing.
    pub(super) fn point_labels(&self, frame: &Frame, mut taken: Vec<Box2>, out: &mut String) {
        for point in self
            .points()
            .filter(|_| self.series.iter().any(|s| s.marks))
        {
            let (x, y) = frame.at(point);
            let reach = point.error.unwrap_or(0.0);
            taken.push(Box2 {
                x0: x - 5.0,
                x1: x + 5.0,
                y0: y - 6.0,
                y1: y + 6.0,
            });
            taken.push(Box2 {
                x0: x - 2.0,
                x1: x + 2.0,
                y0: frame.py(point.y + reach),
                y1: frame.py(point.y - reach),
            });
        }
        for series in self.series.iter().filter(|series| series.line) {
            for pair in series.points.windows(2) {
                let ((x0, y0), (x1, y1)) = (frame.at(&pair[0]), frame.at(&pair[1]));
                let steps = ((x1 - x0).hypot(y1 - y0) / 6.0).ceil() as usize;
                for step in 0..=steps {
                    let share = step as f64 / steps.max(1) as f64;
                    let (x, y) = (x0 + share * (x1 - x0), y0 + share * (y1 - y0));
                    taken.push(Box2 {
                        x0: x - 1.0,
                        x1: x + 1.0,
                        y0: y - 1.0,
                        y1: y + 1.0,
                    });
                }
            }
        }
        for (series, point) in self
            .series
            .iter()
            .flat_map(|series| series.points.iter().map(move |point| (series, point)))
        {
            let Some(label) = &point.label else { continue };
            let label = shorten(label, 34);
            let width = NAME_CHAR * label.chars().count() as f64;
            let (x, y) = frame.at(point);
            let above = frame.py(point.y + point.error.unwrap_or(0.0)) - 8.0;
            let below = frame.py(point.y - point.error.unwrap_or(0.0)) + 17.0;
            let places = [
                (x + 9.0, y + 4.0, "start"),
                (x - 9.0, y + 4.0, "end"),
                (x + 6.0, y - 9.0, "start"),
                (x + 6.0, y + 18.0, "start"),
                (x - 6.0, y - 9.0, "end"),
                (x - 6.0, y + 18.0, "end"),
                (x, above, "middle"),
                (x, below, "middle"),
            ];
            // Anchored at the point, so that print of any size grows away from it.
            let area = |(x, base, anchor): (f64, f64, &str)| {
                let left = match anchor {
                    "start" => x,
                    "end" => x - width,
                    _ => x - width / 2.0,
                };
                Box2 {
                    x0: left,
                    x1: left + width,
                    y0: base - 11.0,
                    y1: base + 3.0,
                }
            };
            let fits = |place: &(f64, f64, &str)| {
                let area = area(*place);
                let inside = area.x0 > LEFT
                    && area.x1 < WIDTH
                    && area.y0 > TOP - 8.0
                    && area.y1 < HEIGHT - BOTTOM;
                inside && !taken.iter().any(|other| other.meets(&area))
            };
            // A label with no free place is left out; the point's hover text still names it.
            let Some(place) = places.into_iter().find(fits) else {
                continue;
            };
            taken.push(area(place));
            let _ = write!(
                out,
                "<g class=\"series {}\" data-run=\"{}\"><text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{}\">{}</text></g>",
                series.class,
                escape(&point.run),
                place.0,
                place.1,
                place.2,
                escape(&label)
            );
        }
    }
}

/// At most `most` characters of `text`.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let head: String = text.chars().take(most - 1).collect();
    head + "…"
}
