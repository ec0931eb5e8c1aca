//! Checks a data file that another program may have changed, since LMDB trusts its files: wrong numbers in them end the process.
//!
//! The file has pages. Pages 0 and 1 are metas, of which the one with the later transaction counts. It names the roots of two trees: free pages
//! by transaction, and records by key. A node of a branch names a page; a node of a leaf has a key and data, or names the pages with the data.

use std::collections::BTreeSet;
use std::ops::Range;

use super::database::MAP_SIZE;
use super::record::{self, Lock, Waiter};

type Checked<T> = Result<T, &'static str>;

/// The size of a page number.
const WORD: usize = size_of::<usize>();
const PAGE_HEADER: usize = WORD + 8;
const NODE_HEADER: usize = 8;
const MAGIC: u32 = 0xBEEF_C0DE;
const DATA_VERSION: u32 = 1;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
const META: u16 = 8;
/// A flag of a node: its data is on pages of its own.
const BIG_DATA: u16 = 1;
/// A flag of a tree: its keys are integers. The tree of free pages also has a flag of the environment.
const INTEGER_KEY: u16 = 8;
const NO_SUB_DIR: u16 = 0x4000;
const NO_PAGE: usize = usize::MAX;
const MAX_DEPTH: u16 = 32;

/// Fails if a file is not one that a transaction left, the given one or the next. Answers which.
pub(super) fn check(bytes: &[u8], transaction: u64) -> Checked<u64> {
    if cfg!(target_endian = "big") {
        // The order of the fields differs there.
        return Ok(transaction);
    }
    let psize = u32_at(bytes, PAGE_HEADER + META_TREES)? as usize;
    if !(psize.is_power_of_two() && (4096..=1 << 15).contains(&psize)) || bytes.len() < 2 * psize {
        return Err("its pages have a wrong size");
    }
    let metas = [Meta::read(bytes, 0, psize)?, Meta::read(bytes, 1, psize)?];
    let meta = if metas[1].transaction > metas[0].transaction { &metas[1] } else { &metas[0] };
    if !(transaction..=transaction.saturating_add(1)).contains(&meta.transaction) {
        return Err("its transaction is another one than the last");
    }
    let mut pages = Pages { bytes, psize, used: vec![false; meta.last_page + 1], meta };
    let free = pages.read_tree(&meta.free, true)?;
    let records = pages.read_tree(&meta.records, false)?;
    for (transaction, list) in free {
        pages.read_free(transaction, list)?;
    }
    check_records(&records)?;
    Ok(meta.transaction)
}

/// Where the trees are in a meta: after magic, version, address and size of the map.
const META_TREES: usize = 8 + 2 * WORD;
const TREE: usize = 8 + 5 * WORD;

struct Meta {
    last_page: usize,
    transaction: u64,
    free: Tree,
    records: Tree,
}

struct Tree {
    depth: u16,
    branches: usize,
    leaves: usize,
    overflows: usize,
    entries: usize,
    root: usize,
}

impl Meta {
    fn read(bytes: &[u8], number: usize, psize: usize) -> Checked<Self> {
        let page = &bytes[number * psize..][..psize];
        let meta = &page[PAGE_HEADER..];
        let is_meta = u16_at(page, WORD + 2)? == META && u32_at(meta, 0)? == MAGIC && u32_at(meta, 4)? == DATA_VERSION;
        let map_size = word_at(meta, 8 + WORD)?;
        let trees = META_TREES + 2 * TREE;
        let (last_page, transaction) = (word_at(meta, trees)?, word_at(meta, trees + WORD)? as u64);
        if !is_meta || u32_at(meta, META_TREES)? as usize != psize || word_at(meta, 8)? != 0 {
            return Err("it does not begin like a file of LMDB");
        }
        if map_size > MAP_SIZE || last_page < 1 || last_page >= map_size / psize {
            return Err("it has another size than it says");
        }
        let free = Tree::read(&meta[META_TREES..], INTEGER_KEY | NO_SUB_DIR)?;
        let records = Tree::read(&meta[META_TREES + TREE..], 0)?;
        Ok(Self { last_page, transaction, free, records })
    }
}

