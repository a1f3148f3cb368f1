//! Tracepoint formats: the text of `events/CATEGORY/NAME/format` in tracefs (kernel/trace/trace_events.c, `f_show`,
//! Linux 6.18) enters, the layout of the record leaves. The text is bounded before it is read; what it says of offsets
//! is checked for overflow and nothing more: a reader of records must still compare with the record's size.

/// Longest text that is read, in bytes.
const MAX_TEXT: usize = 1 << 20;
/// Most fields.
const MAX_FIELDS: usize = 1024;

/// Layout of one tracepoint's record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TracepointFormat {
    /// Name, without category.
    pub name: String,
    /// Number for perf_event_attr.config.
    pub id: u32,
    /// Fields in the order of the text: those common to all tracepoints first.
    pub fields: Vec<TpField>,
    /// Text behind `print fmt:`, as it is.
    pub print_fmt: String,
}

/// One field of the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TpField {
    /// Name.
    pub name: String,
    /// C type as the kernel writes it, of one element for arrays, without `__data_loc` and `__rel_loc`.
    pub c_type: String,
    /// Elements of a fixed array; `None`: no array, or one of unknown length.
    pub array_len: Option<u32>,
    /// Bytes from the start of the record.
    pub offset: u32,
    /// Bytes in all.
    pub size: u32,
    /// Whether integers (elements) have a sign.
    pub signed: bool,
    /// Whether the field says where its content lies.
    pub data_loc: DataLoc,
    /// One of the `common_` fields that every record starts with.
    pub common: bool,
}

/// How a field of variable length is found: the field's u32 holds the length in bytes in its upper 16 bits and an
/// offset in the lower.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DataLoc {
    /// The content is in the field.
    #[default]
    None,
    /// `__data_loc`: offset from the start of the record.
    Absolute,
    /// `__rel_loc` (5.17): offset from the end of the field.
    Relative,
}

/// A text that is no format.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("tracepoint format, line {line}: {what}")]
pub struct FormatError {
    /// Line, 1-based; 0: the whole text.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl TracepointFormat {
    /// Parses the text of a `format` file.
    pub fn parse(text: &str) -> Result<TracepointFormat, FormatError> {
        if text.len() > MAX_TEXT {
            return Err(FormatError { line: 0, what: format!("{} bytes are too many", text.len()) });
        }
        let mut format = TracepointFormat::default();
        let mut id = None;
        for (line, text) in (1..).zip(text.lines()) {
            let fail = |what: String| FormatError { line, what };
            let text = text.trim();
            if let Some(rest) = text.strip_prefix("field:") {
                if format.fields.len() == MAX_FIELDS {
                    return Err(fail("too many fields".to_owned()));
                }
                format.fields.push(field(rest).map_err(fail)?);
            } else if let Some(rest) = text.strip_prefix("name:") {
                format.name = rest.trim().to_owned();
            } else if let Some(rest) = text.strip_prefix("ID:") {
                id = Some(number(rest).map_err(fail)?);
            } else if let Some(rest) = text.strip_prefix("print fmt:") {
                format.print_fmt = rest.trim().to_owned();
            }
        }
        match id {
            Some(id) => Ok(TracepointFormat { id, ..format }),
            None => Err(FormatError { line: 0, what: "no ID".to_owned() }),
        }
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&TpField> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// The fields of this tracepoint's own.
    pub fn own_fields(&self) -> impl Iterator<Item = &TpField> {
        self.fields.iter().filter(|f| !f.common)
    }

    /// Bytes up to the end of the last field (variable parts lie behind).
    pub fn size(&self) -> u32 {
        self.fields.iter().map(|f| f.offset.saturating_add(f.size)).max().unwrap_or(0)
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| format!("`{}` is no number", text.trim()))
}

/// What follows `field:`: a declaration and `offset:N; size:N; signed:N;`.
fn field(text: &str) -> Result<TpField, String> {
    let mut parts = text.split(';').map(str::trim);
    let declaration = parts.next().unwrap_or("");
    let (mut offset, mut size, mut signed) = (None, None, false);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", n)) => offset = Some(number(n)?),
            Some(("size", n)) => size = Some(number(n)?),
            Some(("signed", n)) => signed = number(n)? != 0,
            _ => {}
        }
    }
    let (Some(offset), Some(size)) = (offset, size) else {
        return Err(format!("`{declaration}` without offset or size"));
    };
    if offset.checked_add(size).is_none() {
        return Err(format!("`{declaration}` lies at {offset}, {size} bytes long"));
    }
    let d = declarator(declaration)?;
    let array_len = d.dimensions.and_then(|text| array_len(text, size, element_size(&d.c_type)));
    Ok(TpField {
        common: d.name.starts_with("common_"),
        array_len: if d.data_loc == DataLoc::None { array_len } else { None },
        name: d.name.to_owned(),
        c_type: d.c_type,
        offset,
        size,
        signed,
        data_loc: d.data_loc,
    })
}

