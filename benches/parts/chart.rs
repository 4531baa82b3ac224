//! A bar chart as SVG, with groups of bars and their values.

use std::fmt::Write as _;
use std::path::Path;

const WIDTH: usize = 720;
const HEIGHT: usize = 360;
const LEFT: usize = 20;
const BASE: usize = 300;
const TOP: usize = 70;

/// The bars of one colour.
pub struct Series {
    pub name: &'static str,
    pub colour: &'static str,
    /// One value for each group. `None` if it was not measured.
    pub values: Vec<Option<f64>>,
}

/// `notes` are written below the names of the groups.
pub fn write(path: &Path, title: &str, groups: &[String], notes: &[String], series: &[Series]) {
    let most = series.iter().flat_map(|one| one.values.iter().flatten()).fold(1.0_f64, |a, b| a.max(*b));
    let group_width = (WIDTH - 2 * LEFT) / groups.len().max(1);
    let bar_width = group_width * 4 / 5 / series.len().max(1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\" fill=\"#222222\">{title}</text>\n"
    );
    for (place, one) in series.iter().enumerate() {
        let x = LEFT + place * 230;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"36\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"46\" fill=\"#444444\">{}</text>",
            one.colour,
            x + 17,
            one.name
        );
    }
    for (number, group) in groups.iter().enumerate() {
        let left = LEFT + number * group_width + group_width / 10;
        for (place, one) in series.iter().enumerate() {
            let Some(value) = one.values[number] else { continue };
            let height = (value / most * (BASE - TOP) as f64).max(1.0);
            let (x, y) = (left + place * bar_width, BASE as f64 - height);
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y:.1}\" width=\"{}\" height=\"{height:.1}\" fill=\"{}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\" fill=\"#222222\">{value:.0}</text>",
                bar_width - 4,
                one.colour,
                x + bar_width / 2 - 2,
                y - 4.0
            );
        }
        let middle = left + group_width * 2 / 5;
        let _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#222222\">{group}</text>\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666666\">{}</text>",
            BASE + 18,
            BASE + 36,
            notes.get(number).map_or("", String::as_str)
        );
    }
    svg.push_str("</svg>\n");
    std::fs::write(path, svg).unwrap();
}