impl Tree {
    fn read(bytes: &[u8], flags: u16) -> Checked<Self> {
        if u16_at(bytes, 4)? != flags {
            return Err("a tree is of another kind");
        }
        let word = |number: usize| word_at(bytes, 8 + number * WORD);
        Ok(Self {
            depth: u16_at(bytes, 6)?,
            branches: word(0)?,
            leaves: word(1)?,
            overflows: word(2)?,
            entries: word(3)?,
            root: word(4)?,
        })
    }
}

struct Pages<'a> {
    bytes: &'a [u8],
    psize: usize,
    used: Vec<bool>,
    meta: &'a Meta,
}

/// Keys with their data, in order.
type Entries<'a> = Vec<(&'a [u8], &'a [u8])>;

/// What a walk has found, to compare with what the tree says.
#[derive(Default)]
struct Walk<'a> {
    /// Whether keys are integers.
    integers: bool,
    entries: Entries<'a>,
    branches: usize,
    leaves: usize,
    overflows: usize,
}

impl Walk<'_> {
    fn less(&self, one: &[u8], other: &[u8]) -> bool {
        if self.integers { integer(one) < integer(other) } else { one < other }
    }
}

impl<'a> Pages<'a> {
    fn read_tree(&mut self, tree: &Tree, integers: bool) -> Checked<Entries<'a>> {
        let mut walk = Walk { integers, ..Walk::default() };
        if tree.root != NO_PAGE {
            if tree.depth == 0 || tree.depth > MAX_DEPTH {
                return Err("a tree has a wrong depth");
            }
            self.walk(&mut walk, tree.root, tree.depth)?;
        }
        let is_sorted = walk.entries.windows(2).all(|pair| walk.less(pair[0].0, pair[1].0));
        let counted = (walk.branches, walk.leaves, walk.overflows, walk.entries.len());
        if !is_sorted || counted != (tree.branches, tree.leaves, tree.overflows, tree.entries) {
            return Err("a tree has other entries than it says");
        }
        Ok(walk.entries)
    }

    fn walk(&mut self, walk: &mut Walk<'a>, number: usize, depth: u16) -> Checked<()> {
        let page = self.take(number..number + 1)?;
        let kind = if depth == 1 { LEAF } else { BRANCH };
        let (lower, upper) = (usize::from(u16_at(page, WORD + 4)?), usize::from(u16_at(page, WORD + 6)?));
        if u16_at(page, WORD + 2)? != kind
            || lower % 2 != 0
            || lower < PAGE_HEADER
            || lower > upper
            || upper > self.psize
        {
            return Err("a page has a wrong header");
        }
        let nodes = (PAGE_HEADER..lower).step_by(2).map(|at| u16_at(page, at).map(usize::from));
        let nodes = nodes.collect::<Checked<Vec<_>>>()?;
        if nodes.len() < if kind == LEAF { 1 } else { 2 } {
            return Err("a page has too few nodes");
        }
        let mut places = Vec::new();
        for (index, at) in nodes.iter().enumerate() {
            let node = page.get(*at..).ok_or("a node is beyond its page")?;
            let key_size = usize::from(u16_at(node, 6)?);
            let key = node.get(NODE_HEADER..NODE_HEADER + key_size).ok_or("a key is beyond its page")?;
            let data = if kind == LEAF { self.read_leaf_node(walk, node, key)? } else { 0 };
            places.push((*at, (NODE_HEADER + key_size + data).next_multiple_of(2)));
            if kind == BRANCH {
                let child = usize::from(u16_at(node, 0)?)
                    | usize::from(u16_at(node, 2)?) << 16
                    | usize::from(u16_at(node, 4)?).checked_shl(32).unwrap_or(0);
                let first = walk.entries.len();
                self.walk(walk, child, depth - 1)?;
                // All keys of a child are between its own key and the next one. The first has none.
                let is_below = |entry: usize| walk.entries.get(entry).is_some_and(|(other, _)| walk.less(other, key));
                if index > 0 && (is_below(first) || !is_below(first.wrapping_sub(1))) {
                    return Err("a branch leads to wrong keys");
                }
            }
        }
        walk.leaves += usize::from(kind == LEAF);
        walk.branches += usize::from(kind == BRANCH);
        // Nodes fill the end of the page without gaps.
        places.sort_unstable();
        let end = places.iter().try_fold(upper, |end, (at, size)| (*at == end).then_some(end + size));
        if end != Some(self.psize) { Err("nodes of a page overlap") } else { Ok(()) }
    }

    /// Answers how many bytes follow the key.
    fn read_leaf_node(&mut self, walk: &mut Walk<'a>, node: &'a [u8], key: &'a [u8]) -> Checked<usize> {
        let size = usize::from(u16_at(node, 0)?) | usize::from(u16_at(node, 2)?) << 16;
        let rest = &node[NODE_HEADER + key.len()..];
        match u16_at(node, 4)? {
            0 => {
                walk.entries.push((key, rest.get(..size).ok_or("data is beyond its page")?));
                Ok(size)
            }
            BIG_DATA => {
                let first = word_at(rest, 0)?;
                let header = self.page(first)?;
                let count = u32_at(header, WORD + 4)? as usize;
                if u16_at(header, WORD + 2)? != OVERFLOW
                    || count == 0
                    || count != (PAGE_HEADER + size).div_ceil(self.psize)
                {
                    return Err("data has wrong pages");
                }
                let pages = self.take(first..first.checked_add(count).ok_or("data has wrong pages")?)?;
                walk.overflows += count;
                walk.entries.push((key, pages.get(PAGE_HEADER..PAGE_HEADER + size).ok_or("data has wrong pages")?));
                Ok(WORD)
            }
            _ => Err("a node is of another kind"),
        }
    }

    /// A list of free pages begins with its length.
    fn read_free(&mut self, transaction: &[u8], list: &[u8]) -> Checked<()> {
        let pages = list.chunks_exact(WORD).map(|page| word_at(page, 0)).collect::<Checked<Vec<_>>>()?;
        let (count, pages) = pages.split_first().ok_or("a list of free pages is empty")?;
        let pages = pages.get(..*count).ok_or("a list of free pages is too short")?;
        let is_sorted = pages.windows(2).all(|pair| pair[0] > pair[1]);
        if transaction.len() != WORD || integer(transaction) > self.meta.transaction || !is_sorted {
            return Err("a list of free pages is wrong");
        }
        pages.iter().try_for_each(|page| self.mark(*page))
    }

    /// Pages that nothing else uses.
    fn take(&mut self, numbers: Range<usize>) -> Checked<&'a [u8]> {
        numbers.clone().try_for_each(|number| self.mark(number))?;
        if word_at(self.page(numbers.start)?, 0)? != numbers.start {
            return Err("a page is not where it should be");
        }
        self.bytes
            .get(numbers.start * self.psize..numbers.end * self.psize)
            .ok_or("a page is beyond the end of the file")
    }

    fn page(&self, number: usize) -> Checked<&'a [u8]> {
        let start = number.checked_mul(self.psize).ok_or("a page is beyond the end of the file")?;
        self.bytes.get(start..).and_then(|rest| rest.get(..self.psize)).ok_or("a page is beyond the end of the file")
    }

    fn mark(&mut self, number: usize) -> Checked<()> {
        match self.used.get_mut(number) {
            Some(used) if number >= 2 && !*used => *used = true,
            _ => return Err("a page is used twice, or beyond the end of the file"),
        }
        Ok(())
    }
}