struct Declarator<'a> {
    name: &'a str,
    c_type: String,
    /// What stands between the first `[` and the last `]`.
    dimensions: Option<&'a str>,
    data_loc: DataLoc,
}

/// Takes `__data_loc char[] name`, `const char * name` or `char name[16]` apart.
fn declarator(text: &str) -> Result<Declarator<'_>, String> {
    let (text, data_loc) = match text.split_once(char::is_whitespace) {
        Some(("__data_loc", rest)) => (rest.trim(), DataLoc::Absolute),
        Some(("__rel_loc", rest)) => (rest.trim(), DataLoc::Relative),
        _ => (text, DataLoc::None),
    };
    let (before, dimensions) = match text.strip_suffix(']').and_then(|t| t.split_once('[')) {
        Some((before, dimensions)) => (before.trim_end(), Some(dimensions)),
        None => (text, None),
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let start = before.rfind(|c| !is_word(c)).map_or(0, |at| at + 1);
    let (c_type, name) = before.split_at_checked(start).unwrap_or((before, ""));
    let c_type = c_type.trim();
    let c_type = c_type.strip_suffix("[]").unwrap_or(c_type).trim_end();
    if name.is_empty() || c_type.is_empty() {
        return Err(format!("`{text}` is no declaration"));
    }
    Ok(Declarator { name, c_type: c_type.to_owned(), dimensions, data_loc })
}

/// Length of an array: from its numbers, or where it is written with a constant's name, from the sizes.
fn array_len(dimensions: &str, size: u32, element: Option<u32>) -> Option<u32> {
    let written = dimensions.split("][").try_fold(1u32, |n, d| n.checked_mul(d.trim().parse().ok()?));
    written.or_else(|| size.checked_div(element?))
}

