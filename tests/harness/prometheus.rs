//! The text format of Prometheus, read as strictly as its parsers and `promtool check metrics` do.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of a text, by their names with labels, as `name{label=value}`.
pub(crate) struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// Reads a text that has a HELP and a TYPE for each metric, in front of its samples.
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line does not end: {text:?}");
        let (mut samples, mut seen, mut lines) = (BTreeMap::new(), BTreeSet::new(), text.lines().peekable());
        while let Some(help) = lines.next() {
            let (name, help) = help.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect("a HELP");
            assert!(is_name(name) && !help.is_empty() && seen.insert(name), "{name}: {help}");
            let (of, kind) = lines.next().unwrap().strip_prefix("# TYPE ").unwrap().split_once(' ').unwrap();
            assert!(of == name && ["counter", "gauge"].contains(&kind), "{name} {kind}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (series, value) = sample(line.strip_prefix(name).expect("a sample of this metric"));
                assert!(samples.insert(format!("{name}{series}"), value).is_none(), "{line} comes twice");
            }
        }
        Self(samples)
    }

    /// The value of a metric of this lock, with more labels if there are some.
    #[track_caller]
    pub(crate) fn of(&self, lock: &str, name: &str, labels: &str) -> f64 {
        let series = format!("{name}{{lock={lock}{labels}}}");
        *self.0.get(&series).unwrap_or_else(|| panic!("no {series} in {:?}", self.0))
    }

    /// The outcomes of the calls, with their numbers.
    pub(crate) fn outcomes(&self, lock: &str) -> Vec<(String, f64)> {
        let prefix = format!("locker_job_attempts_total{{lock={lock},outcome=");
        let outcome = |(series, count): (&String, &f64)| {
            let outcome = series.strip_prefix(&prefix)?.trim_end_matches('}').to_owned();
            (*count > 0.0).then_some((outcome, *count))
        };
        self.0.iter().filter_map(outcome).collect()
    }
}

/// The labels of a sample without their quotes, and its value.
fn sample(rest: &str) -> (String, f64) {
    let mut chars = rest.strip_prefix('{').expect("labels").chars();
    let (mut series, mut quoted) = ("{".to_owned(), false);
    loop {
        match chars.next().expect("the labels end") {
            '"' => quoted = !quoted,
            '\\' if quoted => series.push(match chars.next() {
                Some('n') => '\n',
                Some(char @ ('"' | '\\')) => char,
                other => panic!("an escape that no parser knows: {other:?}"),
            }),
            '}' if !quoted => break,
            char => {
                assert!(quoted || char.is_ascii_lowercase() || "_=,".contains(char), "{rest}");
                series.push(char);
            }
        }
    }
    let value = chars.as_str().strip_prefix(' ').expect("a space before the value");
    (series + "}", value.parse().unwrap())
}

fn is_name(name: &str) -> bool {
    name.chars().all(|char| char.is_ascii_lowercase() || char == '_') && !name.is_empty()
}
