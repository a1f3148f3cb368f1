//! strftime(3) in the C locale over a moment handed in: no clock, zone file or locale is consulted.
//!
//! Enters: a format and a [`WallTime`]; leaves: text. Conversions that strftime(3) does not have are printed as they
//! are. GNU's flags (`-`, `_`, `0`, `^`, `#`) and widths are understood, the `E` and `O` modifiers are skipped.

use skep_bpf::backend::WallTime;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Widths beyond this are taken for this.
const MAX_WIDTH: usize = 256;

/// Which of the language's two time formats is meant; they differ in three conversions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// `time()`: as strftime(3).
    Posix,
    /// `strftime()`: `%f`, `%l` and `%k` are the microseconds, milliseconds and nanoseconds of the second.
    Fractions,
}

/// A moment taken apart. Ranges as in `struct tm`, but a full year.
struct Parts<'a> {
    year: i64,
    /// 0 to 11.
    month: i64,
    /// 1 to 31.
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    /// 0 is Sunday.
    weekday: i64,
    /// 0 to 365.
    yearday: i64,
    at: &'a WallTime,
}

/// `at`, in its local time, in the given format.
pub fn strftime(format: &str, at: &WallTime, dialect: Dialect) -> String {
    let parts = Parts::of(at);
    let mut out = String::new();
    expand(&mut out, format, &parts, dialect);
    out
}

fn expand(out: &mut String, format: &str, parts: &Parts<'_>, dialect: Dialect) {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let (text, conv) = rest.split_at(at);
        out.push_str(text);
        rest = match Conv::parse(&conv[1..]) {
            Some((c, behind)) if c.print(out, parts, dialect) => behind,
            _ => {
                out.push('%');
                &conv[1..]
            }
        };
    }
    out.push_str(rest);
}

/// One conversion.
struct Conv {
    flag: Option<char>,
    upper: bool,
    width: Option<usize>,
    letter: char,
}

impl Conv {
    /// The conversion whose text behind `%` starts `text`, and what follows it.
    fn parse(text: &str) -> Option<(Conv, &str)> {
        let mut conv = Conv { flag: None, upper: false, width: None, letter: '%' };
        let mut chars = text.chars();
        loop {
            let c = chars.next()?;
            match c {
                '-' | '_' => conv.flag = Some(c),
                '0' if conv.width.is_none() => conv.flag = Some(c),
                '^' | '#' => conv.upper = true,
                '0'..='9' => {
                    let digit = c as usize - '0' as usize;
                    conv.width = Some((conv.width.unwrap_or(0) * 10 + digit).min(MAX_WIDTH));
                }
                'E' | 'O' => {}
                letter => {
                    conv.letter = letter;
                    return Some((conv, chars.as_str()));
                }
            }
        }
    }

    /// Prints the conversion; false when there is none of that letter.
    fn print(&self, out: &mut String, p: &Parts<'_>, dialect: Dialect) -> bool {
        if dialect == Dialect::Fractions && self.fraction(out, p) {
            return true;
        }
        if let Some((number, digits, pad)) = p.number(self.letter) {
            self.number(out, number, digits, pad);
            return true;
        }
        let text = match self.letter {
            'a' => short(DAYS.get(p.weekday as usize)),
            'A' => DAYS.get(p.weekday as usize).copied().unwrap_or("?").to_owned(),
            'b' | 'h' => short(MONTHS.get(p.month as usize)),
            'B' => MONTHS.get(p.month as usize).copied().unwrap_or("?").to_owned(),
            'p' => if p.hour < 12 { "AM" } else { "PM" }.to_owned(),
            'P' => if p.hour < 12 { "am" } else { "pm" }.to_owned(),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            '%' => "%".to_owned(),
            'Z' => p.at.zone.clone(),
            'z' => offset(p.at.utc_offset),
            other => match composite(other) {
                Some(format) => {
                    let mut text = String::new();
                    expand(&mut text, format, p, Dialect::Posix);
                    text
                }
                None => return false,
            },
        };
        let text = if self.upper { text.to_uppercase() } else { text };
        pad(out, &text, self.width.unwrap_or(0), if self.flag == Some('0') { '0' } else { ' ' });
        true
    }

