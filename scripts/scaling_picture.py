"""The picture of bench_scaling.py: four log-log panels of tokens/s, as an SVG written by hand.

All panels share the scale of tokens/s, so that slopes and heights can be compared between them. The
background is painted, so that the picture reads the same on a light and on a dark page.
"""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 900, 740
# The plotting area of a panel, and the upper left corners of the four.
PANEL_WIDTH, PANEL_HEIGHT = 360, 220
CORNERS = [(76, 122), (518, 122), (76, 450), (518, 450)]
# Free space inside a panel at the left and the right, so that no point lies on the frame.
MARGIN = 24
INK, SOFT, GRID, MEASURED, PREDICTED = "#1f2328", "#57606a", "#e4e7eb", "#0a58ca", "#b35900"
STYLE = f"""
text {{ font-family: system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; font-size: 13px; fill: {INK} }}
.head {{ font-size: 17px; font-weight: 600 }}
.title {{ font-size: 15px; font-weight: 600 }}
.soft {{ fill: {SOFT} }}
.grid {{ stroke: {GRID} }}
.frame {{ stroke: {SOFT}; fill: none }}
.predicted {{ stroke: {PREDICTED}; stroke-width: 2; stroke-dasharray: 7 4; fill: none }}
.bar {{ stroke: {MEASURED}; stroke-width: 1.5 }}
.dot {{ fill: {MEASURED} }}
.anchor {{ stroke: {PREDICTED}; stroke-width: 2; fill: none }}
"""


def labels(values):
    """Labels of the ticks at `values`: in full, or where they are long in units of 1,024."""
    long = max(values) > 9999 and all(value % 1024 == 0 for value in values)
    return [f"{value // 1024}k" if long else f"{value:,}" for value in values]


def ticks_between(low, high):
    """1, 2 and 5 times powers of ten, from the last at or below `low` to the first at or above `high`."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    every = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    first = max(tick for tick in every if tick <= low)
    last = min(tick for tick in every if tick >= high)
    return [tick for tick in every if first <= tick <= last]


def log_scale(low, high, start, end):
    """The map of [low, high] to [start, end], logarithmic; one value alone lands in the middle."""
    if low == high:
        return lambda value: (start + end) / 2
    reach = math.log(high / low)
    return lambda value: start + math.log(value / low) / reach * (end - start)


def text_at(x, y, text, kind="", anchor="middle", turn=""):
    attributes = f' class="{kind}"' if kind else ""
    attributes += f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attributes}>{escape(text)}</text>'


def line(x1, y1, x2, y2, kind):
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def mark(x, y, low, high):
    """A measured point with its bar; `low` and `high` are heights on the page."""
    out = [line(x, low, x, high, "bar")]
    out += [line(x - 4, end, x + 4, end, "bar") for end in (low, high)]
    return out + [f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>']


def ring(x, y):
    return f'<circle class="anchor" cx="{x:.1f}" cy="{y:.1f}" r="8"/>'


def legend(y):
    """One row that explains the signs."""
    out = mark(86, y, y + 9, y - 9)
    out.append(text_at(102, y + 4.5, "measured: median, slowest to fastest step", anchor="start"))
    out.append(line(400, y, 444, y, "predicted"))
    out.append(text_at(454, y + 4.5, "predicted: time ∝ model FLOPs", anchor="start"))
    out.append(ring(680, y))
    out.append(text_at(696, y + 4.5, "base: anchor of the line", anchor="start"))
    return out


def panel_at(left, top, panel, ticks):
    """One panel: axes, the predicted line and above it the points."""
    right, bottom = left + PANEL_WIDTH, top + PANEL_HEIGHT
    rows = panel["rows"]
    x_at = log_scale(min(rows), max(rows), left + MARGIN, right - MARGIN)
    y_at = log_scale(ticks[0], ticks[-1], bottom, top)
    out = [text_at(left, top - 28, panel["title"], "title", "start")]
    out.append(text_at(left, top - 10, panel["note"], "soft", "start"))
    for tick in ticks:
        out.append(line(left, y_at(tick), right, y_at(tick), "grid"))
        out.append(text_at(left - 8, y_at(tick) + 4.5, f"{tick:,.10g}", anchor="end"))
    for value, label in zip(rows, labels(rows)):
        out.append(line(x_at(value), top, x_at(value), bottom, "grid"))
        out.append(text_at(x_at(value), bottom + 18, label))
    out.append(
        f'<rect class="frame" x="{left}" y="{top}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}"/>'
    )
    out.append(text_at((left + right) / 2, bottom + 38, panel["axis"], "soft"))
    out.append(text_at(left - 56, (top + bottom) / 2, "tokens/s, log scale", "soft", turn="-90"))
    path = " ".join(f"{x_at(v):.1f},{y_at(row['predicted']):.1f}" for v, row in rows.items())
    out.append(f'<polyline class="predicted" points="{path}"/>')
    for value, row in rows.items():
        heights = (y_at(row[key]) for key in ("tokens_per_s", "slowest", "fastest"))
        out += mark(x_at(value), *heights)
        if value == panel["base"]:
            out.append(ring(x_at(value), y_at(row["tokens_per_s"])))
    return out


def draw(panels, path):
    """Writes the picture of `panels` to `path`: each has title, note, axis, base and rows by value."""
    rows = [row for panel in panels for row in panel["rows"].values()]
    low = min(min(row["slowest"], row["predicted"]) for row in rows)
    high = max(max(row["fastest"], row["predicted"]) for row in rows)
    ticks = ticks_between(low, high)
    told = "; ".join(f"{panel['title'].lower()}: {panel['note']}" for panel in panels)
    body = [
        "<title>Training speed against batch, layers, sequence length and vocabulary</title>",
        f"<desc>{escape(told)}</desc>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        text_at(20, 32, "Training speed around the 11M model of 8 layers × 320", "head", "start"),
        *legend(60),
    ]
    for corner, panel in zip(CORNERS, panels):
        body += panel_at(*corner, panel, ticks)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text("\n".join([head, *body, "</svg>"]) + "\n", encoding="utf-8")
    temporary.replace(path)
