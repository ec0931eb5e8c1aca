//! The documentation as a book opens in a real browser, from files and without a network.

mod chart;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::harness::{Browser, until};

const DESKTOP: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (360, 740);

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder of the book, built once.
static BOOK: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = std::process::Command::new(root().join("docs/book/build")).output().unwrap();
    assert!(built.status.success(), "the book does not build: {}", String::from_utf8_lossy(&built.stderr));
    root().join("target/book").canonicalize().unwrap()
});

/// The address of a file of the book.
fn url(path: &str) -> String {
    format!("file://{}/{path}", BOOK.display())
}

/// The pages of the book, as paths in it.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    for folder in ["", "docs/"] {
        let files = std::fs::read_dir(BOOK.join(folder)).unwrap().map(|file| file.unwrap().file_name());
        pages.extend(files.map(|name| format!("{folder}{}", name.to_str().unwrap())));
    }
    // The table of contents is a part of the others.
    pages.retain(|page| page.ends_with(".html") && page != "toc.html");
    pages.sort();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

/// The pages that show a chart or a diagram.
fn pages_with_images() -> Vec<String> {
    let has_images = |page: &String| std::fs::read_to_string(BOOK.join(page)).unwrap().contains("<img ");
    pages().into_iter().filter(has_images).collect()
}

#[tokio::test]
async fn every_page_of_the_book_opens_without_errors_on_desktops_and_phones() {
    let (mut browser, mut faults) = (Browser::start().await, Vec::new());
    for page in pages() {
        for size in [DESKTOP, PHONE] {
            browser.resize(size).await;
            browser.open(&url(&page)).await;
            let found = browser.evaluate(include_str!("page.js")).await;
            let found = found.as_array().unwrap().iter().chain(browser.errors());
            faults.extend(found.map(|fault| format!("{page} at {size:?}: {fault}")));
        }
    }
    browser.close().await;
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn no_page_of_the_book_loads_anything_from_elsewhere() {
    let (mut browser, book) = (Browser::start().await, url(""));
    for page in pages() {
        browser.open(&url(&page)).await;
        let is_elsewhere = |url: &&str| !url.starts_with(&book) && !url.starts_with("data:");
        let elsewhere: Vec<_> = browser.loaded().filter(is_elsewhere).collect();
        assert!(browser.loaded().count() > 5 && elsewhere.is_empty(), "{page}: {elsewhere:?}");
    }
    browser.close().await;
}

/// Where a page leads, and where others can lead in it.
struct Page {
    links: BTreeSet<String>,
    anchors: BTreeSet<String>,
}

#[tokio::test]
async fn every_link_of_the_book_leads_to_a_file_and_a_heading() {
    let (mut browser, mut pages_of_book) = (Browser::start().await, BTreeMap::new());
    for page in pages() {
        browser.open(&url(&page)).await;
        let read = browser.evaluate(include_str!("links.js")).await;
        let of = |what: &str| serde_json::from_value(read[what].clone()).unwrap();
        pages_of_book.insert(page, Page { links: of("links"), anchors: of("anchors") });
    }
    browser.close().await;
    let links = pages_of_book.iter().flat_map(|(page, read)| read.links.iter().map(move |link| (page, link)));
    let faults: Vec<_> = links.filter_map(|(page, link)| fault_of(page, link, &pages_of_book)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// What is wrong with a link, if something is.
fn fault_of(page: &str, link: &str, pages: &BTreeMap<String, Page>) -> Option<String> {
    if link.starts_with("https://") {
        return None;
    }
    let Some(path) = link.strip_prefix(&url("")) else {
        return Some(format!("{page}: {link} leads out of the book"));
    };
    let (file, anchor) = path.split_once('#').unwrap_or((path, ""));
    let has_anchor = anchor.is_empty() || pages.get(file).is_some_and(|page| page.anchors.contains(anchor));
    let is_right = BOOK.join(file).is_file() && !file.ends_with(".md") && has_anchor;
    (!is_right).then(|| format!("{page}: {path}"))
}

#[tokio::test]
async fn the_search_of_the_book_finds_a_word_and_leads_to_it() {
    let mut browser = Browser::start().await;
    browser.open(&url("index.html")).await;
    browser.evaluate("document.querySelector('#mdbook-search-toggle').click()").await;
    browser.write("fence").await;
    let found = "document.querySelector('#mdbook-searchresults a')?.href ?? ''";
    until(async || browser.evaluate(found).await != "").await;
    let first = browser.evaluate(found).await;
    browser.open(first.as_str().unwrap()).await;
    assert_eq!(browser.evaluate("document.querySelector('mark').innerText.toLowerCase()").await, "fence");
    browser.close().await;
}

#[tokio::test]
async fn every_diagram_of_the_book_is_readable_in_light_and_in_dark() {
    let (mut browser, mut faults) = (Browser::start().await, Vec::new());
    // Higher than all of them: the script looks at what is in the window.
    browser.resize((1280, 2000)).await;
    let mut images = vec!["benches/chart.svg".to_owned()];
    for file in std::fs::read_dir(root().join("docs/images")).unwrap() {
        images.push(format!("docs/images/{}", file.unwrap().file_name().to_str().unwrap()));
    }
    for image in images {
        for scheme in ["light", "dark"] {
            browser.prefer(scheme).await;
            browser.open(&url(&image)).await;
            let found = browser.evaluate(include_str!("diagram.js")).await;
            faults.extend(found.as_array().unwrap().iter().map(|fault| format!("{image} in {scheme}: {fault}")));
        }
    }
    browser.close().await;
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn a_tap_on_a_diagram_shows_its_full_size_on_a_phone() {
    let mut browser = Browser::start().await;
    browser.resize(PHONE).await;
    browser.open(&url("docs/architecture.html")).await;
    let widths = "[...document.querySelectorAll('main label img')].map((image) => image.clientWidth)";
    assert!(browser.evaluate(widths).await[0].as_u64() < Some(360));
    browser.evaluate("document.querySelector('main label').click()").await;
    assert!(browser.evaluate(widths).await[1].as_u64() >= Some(560));
    browser.close().await;
}

#[tokio::test]
async fn screenshots_show_each_chart_and_diagram_on_its_page() {
    let (mut browser, folder) = (Browser::start().await, root().join("target/book-screenshots"));
    std::fs::create_dir_all(&folder).unwrap();
    for (theme, size) in [("light", DESKTOP), ("navy", DESKTOP), ("light", PHONE)] {
        browser.open(&url("index.html")).await;
        browser.evaluate(&format!("localStorage.setItem('mdbook-theme', '{theme}')")).await;
        browser.resize(size).await;
        for page in pages_with_images() {
            browser.open(&url(&page)).await;
            let has_theme = format!("document.documentElement.classList.contains('{theme}')");
            assert_eq!(browser.evaluate(&has_theme).await, true, "{page}");
            let images =
                browser.evaluate("document.querySelectorAll('main label > img').length").await.as_u64().unwrap();
            for image in 0..images {
                let scroll = format!(
                    "document.querySelectorAll('main label > img')[{image}].scrollIntoView({{block: 'center', behavior: 'instant'}})"
                );
                browser.evaluate(&scroll).await;
                let page = page.trim_start_matches("docs/").trim_end_matches(".html");
                browser.screenshot(&folder.join(format!("{page}-{image}-{theme}-{}.png", size.0))).await;
            }
        }
    }
    browser.close().await;
}