    /// The three conversions of fractions; false when the letter is another.
    fn fraction(&self, out: &mut String, p: &Parts<'_>) -> bool {
        let nanos = p.at.nanos;
        let text = match self.letter {
            'f' => format!("{:06}", nanos / 1_000),
            'l' => format!("{:03}", nanos / 1_000_000),
            'k' => format!("{nanos:09}"),
            _ => return false,
        };
        out.push_str(&text);
        true
    }

    /// A number in at least `digits` digits, filled with `fill` unless a flag says otherwise.
    fn number(&self, out: &mut String, number: i64, digits: usize, fill: char) {
        let fill = match self.flag {
            Some('_') => ' ',
            Some('0') => '0',
            _ => fill,
        };
        let width = if self.flag == Some('-') { 0 } else { self.width.unwrap_or(digits) };
        let text = number.unsigned_abs().to_string();
        if number < 0 {
            out.push('-');
        }
        pad(out, &text, width, fill);
    }
}

fn pad(out: &mut String, text: &str, width: usize, fill: char) {
    out.extend(std::iter::repeat_n(fill, width.saturating_sub(text.len())));
    out.push_str(text);
}

fn short(name: Option<&&str>) -> String {
    name.and_then(|n| n.get(..3)).unwrap_or("?").to_owned()
}

fn offset(seconds: i32) -> String {
    let minutes = seconds.unsigned_abs() / 60;
    let sign = if seconds < 0 { '-' } else { '+' };
    format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
}

/// Conversions that stand for several others.
fn composite(letter: char) -> Option<&'static str> {
    Some(match letter {
        'c' => "%a %b %e %H:%M:%S %Y",
        'D' | 'x' => "%m/%d/%y",
        'F' => "%Y-%m-%d",
        'r' => "%I:%M:%S %p",
        'R' => "%H:%M",
        'T' | 'X' => "%H:%M:%S",
        _ => return None,
    })
}

