//! Tokens of the text form, each with its line and column (1-based, columns in characters).

use super::parse::ParseError;

/// A token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// Letters, digits, `_` and `.`, starting with a letter or `_`.
    Word(String),
    /// A number, decimal or `0x…`, with its sign.
    Number(i128),
    /// What stands in quotes, unescaped.
    Text(String),
    /// `->` as '>', else the character itself.
    Mark(char),
    /// The end.
    End,
}

/// A token and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Spanned {
    /// The token.
    pub token: Token,
    /// Line, 1-based.
    pub line: u32,
    /// Column, 1-based.
    pub column: u32,
}

struct Lexer<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    line: u32,
    column: u32,
}

/// All tokens of `text`, [`Token::End`] last.
pub(super) fn lex(text: &str) -> Result<Vec<Spanned>, ParseError> {
    let mut lexer = Lexer { chars: text.chars().peekable(), line: 1, column: 1 };
    let mut out = Vec::new();
    loop {
        lexer.skip_blank();
        let (line, column) = (lexer.line, lexer.column);
        let token = lexer.token()?;
        let end = token == Token::End;
        out.push(Spanned { token, line, column });
        if end {
            return Ok(out);
        }
    }
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        if c == '\n' {
            self.line = self.line.saturating_add(1);
            self.column = 1;
        } else {
            self.column = self.column.saturating_add(1);
        }
        Some(c)
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.chars.peek() {
            match c {
                ';' => {
                    while self.chars.peek().is_some_and(|c| *c != '\n') {
                        self.next();
                    }
                }
                c if c.is_whitespace() => {
                    self.next();
                }
                _ => return,
            }
        }
    }

    fn error<T>(&self, message: &str) -> Result<T, ParseError> {
        Err(ParseError { line: self.line, column: self.column, message: message.to_owned() })
    }

    fn take_while(&mut self, mut good: impl FnMut(char) -> bool) -> String {
        let mut out = String::new();
        while let Some(&c) = self.chars.peek()
            && good(c)
        {
            out.push(c);
            self.next();
        }
        out
    }

    fn token(&mut self) -> Result<Token, ParseError> {
        let Some(&c) = self.chars.peek() else { return Ok(Token::End) };
        match c {
            '"' => self.text(),
            '0'..='9' => self.number(1),
            'a'..='z' | 'A'..='Z' | '_' => {
                Ok(Token::Word(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')))
            }
            _ => {
                self.next();
                match (c, self.chars.peek()) {
                    ('-', Some('>')) => {
                        self.next();
                        Ok(Token::Mark('>'))
                    }
                    ('-', Some('0'..='9')) => self.number(-1),
                    _ => Ok(Token::Mark(c)),
                }
            }
        }
    }

    fn number(&mut self, sign: i128) -> Result<Token, ParseError> {
        let digits = self.take_while(|c| c.is_ascii_alphanumeric());
        let parsed = match digits.strip_prefix("0x") {
            Some(hex) => i128::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        match parsed {
            Ok(n) if n <= i128::from(u64::MAX) => Ok(Token::Number(sign * n)),
            _ => self.error("not a number of 64 bits"),
        }
    }

    fn text(&mut self) -> Result<Token, ParseError> {
        self.next();
        let mut out = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(Token::Text(out)),
                Some('\\') => out.push(self.escape()?),
                Some('\n') | None => return self.error("the string has no end"),
                Some(c) => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        match self.next() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some(c @ ('\\' | '"' | '\'')) => Ok(c),
            Some('u') if self.chars.peek() == Some(&'{') => {
                self.next();
                let hex = self.take_while(|c| c.is_ascii_hexdigit());
                let c = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                match (self.next(), c) {
                    (Some('}'), Some(c)) => Ok(c),
                    _ => self.error("not a character"),
                }
            }
            _ => self.error("unknown escape"),
        }
    }
}
