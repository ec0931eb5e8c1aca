//! Replies as Lua values, and Lua values as replies.

use mlua::{Lua, Result, Table, Value as LuaValue};
use redis::Value;

use crate::number::truncate;
use crate::value::{Reply, bulk, server_error};

/// A command's reply as a script gets it. Errors are tables, too.
pub(super) fn to_lua(lua: &Lua, reply: &Value) -> Result<LuaValue> {
    Ok(match reply {
        Value::Nil => LuaValue::Boolean(false),
        #[expect(clippy::cast_precision_loss, reason = "Lua has no other numbers")]
        Value::Int(number) => LuaValue::Number(*number as f64),
        Value::BulkString(text) => LuaValue::String(lua.create_string(text)?),
        Value::SimpleString(text) => single_field(lua, "ok", text)?,
        Value::Okay => single_field(lua, "ok", "OK")?,
        Value::Array(elements) => {
            let table = lua.create_table_with_capacity(elements.len(), 0)?;
            for (index, element) in elements.iter().enumerate() {
                table.raw_set(index + 1, to_lua(lua, element)?)?;
            }
            LuaValue::Table(table)
        }
        _ => LuaValue::Nil,
    })
}

pub(super) fn single_field(lua: &Lua, name: &str, text: &str) -> Result<LuaValue> {
    let table = lua.create_table()?;
    table.raw_set(name, text)?;
    Ok(LuaValue::Table(table))
}

/// What a script returns, as its client gets it.
pub(super) fn to_reply(value: &LuaValue) -> Result<Reply> {
    Ok(Ok(match value {
        LuaValue::String(text) => bulk(text.as_bytes()),
        LuaValue::Boolean(true) => Value::Int(1),
        LuaValue::Integer(number) => Value::Int(*number),
        LuaValue::Number(number) => Value::Int(truncate(*number)),
        LuaValue::Table(table) => return table_reply(table),
        _ => Value::Nil,
    }))
}

fn table_reply(table: &Table) -> Result<Reply> {
    if let LuaValue::String(text) = table.raw_get("err")? {
        return Ok(Err(text.to_string_lossy()));
    }
    if let LuaValue::String(text) = table.raw_get("ok")? {
        let text = text.to_string_lossy().replace(['\r', '\n'], " ");
        return Ok(Ok(if text == "OK" { Value::Okay } else { Value::SimpleString(text) }));
    }
    match table.raw_get("double")? {
        #[expect(clippy::cast_precision_loss, reason = "it was a double before")]
        LuaValue::Integer(number) => return Ok(Ok(Value::Double(number as f64))),
        LuaValue::Number(number) => return Ok(Ok(Value::Double(number))),
        _ => {}
    }
    let mut elements = Vec::new();
    loop {
        match table.raw_get(elements.len() + 1)? {
            LuaValue::Nil => return Ok(Ok(Value::Array(elements))),
            element => elements.push(to_reply(&element)?.unwrap_or_else(|text| server_error(&text))),
        }
    }
}