impl Parts<'_> {
    fn of(at: &WallTime) -> Parts<'_> {
        let local = at.secs.saturating_add(i64::from(at.utc_offset));
        let (days, secs) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let before =
            |m: i64| [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][m.clamp(0, 11) as usize];
        let yearday = before(month) + day - 1 + i64::from(month > 1 && leap(year));
        Parts {
            year,
            month,
            day,
            hour: secs / 3_600,
            minute: secs / 60 % 60,
            second: secs % 60,
            weekday: (days + 4).rem_euclid(7),
            yearday,
            at,
        }
    }

    /// Number, digits and fill character of a numeric conversion.
    fn number(&self, letter: char) -> Option<(i64, usize, char)> {
        let twelve = match self.hour % 12 {
            0 => 12,
            h => h,
        };
        Some(match letter {
            'C' => (self.year.div_euclid(100), 2, '0'),
            'd' => (self.day, 2, '0'),
            'e' => (self.day, 2, ' '),
            'g' => (self.iso().0.rem_euclid(100), 2, '0'),
            'G' => (self.iso().0, 1, '0'),
            'H' => (self.hour, 2, '0'),
            'I' => (twelve, 2, '0'),
            'j' => (self.yearday + 1, 3, '0'),
            'k' => (self.hour, 2, ' '),
            'l' => (twelve, 2, ' '),
            'm' => (self.month + 1, 2, '0'),
            'M' => (self.minute, 2, '0'),
            's' => (self.at.secs, 1, '0'),
            'S' => (self.second, 2, '0'),
            'u' => ((self.weekday + 6) % 7 + 1, 1, '0'),
            'U' => ((self.yearday + 7 - self.weekday) / 7, 2, '0'),
            'V' => (self.iso().1, 2, '0'),
            'w' => (self.weekday, 1, '0'),
            'W' => ((self.yearday + 7 - (self.weekday + 6) % 7) / 7, 2, '0'),
            'y' => (self.year.rem_euclid(100), 2, '0'),
            'Y' => (self.year, 1, '0'),
            _ => return None,
        })
    }

    /// Year and week of ISO 8601: weeks start on Monday and belong to the year that has their Thursday.
    fn iso(&self) -> (i64, i64) {
        let thursday = self.yearday + 3 - (self.weekday + 6) % 7;
        let length = |year| if leap(year) { 366 } else { 365 };
        if thursday < 0 {
            (self.year - 1, (thursday + length(self.year - 1)) / 7 + 1)
        } else if thursday >= length(self.year) {
            (self.year + 1, 1)
        } else {
            (self.year, thursday / 7 + 1)
        }
    }
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Year, month (0 to 11) and day (1 to 31) of a day counted from 1970-01-01, in the Gregorian calendar. Years are
/// taken to start in March, so that the leap day is their last, and are counted in eras of 400.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468; // days from 0000-03-01 to 1970-01-01
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 2 } else { from_march - 10 };
    (era * 400 + year_of_era + i64::from(month < 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> WallTime {
        WallTime { secs, nanos: 7_654_321, utc_offset: 0, zone: "UTC".to_owned() }
    }

    /// Moments and what `date -u` (coreutils 9.1) prints for them.
    #[test]
    fn agrees_with_date() {
        let cases = [
            (0, "1970-01-01 00:00:00 Thu 001 00 00 1970 01 4 70 19"),
            (951_782_400, "2000-02-29 00:00:00 Tue 060 09 09 2000 09 2 00 20"),
            (1_609_459_199, "2020-12-31 23:59:59 Thu 366 52 52 2020 53 4 20 20"),
            (1_609_459_200, "2021-01-01 00:00:00 Fri 001 00 00 2020 53 5 21 20"),
            (1_704_067_200, "2024-01-01 00:00:00 Mon 001 00 01 2024 01 1 24 20"),
            (-1, "1969-12-31 23:59:59 Wed 365 52 52 1970 01 3 69 19"),
            (4_107_542_400, "2100-03-01 00:00:00 Mon 060 09 09 2100 09 1 00 21"),
        ];
        for (secs, want) in cases {
            assert_eq!(
                strftime("%F %T %a %j %U %W %G %V %u %y %C", &at(secs), Dialect::Posix),
                want,
                "{secs}"
            );
        }
    }

    #[test]
    fn local_time_and_zone() {
        let when = WallTime { secs: 0, nanos: 0, utc_offset: -12_600, zone: "NST".to_owned() };
        let got = strftime("%c %z %Z %s %I %p %P %r %R", &when, Dialect::Posix);
        assert_eq!(got, "Wed Dec 31 20:30:00 1969 -0330 NST 0 08 PM pm 08:30:00 PM 20:30");
    }

    #[test]
    fn fractions_only_in_their_dialect() {
        assert_eq!(strftime("%S.%f %l %k", &at(3_661), Dialect::Fractions), "01.007654 007 007654321");
        assert_eq!(strftime("%l %k %f", &at(3_661), Dialect::Posix), " 1  1 %f");
    }

    #[test]
    fn flags_widths_and_nonsense() {
        assert_eq!(
            strftime("%-d|%_d|%e|%5Y|%^a|%010s|%Ey|%%", &at(0), Dialect::Posix),
            "1| 1| 1|01970|THU|0000000000|70|%"
        );
        assert_eq!(strftime("%Q %!", &at(0), Dialect::Posix), "%Q %!");
        assert_eq!(strftime("100%", &at(0), Dialect::Posix), "100%");
        assert_eq!(strftime("%999999999999a", &at(0), Dialect::Posix).len(), MAX_WIDTH);
    }

    #[test]
    fn extremes_do_not_overflow() {
        for secs in [i64::MIN, i64::MAX] {
            let when = WallTime { secs, nanos: u32::MAX, utc_offset: i32::MAX, zone: String::new() };
            assert!(!strftime("%c %G %V %C %k", &when, Dialect::Fractions).is_empty());
        }
    }
}
