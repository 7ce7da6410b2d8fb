//! Pictures as PNG, for places that show no SVG.
//!
//! usvg resolves styles and turns text into paths with the embedded font, tiny-skia fills the paths,
//! and flate2 packs the rows; the result depends on no font or program of the machine. What usvg does
//! not know, custom properties and media queries, is resolved here first, to the light colours.

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use std::io::Write;
use std::sync::{Arc, LazyLock};
use tiny_skia::{FillRule, Mask, Paint, Pixmap, PremultipliedColorU8, Shader, Transform};
use usvg::fontdb::Database;
use usvg::{Group, Node, Options, Path, Tree};

/// Pixels of one SVG unit.
const SCALE: f32 = 2.0;

static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(include_bytes!("../font/NotoSans-Regular-subset.ttf").to_vec());
    fonts.load_font_data(include_bytes!("../font/NotoSans-Bold-subset.ttf").to_vec());
    fonts.set_sans_serif_family("Noto Sans");
    fonts.set_serif_family("Noto Sans");
    Arc::new(fonts)
});

/// An SVG of ours as PNG; `None` if it has no size or cannot be drawn.
pub(crate) fn png(svg: &str) -> Option<Vec<u8>> {
    let options = Options {
        font_family: "Noto Sans".into(),
        fontdb: FONTS.clone(),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).ok()?;
    let size = tree.size().to_int_size().scale_by(SCALE)?;
    let mut pixmap = Pixmap::new(size.width(), size.height())?;
    pixmap.fill(tiny_skia::Color::WHITE);
    draw(
        tree.root(),
        Transform::from_scale(SCALE, SCALE),
        None,
        &mut pixmap,
    );
    encode(&pixmap)
}

fn draw(group: &Group, base: Transform, mask: Option<&Mask>, pixmap: &mut Pixmap) {
    let own = group.clip_path().and_then(|clip| {
        let mut mask = Mask::new(pixmap.width(), pixmap.height())?;
        fill_mask(
            clip.root(),
            base.pre_concat(group.abs_transform())
                .pre_concat(clip.transform()),
            &mut mask,
        );
        Some(mask)
    });
    let mask = own.as_ref().or(mask);
    for node in group.children() {
        match node {
            Node::Group(inner) => draw(inner, base, mask, pixmap),
            Node::Path(path) => draw_path(path, opacity_of(group), base, mask, pixmap),
            Node::Text(text) => draw(text.flattened(), base, mask, pixmap),
            Node::Image(_) => {}
        }
    }
}

/// Our pictures have at most one group with an opacity around a path.
fn opacity_of(group: &Group) -> f32 {
    group.opacity().get()
}

fn fill_mask(group: &Group, transform: Transform, mask: &mut Mask) {
    for node in group.children() {
        if let Node::Path(path) = node {
            mask.fill_path(path.data(), FillRule::Winding, true, transform);
        }
    }
}

fn draw_path(path: &Path, opacity: f32, base: Transform, mask: Option<&Mask>, pixmap: &mut Pixmap) {
    if !path.is_visible() {
        return;
    }
    let transform = base.pre_concat(path.abs_transform());
    let fill = |pixmap: &mut Pixmap| {
        if let Some(fill) = path.fill()
            && let Some(paint) = paint(fill.paint(), fill.opacity().get() * opacity)
        {
            pixmap.fill_path(path.data(), &paint, FillRule::Winding, transform, mask);
        }
    };
    let stroke = |pixmap: &mut Pixmap| {
        if let Some(stroke) = path.stroke()
            && let Some(paint) = paint(stroke.paint(), stroke.opacity().get() * opacity)
        {
            pixmap.stroke_path(path.data(), &paint, &stroke.to_tiny_skia(), transform, mask);
        }
    };
    match path.paint_order() {
        usvg::PaintOrder::FillAndStroke => {
            fill(pixmap);
            stroke(pixmap);
        }
        usvg::PaintOrder::StrokeAndFill => {
            stroke(pixmap);
            fill(pixmap);
        }
    }
}

