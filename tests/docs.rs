//! The documentation is true: its commands run, its links lead somewhere, and its Rust is compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::harness::{Command, RedisServer};

/// A line of output that tells which block begins.
const MARK: &str = "-- line ";

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A page of the documentation, by its path in the repository.
struct Page {
    path: PathBuf,
    blocks: Vec<Block>,
    /// All lines outside of blocks.
    prose: Vec<String>,
}

/// What is between two fences.
struct Block {
    /// The number of the line with the first fence.
    line: usize,
    language: String,
    text: String,
}

impl Page {
    fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let (mut blocks, mut prose, mut open) = (Vec::new(), Vec::new(), None::<Block>);
        for (number, line) in text.lines().enumerate() {
            match (line.strip_prefix("```"), open.take()) {
                (Some(language), None) => {
                    open = Some(Block { line: number + 1, language: language.to_owned(), text: String::new() });
                }
                (Some(_), Some(block)) => blocks.push(block),
                (None, Some(mut block)) => {
                    block.text += line;
                    block.text.push('\n');
                    open = Some(block);
                }
                (None, None) => prose.push(line.to_owned()),
            }
        }
        assert!(open.is_none(), "{path:?} has a fence that does not end");
        Self { path, blocks, prose }
    }

    fn all() -> Vec<Self> {
        ["README.md", "CONTRIBUTING.md"].into_iter().map(PathBuf::from).chain(paths_of_docs()).map(Self::read).collect()
    }

    /// The blocks that are run.
    fn shell(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| block.language == "sh")
    }

    /// Runs the blocks in their order, in one shell in an empty folder.
    async fn run(&self) {
        // In one stream, the output of a block follows its mark.
        let mut script = "exec 2>&1\n".to_owned();
        for Block { line, text, .. } in self.shell() {
            script += &format!("echo '{MARK}{line}'\n{text}");
        }
        let (server, folder) = (RedisServer::start().await, tempfile::tempdir().unwrap());
        let shell = Command::of(PathBuf::from("sh"), &["-eu", "-c", &script]).current_dir(folder.path());
        let ran = shell.env("PATH", &path_with_locker()).env("LOCKER_CACHE", &server.url()).run().await;
        if ran.code != Some(0) {
            let (_, output) = ran.stdout.rsplit_once(MARK).unwrap_or(("", &ran.stdout));
            let line = output.lines().next().unwrap_or_default();
            let block = self.shell().find(|block| block.line.to_string() == line);
            let text = block.map_or("a block", |block| &block.text);
            panic!("{}:{line}: exit code {:?}\n{text}\nwith the output\n{output}", self.path.display(), ran.code);
        }
    }

    /// Where the links in the prose lead.
    fn links(&self) -> Vec<String> {
        let prose = self.prose.join("\n");
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        targets.map(|(target, _)| target.to_owned()).filter(|target| !target.contains("://")).collect()
    }

    /// The anchors of the headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let mut seen = BTreeMap::<String, usize>::new();
        let headings = self.prose.iter().filter(|line| line.starts_with('#'));
        headings
            .map(|heading| {
                let heading = heading.trim_start_matches('#').trim().to_lowercase();
                let kept = |char: &char| char.is_alphanumeric() || " -_".contains(*char);
                let anchor = heading.chars().filter(kept).collect::<String>().replace(' ', "-");
                let times = seen.entry(anchor.clone()).or_default();
                *times += 1;
                if *times == 1 { anchor } else { format!("{anchor}-{}", *times - 1) }
            })
            .collect()
    }

    /// What is wrong with a link, if something is.
    fn fault_of(&self, link: &str) -> Option<String> {
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let path = match file {
            "" => self.path.clone(),
            file => self.path.parent().unwrap().join(file),
        };
        let fault = if !root().join(&path).exists() {
            "there is no such file"
        } else if !anchor.is_empty() && !Self::read(&path).anchors().contains(anchor) {
            "there is no such heading"
        } else {
            return None;
        };
        Some(format!("{}: {link}: {fault}", self.path.display()))
    }
}

/// The block of a page that begins with the path of a file in a comment.
pub(crate) fn recipe(page: &str, path: &str) -> String {
    let begins = |line: &str| line.strip_prefix("# ").and_then(|line| line.split(';').next()) == Some(path);
    let block = Page::read(page).blocks.into_iter().find(|block| block.text.lines().next().is_some_and(begins));
    block.unwrap_or_else(|| panic!("{page} has no block for {path}")).text
}

/// The commands in the two columns of a table, by its first line.
pub(crate) fn table(page: &str, head: &str) -> Vec<[String; 2]> {
    let command = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let row =
        |line: &String| line.trim_matches('|').split_once('|').map(|(left, right)| [command(left), command(right)]);
    let lines = Page::read(page).prose.into_iter().skip_while(|line| line != head).skip(2);
    lines.map_while(|line| row(&line)).collect()
}

/// The pages in the folder of the documentation.
fn paths_of_docs() -> Vec<PathBuf> {
    let files = std::fs::read_dir(root().join("docs")).unwrap().map(|file| file.unwrap().file_name());
    let mut paths: Vec<_> = files.map(|name| Path::new("docs").join(name)).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    paths
}

/// The search path of the shell, with the folder of `locker` before all others.
fn path_with_locker() -> String {
    let locker = Command::path("locker");
    format!("{}:{}", locker.parent().unwrap().display(), std::env::var("PATH").unwrap())
}

#[tokio::test]
async fn every_shell_block_of_the_documentation_runs() {
    for page in Page::all() {
        if page.shell().next().is_some() {
            page.run().await;
        }
    }
}

#[test]
fn every_link_of_the_documentation_leads_to_a_file_and_a_heading() {
    let faults = |page: Page| page.links().into_iter().filter_map(|link| page.fault_of(&link)).collect::<Vec<_>>();
    let faults: Vec<_> = Page::all().into_iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_readme_has_at_most_150_lines() {
    assert!(include_str!("../README.md").lines().count() <= 150);
}

#[test]
fn the_readme_links_to_every_page() {
    let links = Page::read("README.md").links();
    for path in paths_of_docs() {
        assert!(links.iter().any(|link| Path::new(link) == path), "the README has no link to {path:?}");
    }
}

#[test]
fn every_page_with_rust_is_compiled_by_the_doctests_of_the_library() {
    let library = include_str!("../host/src/lib.rs");
    for page in Page::all() {
        let include = format!("include_str!(\"../../{}\")", page.path.display());
        let has_rust = page.blocks.iter().any(|block| block.language.split(',').next() == Some("rust"));
        assert_eq!(has_rust, library.contains(&include), "{:?}", page.path);
    }
}
