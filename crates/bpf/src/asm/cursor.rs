//! Words and numbers of one line. Blanks between them do not matter.

use super::Place;

/// The rest of a line.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Cursor<'a> {
        Cursor { rest: text.trim() }
    }

    /// Takes `text` if it comes next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    /// Whether `text` comes next.
    pub(super) fn peek(&self, text: &str) -> bool {
        self.rest.starts_with(text)
    }

    /// As `eat`, for a whole word.
    pub(super) fn word(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).is_some_and(|r| !r.starts_with(is_word)) && self.eat(text)
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<(), String> {
        if self.eat(text) { Ok(()) } else { self.wanted(&format!("`{text}`")) }
    }

    pub(super) fn wanted<T>(&self, what: &str) -> Result<T, String> {
        match self.rest {
            "" => Err(format!("expected {what} at the end of the line")),
            rest => Err(format!("expected {what}, found `{rest}`")),
        }
    }

    pub(super) fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { self.wanted("the end of the line") }
    }

    /// Takes what satisfies `wanted` at the start; `None` when that is nothing.
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> Option<&'a str> {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.trim_start();
        (!taken.is_empty()).then_some(taken)
    }

    /// A register `r0` to `r10`, or `w0` to `w10`: (wide, number).
    pub(super) fn register(&mut self) -> Option<(bool, u8)> {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (kind, number) = self.rest.get(..end)?.split_at_checked(1)?;
        let wide = match kind {
            "r" => true,
            "w" => false,
            _ => return None,
        };
        let number = number.parse().ok().filter(|&n| n <= 10)?;
        self.rest = self.rest.get(end..)?.trim_start();
        Some((wide, number))
    }

    /// A 64-bit register.
    pub(super) fn wide_register(&mut self) -> Result<u8, String> {
        match self.register() {
            Some((true, r)) => Ok(r),
            Some((false, _)) => Err("expected a 64-bit register".to_owned()),
            None => self.wanted("a register"),
        }
    }

    /// A number with sign, decimal or `0x…`.
    pub(super) fn number(&mut self) -> Result<i128, String> {
        let before = self.rest;
        let negative = self.eat("-");
        if !negative {
            self.eat("+");
        }
        let digits = self.take(is_word).unwrap_or("");
        let value = match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => digits.parse::<u64>(),
        };
        match value {
            Ok(v) => Ok(if negative { -i128::from(v) } else { v.into() }),
            Err(_) => {
                self.rest = before;
                self.wanted("a number")
            }
        }
    }

    /// A 32-bit immediate: signed, or unsigned with the same bits.
    pub(super) fn immediate(&mut self) -> Result<i32, String> {
        let n = self.number()?;
        let bits = i32::try_from(n).or_else(|_| u32::try_from(n).map(|u| u as i32));
        bits.map_err(|_| format!("{n} does not fit into 32 bits"))
    }

    pub(super) fn unsigned(&mut self) -> Result<u32, String> {
        let n = self.number()?;
        u32::try_from(n).map_err(|_| format!("{n} is no 32-bit number"))
    }

    /// Sixteen hex digits.
    pub(super) fn bytes(&mut self) -> Result<[u8; 8], String> {
        let mut bytes = [0; 8];
        let digits = self.take(|c| c.is_ascii_hexdigit()).unwrap_or("");
        if digits.len() != 16 {
            return Err("expected sixteen hex digits".to_owned());
        }
        for (i, b) in bytes.iter_mut().enumerate() {
            *b = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(|e| e.to_string())?;
        }
        Ok(bytes)
    }

    /// `pc+5`, `+5`, `pc-5` or a label.
    pub(super) fn place(&mut self) -> Result<Place, String> {
        let pc = self.peek("pc+") || self.peek("pc-");
        if pc {
            self.eat("pc");
        }
        if pc || self.peek("+") || self.peek("-") {
            let n = self.number()?;
            return i64::try_from(n).map(Place::Distance).map_err(|_| format!("{n} is too far"));
        }
        match self.take(is_word) {
            Some(label) => Ok(Place::Label(label.to_owned())),
            None => self.wanted("`pc+N` or a label"),
        }
    }

    /// What stands in brackets.
    pub(super) fn brackets(&mut self) -> Result<&'a str, String> {
        self.expect("[")?;
        match self.rest.split_once(']') {
            Some((inner, rest)) => {
                self.rest = rest.trim_start();
                Ok(inner.trim())
            }
            None => self.wanted("`]`"),
        }
    }

    /// `bpf_…`: the name of a helper, when one comes next.
    pub(super) fn helper_name(&mut self) -> Option<&'a str> {
        if self.peek("bpf_") { self.take(is_word) } else { None }
    }

    /// `rN = map`, `rN = btf_id` or `rN = subprog` before a bracket: the register and the word.
    pub(super) fn wide_load(&mut self) -> Option<(u8, &'static str)> {
        let mut ahead = Cursor { rest: self.rest };
        let (true, dst) = ahead.register()? else { return None };
        if !ahead.eat("=") {
            return None;
        }
        let kind = ["map", "btf_id", "subprog"].into_iter().find(|k| ahead.word(k))?;
        self.rest = ahead.rest;
        Some((dst, kind))
    }
}