fn paint(paint: &usvg::Paint, opacity: f32) -> Option<Paint<'static>> {
    let usvg::Paint::Color(color) = paint else {
        return None;
    };
    let alpha = (255.0 * opacity.clamp(0.0, 1.0)).round() as u8;
    let color = tiny_skia::Color::from_rgba8(color.red, color.green, color.blue, alpha);
    Some(Paint {
        shader: Shader::SolidColor(color),
        anti_alias: true,
        ..Paint::default()
    })
}

/// Eight-bit RGB: the ground is opaque.
fn encode(pixmap: &Pixmap) -> Option<Vec<u8>> {
    let rgb = |pixel: &PremultipliedColorU8| [pixel.red(), pixel.green(), pixel.blue()];
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::new(6));
    for row in pixmap.pixels().chunks(pixmap.width() as usize) {
        // The filter `Sub`: each byte less the one of the pixel to its left.
        let mut line = vec![1u8];
        let mut left = [0u8; 3];
        for pixel in row {
            let pixel = rgb(pixel);
            line.extend(
                pixel
                    .iter()
                    .zip(left)
                    .map(|(new, old)| new.wrapping_sub(old)),
            );
            left = pixel;
        }
        packed.write_all(&line).ok()?;
    }
    let mut head = Vec::new();
    head.extend(pixmap.width().to_be_bytes());
    head.extend(pixmap.height().to_be_bytes());
    head.extend([8, 2, 0, 0, 0]);
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [
        (b"IHDR", head),
        (b"IDAT", packed.finish().ok()?),
        (b"IEND", Vec::new()),
    ] {
        let mut checked = kind.to_vec();
        checked.extend(&data);
        let mut crc = Crc::new();
        crc.update(&checked);
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(&checked);
        out.extend(crc.sum().to_be_bytes());
    }
    Some(out)
}

/// The rules for pictures with their colours written out: custom properties of the first block.
pub(crate) fn plain_style(style: &str) -> String {
    let palette = style.split('}').next().unwrap_or_default();
    let mut plain = String::new();
    let rules = style
        .lines()
        .filter(|line| line.starts_with("svg ") && !line.contains(":not("));
    for rule in rules {
        plain.push_str(rule);
        plain.push('\n');
    }
    for pair in palette.split(['{', ';']) {
        if let Some((name, value)) = pair.split_once(':')
            && name.trim().starts_with("--")
        {
            plain = plain.replace(&format!("var({})", name.trim()), value.trim());
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_clipped_lines_become_pixels() {
        let svg = r##"<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><style>svg .a { color: #ff0000; } svg .line { fill: none; stroke: currentColor; stroke-width: 4; }</style>
            <clipPath id="c"><rect x="0" y="0" width="20" height="20"/></clipPath>
            <g class="a"><polyline class="line" clip-path="url(#c)" points="0,10 40,10"/></g>
            <text x="24" y="16" font-family="system-ui, sans-serif" font-size="16">m</text></svg>"##;
        let png = png(svg).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 60);
        let options = Options {
            fontdb: FONTS.clone(),
            ..Options::default()
        };
        let tree = Tree::from_str(svg, &options).unwrap();
        let mut pixmap = Pixmap::new(40, 20).unwrap();
        draw(tree.root(), Transform::identity(), None, &mut pixmap);
        let at = |x, y| pixmap.pixel(x, y).unwrap();
        assert_eq!((at(10, 10).red(), at(10, 10).alpha()), (255, 255));
        assert_eq!(at(22, 10).alpha(), 0, "the line is cut at 20");
        let ink = (24..40).any(|x| (4..17).any(|y| at(x, y).alpha() > 128));
        assert!(ink, "the letter is there");
    }

    #[test]
    fn the_style_keeps_no_variables() {
        let plain = plain_style(crate::html::STYLE);
        assert!(plain.contains("svg .line") && plain.contains("#0067a5"));
        assert!(!plain.contains("var(") && !plain.contains("@media"));
    }
}
