//! A chart of what was measured.

use std::fmt::Write;

use super::sample::Row;

const LEFT: f64 = 230.0;
const WIDTH: f64 = 400.0;
const ROW: f64 = 46.0;

/// Readable in light and in dark.
const STYLE: &str = "<style>
  text { fill: #1f2328 }
  .ground { fill: #ffffff }
  .native { fill: #9aa5b1 }
  .locker { fill: #2f6fde }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ground { fill: #161b22 }
    .native { fill: #768390 }
    .locker { fill: #6ea8fe }
  }
</style>";

/// Two bars for each row, the longer one of them as long as there is room.
pub(super) fn svg(rows: &[Row]) -> String {
    let height = 40.0 + ROW * rows.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>Medians that locker bench measured</title>\n{STYLE}\n\
         <rect class=\"ground\" width=\"760\" height=\"{height}\" rx=\"8\"/>\n\
         <rect class=\"native\" x=\"{LEFT}\" y=\"8\" width=\"12\" height=\"12\"/><text x=\"248\" y=\"19\">native</text>\n\
         <rect class=\"locker\" x=\"310\" y=\"8\" width=\"12\" height=\"12\"/><text x=\"328\" y=\"19\">locker</text>\n"
    );
    for (number, row) in rows.iter().enumerate() {
        let top = 36.0 + ROW * number as f64;
        let scale = WIDTH / row.native.max(row.ours);
        // Writing to a text cannot fail. What a row is called has no marks of XML in it.
        _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", LEFT - 10.0, top + 21.0, row.what);
        for (value, y, class) in [(row.native, top, "native"), (row.ours, top + 17.0, "locker")] {
            let (length, end) = (value * scale, LEFT + value * scale + 6.0);
            _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.0}\" height=\"14\"/>\
                 <text x=\"{end:.0}\" y=\"{}\">{value:.0} {}</text>",
                y + 12.0,
                row.unit
            );
        }
    }
    svg + "</svg>\n"
}
