//! Sorted sets.

use redis::Value;

use crate::call::{self, Call};
use crate::keyspace::{Data, Entry, SortedSet};
use crate::number::parse_score;
use crate::value::{Reply, SYNTAX, bulk, integer};

#[derive(Default)]
struct AddOptions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    count_changes: bool,
}

impl AddOptions {
    /// The options, and where the scores begin.
    fn parse(call: &Call<'_>) -> Result<(Self, usize), String> {
        let (mut options, mut at) = (Self::default(), 2);
        loop {
            match &call.word(at)[..] {
                "nx" => options.nx = true,
                "xx" => options.xx = true,
                "gt" => options.gt = true,
                "lt" => options.lt = true,
                "ch" => options.count_changes = true,
                _ => break,
            }
            at += 1;
        }
        let rest = call.args.len().saturating_sub(at);
        if rest == 0 || !rest.is_multiple_of(2) {
            return Err(SYNTAX.to_owned());
        }
        if options.nx && options.xx {
            return Err("ERR XX and NX options at the same time are not compatible".into());
        }
        if [options.gt, options.lt, options.nx].into_iter().filter(|option| *option).count() > 1 {
            return Err("ERR GT, LT, and/or NX options at the same time are not compatible".into());
        }
        Ok((options, at))
    }

    fn permit(&self, present: Option<f64>, new: f64) -> bool {
        match present {
            None => !self.xx,
            Some(present) => !(self.nx || (self.gt && new <= present) || (self.lt && new >= present)),
        }
    }
}

pub(crate) fn add(call: &mut Call<'_>) -> Reply {
    let (options, first) = AddOptions::parse(call)?;
    let pairs = call.args[first..].chunks_exact(2);
    let pairs: Vec<_> = pairs.map(|pair| Ok((parse_score(&pair[0])?, &pair[1]))).collect::<Result<_, String>>()?;
    let mut set = call.entry().map(|entry| entry.sorted_set().cloned()).transpose()?.unwrap_or_default();
    let (mut added, mut changed) = (0, 0);
    for (score, member) in pairs {
        let present = set.score(member);
        if !options.permit(present, score) {
            continue;
        }
        added += usize::from(present.is_none());
        #[expect(clippy::float_cmp, reason = "only the same score is no change")]
        let differs = present.is_some_and(|present| present != score);
        changed += usize::from(differs);
        set.insert(member, score);
    }
    if added + changed > 0 {
        store(call, set);
    }
    Ok(integer(if options.count_changes { added + changed } else { added }))
}

/// Replaces the set and keeps its expiry. An empty set does not exist.
fn store(call: &mut Call<'_>, set: SortedSet) {
    let key = call.key(1);
    if set.len() == 0 {
        call.state.remove(&key);
    } else if let Some(entry) = call.state.change(&key) {
        entry.data = Data::SortedSet(set);
    } else {
        call.state.put(key, Entry::new(Data::SortedSet(set)));
    }
}

pub(crate) fn remove(call: &mut Call<'_>) -> Reply {
    let Some(entry) = call.entry() else { return Ok(Value::Int(0)) };
    let mut set = entry.sorted_set()?.clone();
    let removed = call.args[2..].iter().filter(|member| set.remove(member)).count();
    if removed > 0 {
        store(call, set);
    }
    Ok(integer(removed))
}

fn members_in_range(call: &mut Call<'_>) -> Result<Vec<(Vec<u8>, f64)>, String> {
    let reversed = (4..call.args.len()).any(|at| call.word(at) == "rev");
    let (first, last) = (call.integer(2)?, call.integer(3)?);
    let Some(entry) = call.entry() else { return Ok(Vec::new()) };
    let set = entry.sorted_set()?;
    let range = call::range(set.len(), first, last);
    let owned = |(member, score): (&[u8], f64)| (member.to_vec(), score);
    let (skipped, taken) = (range.start, range.len());
    Ok(if reversed {
        set.iter().rev().skip(skipped).take(taken).map(owned).collect()
    } else {
        set.iter().skip(skipped).take(taken).map(owned).collect()
    })
}

pub(crate) fn range(call: &mut Call<'_>) -> Reply {
    let options: Vec<_> = (4..call.args.len()).map(|at| call.word(at)).collect();
    let is_known = |option: &String| ["rev", "withscores"].contains(&&option[..]);
    let reversals = options.iter().filter(|option| *option == "rev").count();
    if !options.iter().all(is_known) || reversals > 1 {
        return Err(SYNTAX.to_owned());
    }
    let members = members_in_range(call)?;
    if !options.iter().any(|option| option == "withscores") {
        return Ok(Value::Array(members.iter().map(|(member, _)| bulk(member)).collect()));
    }
    let pairs = members.iter().map(|(member, score)| [bulk(member), call.double(*score)]);
    Ok(Value::Array(if call.scripted {
        pairs.flatten().collect()
    } else {
        pairs.map(|pair| Value::Array(pair.into())).collect()
    }))
}

pub(crate) fn rank(call: &mut Call<'_>) -> Reply {
    let with_score = call.args.len() > 3;
    if call.args.len() > 4 {
        return Err("ERR wrong number of arguments for 'zrank' command".into());
    }
    if with_score && call.word(3) != "withscore" {
        return Err(SYNTAX.to_owned());
    }
    let member = call.arg(2).to_vec();
    let Some(entry) = call.entry() else { return Ok(Value::Nil) };
    let set = entry.sorted_set()?;
    let (Some(rank), Some(score)) = (set.rank(&member), set.score(&member)) else { return Ok(Value::Nil) };
    Ok(if with_score { Value::Array(vec![integer(rank), call.double(score)]) } else { integer(rank) })
}

pub(crate) fn score(call: &mut Call<'_>) -> Reply {
    let member = call.arg(2).to_vec();
    let Some(entry) = call.entry() else { return Ok(Value::Nil) };
    let score = entry.sorted_set()?.score(&member);
    Ok(score.map_or(Value::Nil, |score| call.double(score)))
}

pub(crate) fn count(call: &mut Call<'_>) -> Reply {
    Ok(integer(call.entry().map(Entry::sorted_set).transpose()?.map_or(0, SortedSet::len)))
}