/// Each record is one that this program writes, and locks are in the order of expiry.
fn check_records(entries: &Entries<'_>) -> Checked<()> {
    let (mut expiries, mut locks) = (BTreeSet::new(), BTreeSet::new());
    for (key, data) in entries {
        let is_valid = match key.first() {
            Some(b'L') => Lock::decode(key, data).is_ok_and(|lock| {
                record::text(&key[1..]).is_ok_and(|name| locks.insert(record::expiry_key(lock.expires, name)))
            }),
            Some(b'E') => record::parse_expiry(key).is_ok() && data.is_empty() && expiries.insert(key.to_vec()),
            Some(b'Q') => Waiter::decode(key, data).is_ok() && record::parse_ticket(key).is_ok(),
            _ => false,
        };
        if !is_valid {
            return Err("a record has another content than was written");
        }
    }
    if expiries == locks { Ok(()) } else { Err("a lock is missing") }
}

fn integer(bytes: &[u8]) -> u64 {
    word_at(bytes, 0).map_or(0, |word| word as u64)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Checked<[u8; N]> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or("a page is too short")
}

fn u16_at(bytes: &[u8], at: usize) -> Checked<u16> {
    bytes_at(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Checked<u32> {
    bytes_at(bytes, at).map(u32::from_ne_bytes)
}

fn word_at(bytes: &[u8], at: usize) -> Checked<usize> {
    bytes_at(bytes, at).map(usize::from_ne_bytes)
}
