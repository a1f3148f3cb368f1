//! Error numbers as text.

/// What strerror(3) says of `number`.
pub(crate) fn text(number: i32) -> String {
    let text = std::io::Error::from_raw_os_error(number).to_string();
    match text.rfind(" (os error ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_libc_says() {
        assert_eq!(text(7), "Argument list too long");
        assert_eq!(text(0), "Success");
        assert!(text(99_999).contains("99999"));
    }
}
