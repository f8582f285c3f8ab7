//! Series of figures as a table of tab-separated values, and drawn.

use std::fs;

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::abi::{Failure, Outcome};
use crate::report::Report;

const SIZE: (u32, u32) = (800, 440);
/// Told apart by those who see few colours, too, and visible on paper.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 10),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(222, 222, 222);

/// One line of a chart.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Where an axis has its marks, and how far apart.
pub(crate) enum Marks {
    /// Logarithmic, at the powers of a number.
    Powers(f64),
    /// Logarithmic, at these places.
    At(&'static [f64]),
    /// Linear, from zero on.
    FromZero,
}

pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) marks: Marks,
    pub(crate) format: fn(f64) -> String,
}

pub(crate) struct Chart<'a> {
    /// The files' name without an ending.
    pub(crate) name: &'a str,
    pub(crate) title: &'a str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

/// An axis as the library that draws wants it.
struct Coordinate {
    range: Range<f64>,
    marks: Vec<f64>,
    logarithmic: bool,
    format: fn(f64) -> String,
}

impl Coordinate {
    /// For these values. Along x the marks are the first and last; along y there is a mark below everything and one above.
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, around: bool) -> Coordinate {
        let (mut least, mut most) = values.fold((f64::INFINITY, 0.0f64), |(least, most), value| (least.min(value), most.max(value)));
        if !least.is_finite() {
            (least, most) = (1.0, 10.0);
        }
        let (marks, logarithmic) = match axis.marks {
            Marks::At(marks) => (marks.to_vec(), true),
            Marks::FromZero => {
                let raw = most / 5.0;
                let unit = 10f64.powf(raw.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].iter().map(|factor| factor * unit).find(|&step| step >= raw).unwrap_or(raw);
                let count = (most / step).ceil().max(1.0) as u32;
                ((0..=count).map(|at| f64::from(at) * step).collect(), false)
            }
            Marks::Powers(base) => {
                let power = |value: f64| value.ln() / base.ln();
                let (first, last) = if around {
                    ((power(least) + 1e-9).floor(), (power(most) - 1e-9).ceil())
                } else {
                    ((power(least) - 1e-9).ceil(), (power(most) + 1e-9).floor())
                };
                let last = if around { last.max(first + 1.0) } else { last };
                let every = (((last - first) / 9.0).ceil() as usize).max(1);
                ((first as i32..=last as i32).step_by(every).map(|at| base.powi(at)).collect(), true)
            }
        };
        let (first, last) = (marks.first().copied().unwrap_or(least), marks.last().copied().unwrap_or(most));
        let range = first.min(if logarithmic { least } else { 0.0 })..last.max(most);
        Coordinate { range, marks, logarithmic, format: axis.format }
    }

    fn place(&self, value: f64) -> f64 {
        if self.logarithmic { value.max(f64::MIN_POSITIVE).ln() } else { value }
    }
}

impl Ranged for Coordinate {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (from, to) = (self.place(self.range.start), self.place(self.range.end));
        let share = if to > from { (self.place(*value) - from) / (to - from) } else { 0.5 };
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Asked a second time for lighter lines between, of which there are none.
        if hint.weight().allow_light_points() { Vec::new() } else { self.marks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Coordinate {
    fn format_ext(&self, value: &f64) -> String {
        (self.format)(*value)
    }
}

impl Chart<'_> {
    /// Writes the figures and the picture, if they are kept.
    pub(crate) fn keep(&self, report: &Report) -> Outcome<()> {
        let Some(path) = report.file(self.name) else {
            return Ok(());
        };
        fs::write(path.with_extension("tsv"), self.figures())?;
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|error| Failure(format!("{}: {error}", self.name)))?;
        fs::write(path.with_extension("svg"), svg)?;
        Ok(())
    }

    /// A column for each line of the chart. What a line does not have is left empty.
    fn figures(&self) -> String {
        let mut places: Vec<f64> = self.series.iter().flat_map(|series| series.points.iter().map(|point| point.0)).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let names: Vec<&str> = self.series.iter().map(|series| series.name.as_str()).collect();
        let mut text = format!("{}\t{}\n", self.x.label, names.join("\t"));
        for place in places {
            let of = |series: &Series| series.points.iter().find(|point| point.0 == place).map_or(String::new(), |point| short(point.1));
            let cells: Vec<String> = self.series.iter().map(of).collect();
            text += &format!("{}\t{}\n", short(place), cells.join("\t"));
        }
        text
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        // A white ground: readers with a dark page see a card.
        root.fill(&WHITE)?;
        let font = |size: u32| ("sans-serif", size).into_font().color(&INK);
        root.draw(&Text::new(self.title, (16, 12), font(18)))?;
        self.draw_legend(&root, &font(14))?;
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Coordinate::new(&self.x, points().map(|point| point.0), false);
        let y = Coordinate::new(&self.y, points().map(|point| point.1), true);
        let marks = (x.marks.len(), y.marks.len());
        let mut chart = ChartBuilder::on(&root)
            .margin_top(72)
            .margin_right(36)
            .margin_bottom(10)
            .margin_left(10)
            .x_label_area_size(46)
            .y_label_area_size(84)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_labels(marks.0 + 1)
            .y_labels(marks.1 + 1)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .label_style(font(13))
            .axis_desc_style(font(14))
            .x_desc(self.x.label)
            .y_desc(self.y.label)
            .draw()?;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            chart.draw_series(LineSeries::new(series.points.iter().copied(), colour.stroke_width(2)))?;
            chart.draw_series(series.points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
        }
        root.present()?;
        Ok(())
    }

    /// In a row between title and plot, out of the way of what is drawn.
    fn draw_legend<DB: DrawingBackend>(
        &self,
        root: &DrawingArea<DB, plotters::coord::Shift>,
        font: &TextStyle<'_>,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let mut left = 16;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let line = [(left, 52), (left + 24, 52)];
            root.draw(&PathElement::new(line, colour.stroke_width(3)))?;
            root.draw(&Circle::new((left + 12, 52), 4, colour.filled()))?;
            root.draw(&Text::new(series.name.as_str(), (left + 30, 52), font.clone().pos(Pos::new(HPos::Left, VPos::Center))))?;
            left += 30 + 18 + (series.name.chars().count() as f64 * 7.4) as i32;
        }
        Ok(())
    }
}

/// Four digits that count.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".into();
    }
    let digits = (3 - value.abs().log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.digits$}");
    if digits > 0 { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}
