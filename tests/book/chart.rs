//! The chart of ratios is drawn from the table beside it.

use super::root;

/// Pixels for a ratio of 1, and where 0 is.
const UNIT: f64 = 150.0;
const ZERO: f64 = 16.0;

const HEAD: &str = r#"<title>The time of Locker as a ratio of the time without it</title>
<desc>The ratios of the first table on the page: for each operation a bar for each of two machines, and the target.</desc>
<style>
  text { font: 13px sans-serif; fill: #1f2328 }
  .ground { fill: #ffffff }
  .epyc { fill: #2f6fde }
  .xeon { fill: #9aa5b1 }
  .target { stroke: #c4432b; stroke-width: 3 }
  .native { stroke: #57606a; stroke-dasharray: 4 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ground { fill: #161b22 }
    .epyc { fill: #6ea8fe }
    .xeon { fill: #768390 }
    .target { stroke: #ff9580 }
    .native { stroke: #aab4bf }
  }
</style>
"#;

const LEGEND: &str = r#"<rect class="epyc" x="16" y="14" width="12" height="12"/><text x="34" y="25">AMD EPYC</text>
<rect class="xeon" x="130" y="14" width="12" height="12"/><text x="148" y="25">Intel Xeon</text>
<path class="target" d="M254 12v16"/><text x="264" y="25">target</text>
<path class="native" d="M338 12v16"/><text x="348" y="25">without Locker: 1</text>
"#;

/// A row of the table whose ratio is one of times.
struct Row {
    operation: String,
    /// The ratio on each machine, as it stands in the table.
    ratios: [String; 2],
    target: Option<f64>,
}

impl Row {
    fn of(line: &str) -> Option<Self> {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [operation, native, _, ratio, other, target, ..] = cells[..] else { return None };
        let is_time = native.ends_with(" µs") || native.ends_with(" ms");
        let is_ratio = is_time && highest(ratio).is_some();
        let ratios = [ratio.to_owned(), other.to_owned()];
        is_ratio.then(|| Self { operation: operation.replace('`', ""), ratios, target: target.parse().ok() })
    }

    fn draw(&self, top: f64) -> String {
        let mut drawn = format!("<text x=\"{ZERO}\" y=\"{}\">{}</text>\n", top + 12.0, self.operation);
        for (index, (ratio, machine)) in self.ratios.iter().zip(["epyc", "xeon"]).enumerate() {
            let (width, y) = (UNIT * highest(ratio).unwrap(), top + 19.0 + 15.0 * index as f64);
            let end = ZERO + 8.0 + width.max(UNIT * self.target.unwrap_or(1.0));
            drawn += &format!("<rect class=\"{machine}\" x=\"{ZERO}\" y=\"{y}\" width=\"{width:.0}\" height=\"12\"/>");
            drawn += &format!("<text x=\"{end:.0}\" y=\"{}\">{ratio}</text>\n", y + 11.0);
        }
        let mark = |class: &str, at: f64| {
            format!("<path class=\"{class}\" d=\"M{:.0} {}v29\"/>", ZERO + UNIT * at, top + 18.0)
        };
        drawn + &mark("native", 1.0) + &self.target.map(|target| mark("target", target)).unwrap_or_default() + "\n"
    }
}

/// The higher end of a range such as "2.2 to 2.6".
fn highest(ratio: &str) -> Option<f64> {
    ratio.split(" to ").map(|end| end.parse().ok()).reduce(|low, high| low.and(high))?
}

fn chart() -> String {
    let page = std::fs::read_to_string(root().join("docs/performance.md")).unwrap();
    let table = page.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = table.filter_map(Row::of).collect();
    assert!(rows.len() > 5, "the first table has other columns now");
    let size = format!("width=\"680\" height=\"{}\"", 50 + 56 * rows.len());
    let root = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 680 {}\" {size} role=\"img\">\n",
        50 + 56 * rows.len()
    );
    let bars = rows.iter().enumerate().map(|(index, row)| row.draw(44.0 + 56.0 * index as f64));
    let ground = format!("<rect class=\"ground\" {size} rx=\"8\"/>\n");
    root + HEAD + &ground + LEGEND + &bars.collect::<String>() + "</svg>\n"
}

#[test]
fn the_chart_shows_the_ratios_of_the_table() {
    let (chart, drawn) = (chart(), root().join("target/ratios.svg"));
    std::fs::write(&drawn, &chart).unwrap();
    let shown = std::fs::read_to_string(root().join("docs/images/ratios.svg")).unwrap_or_default();
    assert!(shown == chart, "the table has changed: copy {} to docs/images", drawn.display());
}

#[test]
fn the_chart_of_medians_has_the_numbers_of_the_table() {
    let page = std::fs::read_to_string(root().join("docs/performance.md")).unwrap();
    let chart = std::fs::read_to_string(root().join("benches/chart.svg")).unwrap();
    let texts = chart.split("<text ").skip(1).filter_map(|text| text.split_once('>')?.1.split_once('<'));
    let medians =
        texts.filter_map(|(text, _)| text.split_once(' ').and_then(|(n, unit)| Some((n.parse().ok()?, unit))));
    let medians = medians.filter(|(_, unit)| !unit.contains(' '));
    let cells: Vec<_> = medians.map(|(median, unit)| format!("| {} {unit} |", rounded(median))).collect();
    assert_eq!(cells.len(), 14, "{cells:?}");
    for cell in cells {
        assert!(page.contains(&cell), "the chart has {cell}, and no table has it");
    }
}

/// A number as the table has it: of thousands, three digits.
fn rounded(number: u64) -> String {
    let hundreds = (number + 50) / 100;
    if number < 1000 { number.to_string() } else { format!("{},{}00", hundreds / 10, hundreds % 10) }
}
