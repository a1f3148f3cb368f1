//! Keys and values of maps: what a user gives becomes a value, a value becomes text or JSON.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value as Json};
use skep::inspect::Value;

/// What was given: JSON, `hex:BYTES`, or else a text.
pub(crate) fn given(text: &str) -> Result<Value> {
    if let Some(hex) = text.strip_prefix("hex:") {
        return bytes(hex).map(Value::Bytes);
    }
    match serde_json::from_str::<Json>(text) {
        Ok(json) => from_json(&json),
        Err(_) => Ok(Value::Text(text.to_owned())),
    }
}

/// Bytes as pairs of hex digits, blanks between them or not.
pub(crate) fn bytes(hex: &str) -> Result<Vec<u8>> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    if !digits.len().is_multiple_of(2) {
        bail!("hex:{hex}: an odd number of digits");
    }
    let pair = |pair: &[char]| {
        let text: String = pair.iter().collect();
        u8::from_str_radix(&text, 16).ok().filter(|_| pair.iter().all(char::is_ascii_hexdigit))
    };
    let all: Option<Vec<u8>> = digits.chunks_exact(2).map(pair).collect();
    all.with_context(|| format!("hex:{hex}: expected hex digits"))
}

/// What JSON says; texts may be `hex:BYTES`.
pub(crate) fn from_json(json: &Json) -> Result<Value> {
    Ok(match json {
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
            (Some(n), ..) => Value::Unsigned(n.into()),
            (_, Some(n), _) => Value::Signed(n.into()),
            (.., Some(n)) => Value::Float(n),
            _ => bail!("{n} is no number that a map can hold"),
        },
        Json::String(text) => match text.strip_prefix("hex:") {
            Some(hex) => Value::Bytes(bytes(hex)?),
            None => Value::Text(text.clone()),
        },
        Json::Array(list) => Value::List(list.iter().map(from_json).collect::<Result<_>>()?),
        Json::Object(members) => {
            let each = members.iter().map(|(name, value)| Ok((name.clone(), from_json(value)?)));
            Value::Record(each.collect::<Result<_>>()?)
        }
        Json::Null => bail!("null is no value that a map can hold"),
    })
}

/// As JSON. Numbers beyond 64 bits and bytes are texts.
pub(crate) fn json(value: &Value) -> Json {
    match value {
        Value::Signed(n) => i64::try_from(*n).map_or_else(|_| Json::from(n.to_string()), Json::from),
        Value::Unsigned(n) => u64::try_from(*n).map_or_else(|_| Json::from(n.to_string()), Json::from),
        Value::Bool(value) => Json::from(*value),
        Value::Float(n) => Json::from(*n),
        Value::Pointer(n) => Json::from(*n),
        Value::Named(text) | Value::Text(text) => Json::from(text.as_str()),
        Value::Bytes(_) => Json::from(format!("hex:{}", value.to_string().replace(' ', ""))),
        Value::List(list) => Json::Array(list.iter().map(json).collect()),
        Value::Record(members) => Json::Object(
            members.iter().map(|(name, value)| (name.clone(), json(value))).collect::<Map<_, _>>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_read() {
        assert_eq!(given("5").unwrap(), Value::Unsigned(5));
        assert_eq!(given("-5").unwrap(), Value::Signed(-5));
        assert_eq!(given("bee").unwrap(), Value::Text("bee".into()));
        assert_eq!(given("hex:0a 0B").unwrap(), Value::Bytes(vec![10, 11]));
        let record = Value::Record(vec![("a".into(), Value::List(vec![Value::Bool(true)]))]);
        assert_eq!(given("{\"a\": [true]}").unwrap(), record);
        assert_eq!(given("\"hex:0a0b\"").unwrap(), Value::Bytes(vec![10, 11]), "as it is printed");
        for bad in ["hex:0", "hex:zz", "null", "hex:+1"] {
            assert!(given(bad).is_err(), "{bad}");
        }
        assert_eq!(json(&record).to_string(), "{\"a\":[true]}");
    }
}
