//! The same figures as bars, in SVG, for `docs/performance/`.

use crate::figures::rate;

/// Bars below one another, the longest first.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// Whose, and how long.
    pub(crate) bars: Vec<(String, f64)>,
}

const LABEL: usize = 128;
const BAR: usize = 150;
const VALUE: usize = 72;
const PANEL: usize = LABEL + BAR + VALUE;
const ROW: usize = 20;
const HEAD: usize = 64;

const LIMIT_COLOUR: &str = "#9a9a9a";
const OURS_COLOUR: &str = "#1f6fb4";
const PEER_COLOUR: &str = "#b9cbdd";

/// Panels beside one another, each with a scale of its own that begins at zero.
pub(crate) fn svg(title: &str, ours: &str, limit: &str, panels: &mut [Panel]) -> String {
    let rows = panels.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
    let (width, height) = (panels.len() * PANEL + 24, HEAD + rows * ROW + 12);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n"
    );
    for (at, panel) in panels.iter_mut().enumerate() {
        panel.bars.sort_by(|left, right| right.1.total_cmp(&left.1));
        let longest = panel.bars.first().map_or(1.0, |bar| bar.1);
        let left = 12 + at * PANEL;
        let bars_at = left + LABEL;
        out += &format!("<text x=\"{bars_at}\" y=\"50\" font-weight=\"bold\">{}</text>\n", panel.title);
        for (row, (name, figure)) in panel.bars.iter().enumerate() {
            let top = HEAD + row * ROW;
            let middle = top + 12;
            let (colour, weight) = match name.as_str() {
                name if name == ours => (OURS_COLOUR, "bold"),
                name if name == limit => (LIMIT_COLOUR, "normal"),
                _ => (PEER_COLOUR, "normal"),
            };
            let length = (figure / longest * BAR as f64).max(1.0);
            let value = rate(*figure);
            out += &format!(
                "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\" font-weight=\"{weight}\">{name}</text>\
                 <rect x=\"{bars_at}\" y=\"{}\" width=\"{length:.1}\" height=\"14\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{middle}\" font-weight=\"{weight}\">{}</text>\n",
                bars_at - 6,
                top + 1,
                bars_at as f64 + length + 5.0,
                value.trim_end_matches("/s").trim_end()
            );
        }
    }
    out + "</svg>\n"
}
