//! Hashes, lists and sets: enough to hold foreign values.

use redis::Value;

use crate::call::{Call, range};
use crate::keyspace::{Data, Entry};
use crate::value::{Reply, WRONG_TYPE, bulk, integer, nil_or};

/// What is under the first key, to change it; made if there is none.
fn data<'a>(call: &'a mut Call<'_>, empty: Data) -> &'a mut Data {
    let key = call.key(1);
    if call.state.entry(&key).is_none() {
        call.state.put(key.clone(), Entry::new(empty));
    }
    call.state.dirty.insert(key.clone());
    &mut call.state.keyspace.entry(key).or_insert_with(|| Entry::new(Data::Text(Vec::new()))).data
}

pub(crate) fn hash_set(call: &mut Call<'_>) -> Reply {
    if !call.args.len().is_multiple_of(2) {
        return Err("ERR wrong number of arguments for 'hset' command".into());
    }
    let args = call.args;
    let Data::Hash(hash) = data(call, Data::Hash(Default::default())) else { return Err(WRONG_TYPE.into()) };
    let fields = args[2..].chunks_exact(2);
    let added = fields.filter(|field| hash.insert(field[0].clone(), field[1].clone()).is_none());
    Ok(integer(added.count()))
}

pub(crate) fn hash_get(call: &mut Call<'_>) -> Reply {
    let field = call.arg(2).to_vec();
    match call.entry().map(|entry| &entry.data) {
        None => Ok(Value::Nil),
        Some(Data::Hash(hash)) => Ok(nil_or(hash.get(&field))),
        Some(_) => Err(WRONG_TYPE.into()),
    }
}

pub(crate) fn push_left(call: &mut Call<'_>) -> Reply {
    push(call, |list, element| list.push_front(element))
}

pub(crate) fn push_right(call: &mut Call<'_>) -> Reply {
    push(call, |list, element| list.push_back(element))
}

fn push(call: &mut Call<'_>, push: impl Fn(&mut std::collections::VecDeque<Vec<u8>>, Vec<u8>)) -> Reply {
    let args = call.args;
    let Data::List(list) = data(call, Data::List(Default::default())) else { return Err(WRONG_TYPE.into()) };
    args[2..].iter().for_each(|element| push(list, element.clone()));
    Ok(integer(list.len()))
}

pub(crate) fn list_range(call: &mut Call<'_>) -> Reply {
    let (first, last) = (call.integer(2)?, call.integer(3)?);
    match call.entry().map(|entry| &entry.data) {
        None => Ok(Value::Array(Vec::new())),
        Some(Data::List(list)) => Ok(Value::Array(list.range(range(list.len(), first, last)).map(bulk).collect())),
        Some(_) => Err(WRONG_TYPE.into()),
    }
}

pub(crate) fn set_add(call: &mut Call<'_>) -> Reply {
    let args = call.args;
    let Data::Set(set) = data(call, Data::Set(Default::default())) else { return Err(WRONG_TYPE.into()) };
    Ok(integer(args[2..].iter().filter(|member| set.insert((*member).clone())).count()))
}
