//! Words of a directive: a line enters, words and `key=value` pairs leave; quoted words may hold anything.

/// A quoted word.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

/// The words of a line.
pub(super) struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str) -> Words<'a> {
        Words { rest: line }
    }

    /// The next word, `KEY=` in front of it split off; `None` at the end or where a comment begins.
    pub(super) fn next(&mut self) -> Result<Option<(Option<&'a str>, String)>, String> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() || self.rest.starts_with(';') {
            return Ok(None);
        }
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_key(c)).unwrap_or(self.rest.len());
        let (before, after) = self.rest.split_at(end);
        let key = match after.strip_prefix('=') {
            Some(after) => {
                self.rest = after;
                Some(before)
            }
            None => None,
        };
        if let Some(inside) = self.rest.strip_prefix('"') {
            return self.unquote(inside).map(|text| Some((key, text)));
        }
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(Some((key, word.to_owned())))
    }

    fn unquote(&mut self, inside: &'a str) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = inside.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = inside.get(at + 1..).unwrap_or("");
                    return Ok(text);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('0') => text.push('\0'),
                    Some('u') => {
                        let digits: String = chars
                            .by_ref()
                            .skip(1)
                            .map(|(_, c)| c)
                            .take_while(|c| *c != '}')
                            .take(8)
                            .collect();
                        let c = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        text.push(c.ok_or_else(|| format!("`\\u{{{digits}}}` is no character"))?);
                    }
                    Some(c @ ('"' | '\\' | '\'')) => text.push(c),
                    _ => return Err("an unknown escape in quotes".to_owned()),
                },
                c => text.push(c),
            }
        }
        Err("quotes that do not end".to_owned())
    }

    /// A word without a key.
    pub(super) fn word(&mut self, what: &str) -> Result<String, String> {
        match self.next()? {
            Some((None, word)) => Ok(word),
            Some((Some(key), _)) => Err(format!("`{key}=` where {what} was expected")),
            None => Err(format!("{what} is missing")),
        }
    }

    /// A number.
    pub(super) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.word(what)?;
        word.parse().map_err(|_| format!("`{word}` is not {what}"))
    }

    /// Nothing more.
    pub(super) fn end(&mut self) -> Result<(), String> {
        match self.next()? {
            Some((_, word)) => Err(format!("`{word}` is too much")),
            None => Ok(()),
        }
    }
}

/// Bytes in hex, appended.
pub(super) fn hex(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    if !digits.len().is_multiple_of(2) {
        return Err("an odd number of hex digits".to_owned());
    }
    for pair in digits.chunks_exact(2) {
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => return Err("expected hex digits".to_owned()),
        }
    }
    Ok(())
}
