//! Lines on standard output and standard error.
//!
//! A reader that has gone must not end a command in its middle (the standard library's macros panic then): the command goes on, and
//! [`trouble`] tells at its end what went wrong on standard output. There is nobody to be told of trouble on standard error.

use std::fmt::Arguments;
use std::io::{Error, Write};
use std::sync::OnceLock;

static TROUBLE: OnceLock<Error> = OnceLock::new();

/// Prints a line on standard output.
macro_rules! out {
    ($($text:tt)*) => { $crate::out::line(format_args!($($text)*)) };
}

/// Prints a line on standard error.
macro_rules! note {
    ($($text:tt)*) => { $crate::out::text(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) use {note, out};

/// Prints a line on standard output.
pub(crate) fn line(text: Arguments<'_>) {
    if let Err(error) = writeln!(std::io::stdout(), "{text}") {
        let _ = TROUBLE.set(error);
    }
}

/// Prints a text on standard error as it is.
pub(crate) fn text(text: Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

/// The first thing that went wrong on standard output.
pub(crate) fn trouble() -> Option<&'static Error> {
    TROUBLE.get()
}
