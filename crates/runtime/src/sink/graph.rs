//! Time series as a graph of characters, in the reference's layout: one line for each interval, the values between the
//! least at the left edge and the greatest at the right one.

use skep_bpf::schema::Clock;

use crate::maps::series::Series;
use crate::render::{self, Names, write_into};
use crate::strftime::{Dialect, strftime};
use crate::value::Value;

/// Columns of the graph, its edges included.
const WIDTH: usize = 53;
/// Columns of the least value above and below the graph.
const LEAST: usize = 21;
const SECOND: u64 = 1_000_000_000;

/// How moments print: the strftime format, its columns, and the head of its column.
type TimeColumn = (&'static str, usize, &'static str);

/// Intervals of at least so many nanoseconds have their moments printed so.
const COLUMNS: [(u64, TimeColumn); 4] = [
    (SECOND, ("%H:%M:%S", 8, "hh:mm:ss")),
    (1_000_000, ("%H:%M:%S.%l", 12, "hh:mm:ss.ms")),
    (1_000, ("%H:%M:%S.%f", 15, "hh:mm:ss.μs")),
    (0, ("%H:%M:%S.%k", 18, "hh:mm:ss.ns")),
];

/// The least and greatest value of a graph.
struct Scale<'a> {
    least: Value<'a>,
    greatest: Value<'a>,
}

fn number(value: &Value<'_>) -> i128 {
    match value {
        Value::Int(i) => i128::from(*i),
        _ => value.bits().map_or(0, i128::from),
    }
}

impl Scale<'static> {
    /// `None` without any value. A single value gets room on both sides, where its type has it.
    fn of(series: &Series) -> Option<Scale<'static>> {
        let values = || series.points.iter().filter_map(|(_, value)| value.as_ref());
        let least = values().min_by_key(|v| number(v))?.clone();
        let greatest = values().max_by_key(|v| number(v))?.clone();
        Some(match (least, greatest) {
            (Value::Int(a), Value::Int(b)) if a == b => {
                Scale { least: Value::Int(a.saturating_sub(1)), greatest: Value::Int(b.saturating_add(1)) }
            }
            (Value::Uint(a), Value::Uint(b)) if a == b => {
                Scale { least: Value::Uint(a.saturating_sub(1)), greatest: Value::Uint(b.saturating_add(1)) }
            }
            (least, greatest) => Scale { least, greatest },
        })
    }

    /// Column of `value` among `columns`, in single precision as the reference computes it.
    fn column(&self, value: i128, columns: usize) -> usize {
        let (least, greatest) = (number(&self.least), number(&self.greatest));
        if least == greatest {
            return WIDTH / 2;
        }
        let at = columns as f32 * (value - least) as f32 / (greatest - least) as f32;
        (at as usize).min(WIDTH - 1)
    }

    /// The two values above or below the graph.
    fn labels(&self, out: &mut Vec<u8>, names: &mut Names<'_>) {
        let mut text = |value: &Value<'_>| {
            let mut text = Vec::new();
            render::text(&mut text, value, names);
            String::from_utf8_lossy(&text).into_owned()
        };
        let (least, greatest) = (text(&self.least), text(&self.greatest));
        write_into(out, format_args!("{least:<LEAST$}{greatest:>width$}\n", width = WIDTH - LEAST));
    }
}

/// Appends the graph of `series`, with a newline at its end.
pub(super) fn draw(out: &mut Vec<u8>, series: &Series, names: &mut Names<'_>) {
    let Some(scale) = Scale::of(series) else {
        out.extend_from_slice(b"<no data>");
        return;
    };
    let interval = if series.points.len() > 1 { series.interval } else { 0 };
    let known = COLUMNS.iter().find(|(from, _)| interval >= *from);
    let (format, columns, head) = known.map_or(("%H:%M:%S", 8, "hh:mm:ss"), |c| c.1);
    write_into(out, format_args!("{:columns$} ", ""));
    scale.labels(out, names);
    // Filled by bytes, not by characters, as the reference does it.
    let missing = (columns + 1).saturating_sub(head.len());
    write_into(out, format_args!("{head}{:missing$}|{:_<51}|\n", "", ""));
    let zero = (number(&scale.least) < 0 && number(&scale.greatest) > 0).then(|| scale.column(0, WIDTH));
    for (epoch, value) in &series.points {
        let moment = names.moment(Clock::Tai, epoch.saturating_mul(series.interval));
        out.extend_from_slice(strftime(format, &moment, Dialect::Fractions).as_bytes());
        out.push(b' ');
        let mut line = [b' '; WIDTH];
        let marks = [
            (0, b'|', true),
            (WIDTH - 1, b'|', true),
            (zero.unwrap_or(0), b'.', zero.is_some_and(|z| z > 0)),
            (value.as_ref().map_or(0, |v| scale.column(number(v), WIDTH - 1)), b'*', value.is_some()),
        ];
        for (at, mark, there) in marks {
            if let Some(place) = line.get_mut(at).filter(|_| there) {
                *place = mark;
            }
        }
        out.extend_from_slice(&line);
        out.push(b' ');
        match value {
            Some(value) => render::text(out, value, names),
            None => out.push(b'-'),
        }
        out.push(b'\n');
    }
    write_into(out, format_args!("{:columns$} v{:_<51}v\n{:columns$} ", "", "", ""));
    scale.labels(out, names);
}
