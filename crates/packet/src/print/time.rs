//! Times in front of lines: nanoseconds since 1970 enter, and how the zone was then.

use std::fmt::{self, Write as _};

const SECOND: u64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// What stands in front of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stamp {
    /// Nothing.
    None,
    /// The time of day.
    Clock,
    /// Seconds since 1970.
    Seconds,
    /// The time since the packet before.
    SincePrevious,
    /// Date and time of day.
    Date,
    /// The time since the first packet.
    SinceFirst,
}

/// The zone's offset from UTC, in seconds, at a moment in seconds since 1970.
pub struct Zone(pub Box<dyn Fn(i64) -> i32>);

impl Zone {
    /// UTC.
    pub fn utc() -> Zone {
        Zone(Box::new(|_| 0))
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zone")
    }
}

/// Stamps one packet after the other.
#[derive(Debug)]
pub(super) struct Clock {
    stamp: Stamp,
    zone: Zone,
    first: Option<u64>,
    previous: Option<u64>,
    /// The zone's offset in the quarter of an hour (since 1970) that was asked for last: zones change at no other times.
    offset: Option<(u64, i32)>,
}

impl Clock {
    pub(super) fn new(stamp: Stamp, zone: Zone) -> Clock {
        Clock { stamp, zone, first: None, previous: None, offset: None }
    }

    pub(super) fn stamp(&mut self, time: u64, out: &mut String) {
        let first = *self.first.get_or_insert(time);
        let previous = self.previous.replace(time).unwrap_or(time);
        let micros = time % SECOND / 1000;
        match self.stamp {
            Stamp::None => {}
            Stamp::Clock => {
                let (_, second) = self.local(time);
                let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
                let _ = write!(out, "{hour:02}:{minute:02}:{second:02}.{micros:06} ");
            }
            Stamp::Date => {
                let (day, second) = self.local(time);
                let (year, month, day) = civil(day);
                let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
                let _ = write!(
                    out,
                    "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06} "
                );
            }
            Stamp::Seconds => {
                let _ = write!(out, "{}.{micros:06} ", time / SECOND);
            }
            Stamp::SincePrevious => since(previous, time, out),
            Stamp::SinceFirst => since(first, time, out),
        }
    }

    /// Days since 1970 and the second of the day.
    fn local(&mut self, time: u64) -> (i64, i64) {
        let seconds = (time / SECOND) as i64;
        let quarter = time / SECOND / 900;
        let offset = match self.offset {
            Some((known, offset)) if known == quarter => offset,
            _ => (self.zone.0)(seconds),
        };
        self.offset = Some((quarter, offset));
        let local = seconds + i64::from(offset);
        (local.div_euclid(DAY), local.rem_euclid(DAY))
    }
}

fn since(from: u64, to: u64, out: &mut String) {
    let sign = if to < from { "-" } else { " " };
    let ns = to.abs_diff(from);
    let seconds = ns / SECOND;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = write!(out, "{sign}{hour:02}:{minute:02}:{second:02}.{:06} ", ns % SECOND / 1000);
}

/// Year, month and day of a day since 1970 in the Gregorian calendar.
pub fn civil(day: i64) -> (i64, i64, i64) {
    // Years that begin in March, in eras of 400 of them.
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        let time = 1_709_210_096_007_008_999; // 2024-02-29 12:34:56 UTC
        let one = |stamp, zone: Zone| {
            let mut clock = Clock::new(stamp, zone);
            let mut out = String::new();
            clock.stamp(time, &mut out);
            clock.stamp(time + 3_661_000_001_000, &mut out);
            out
        };
        assert_eq!(one(Stamp::None, Zone::utc()), "");
        assert_eq!(one(Stamp::Clock, Zone::utc()), "12:34:56.007008 13:35:57.007009 ");
        assert_eq!(one(Stamp::Clock, Zone(Box::new(|_| -46_000))), "23:48:16.007008 00:49:17.007009 ");
        assert_eq!(one(Stamp::Seconds, Zone::utc()), "1709210096.007008 1709213757.007009 ");
        assert_eq!(one(Stamp::SincePrevious, Zone::utc()), " 00:00:00.000000  01:01:01.000001 ");
        assert_eq!(
            one(Stamp::Date, Zone(Box::new(|_| -46_000))),
            "2024-02-28 23:48:16.007008 2024-02-29 00:49:17.007009 "
        );
    }

    #[test]
    fn days_have_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(-1), (1969, 12, 31));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(19_782), (2024, 2, 29));
    }
}