/// Bytes of the C types that tracepoints name.
fn element_size(c_type: &str) -> Option<u32> {
    const SIZES: [(&str, u32); 22] = [
        ("char", 1),
        ("signed char", 1),
        ("unsigned char", 1),
        ("bool", 1),
        ("u8", 1),
        ("__u8", 1),
        ("s8", 1),
        ("uint8_t", 1),
        ("short", 2),
        ("unsigned short", 2),
        ("u16", 2),
        ("__u16", 2),
        ("int", 4),
        ("unsigned int", 4),
        ("u32", 4),
        ("__u32", 4),
        ("__be32", 4),
        ("long", 8),
        ("unsigned long", 8),
        ("u64", 8),
        ("__u64", 8),
        ("unsigned long long", 8),
    ];
    if c_type.ends_with('*') {
        return Some(8);
    }
    let bare = c_type.strip_prefix("const ").unwrap_or(c_type);
    SIZES.iter().find(|(name, _)| *name == bare).map(|(_, size)| *size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "name: sched_process_exec
ID: 311
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;
\tfield:__rel_loc u8[] tail;\toffset:12;\tsize:4;\tsigned:0;
\tfield:const char * path;\toffset:16;\tsize:8;\tsigned:0;
\tfield:char comm[16];\toffset:24;\tsize:16;\tsigned:0;
\tfield:u32 args[ARG_COUNT];\toffset:40;\tsize:24;\tsigned:0;
\tfield:struct sockaddr addr[2][3];\toffset:64;\tsize:96;\tsigned:0;
\tfield:unsigned long long *p;\toffset:160;\tsize:8;\tsigned:0;

print fmt: \"filename=%s\", __get_str(filename)
";

    #[test]
    fn a_format_with_every_kind_of_field() {
        let f = TracepointFormat::parse(TEXT).unwrap();
        assert_eq!((f.name.as_str(), f.id, f.size()), ("sched_process_exec", 311, 168));
        assert_eq!(f.print_fmt, "\"filename=%s\", __get_str(filename)");
        let of = |name: &str| {
            let f = f.field(name).unwrap();
            (f.c_type.as_str(), f.array_len, f.data_loc)
        };
        assert_eq!(of("common_pid"), ("int", None, DataLoc::None));
        assert_eq!(of("filename"), ("char", None, DataLoc::Absolute));
        assert_eq!(of("tail"), ("u8", None, DataLoc::Relative));
        assert_eq!(of("path"), ("const char *", None, DataLoc::None));
        assert_eq!(of("comm"), ("char", Some(16), DataLoc::None));
        assert_eq!(of("args"), ("u32", Some(6), DataLoc::None));
        assert_eq!(of("addr"), ("struct sockaddr", Some(6), DataLoc::None));
        assert_eq!(of("p"), ("unsigned long long *", None, DataLoc::None));
        assert_eq!(f.own_fields().count(), 7);
        assert!(f.field("common_pid").unwrap().signed);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fails = |text: &str| TracepointFormat::parse(text).unwrap_err().to_string();
        assert!(fails("format:\n").contains("no ID"));
        assert!(fails("ID: x\n").contains("line 1: `x` is no number"));
        assert!(fails("ID: 1\nfield:int a;\toffset:0;\n").contains("line 2: `int a` without"));
        assert!(fails("ID: 1\nfield:int;\toffset:0;\tsize:4;\n").contains("no declaration"));
        assert!(fails("ID: 1\nfield:int a;\toffset:4294967295;\tsize:4;\n").contains("lies at"));
        assert!(
            fails(&format!("ID: 1\n{}", "field:int a; offset:0; size:4;\n".repeat(1025)))
                .contains("too many")
        );
        assert!(fails(&" ".repeat(MAX_TEXT + 1)).contains("too many"));
    }

    /// Every format of this machine, where tracefs is mounted.
    #[test]
    fn the_running_kernels_formats() {
        let events = std::path::Path::new("/sys/kernel/tracing/events");
        let folders = |path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
        let mut read = 0;
        for path in folders(events.to_owned()).flat_map(folders) {
            let Ok(text) = std::fs::read_to_string(path.join("format")) else { continue };
            let format = TracepointFormat::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(format.fields.len(), text.matches("\tfield:").count(), "{}", path.display());
            for f in &format.fields {
                let element = element_size(&f.c_type).filter(|_| f.data_loc == DataLoc::None);
                if let (Some(element), Some(len)) = (element, f.array_len) {
                    assert_eq!(element * len, f.size, "{}: {f:?}", path.display());
                }
            }
            read += 1;
        }
        eprintln!("{read} formats");
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(cut in 0..TEXT.len(), with in "\\PC{0,12}", len in 0usize..40) {
            let mut text = TEXT.to_owned();
            let end = (cut + len).min(text.len());
            text.replace_range(cut..end, &with);
            let _ = TracepointFormat::parse(&text);
        }
    }
}
