//! Times of the week: when something starts, and between which hours it may.

use std::str::FromStr;

use jiff::Zoned;
use jiff::civil::Weekday;

use crate::error::{Error, Result};

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// `Sun 03:00`, `Mon-Fri 08:00`, `03:00`.
#[derive(Clone, Debug, PartialEq)]
pub struct When {
    days: Days,
    minute: u16,
}

/// `02:00-05:00`, `Sat,Sun 22:00-04:00`: the days are those on which it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    days: Days,
    from: u16,
    to: u16,
}

/// Positions in [`DAYS`]; all of them if none is named.
#[derive(Clone, Debug, PartialEq)]
struct Days(Vec<usize>);

impl FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Days, String> {
        let day = |word: &str| {
            let found = DAYS.iter().position(|(name, _)| name.eq_ignore_ascii_case(word.trim()));
            found.ok_or_else(|| format!("`{word}` is no day; they are Mon, Tue, Wed, Thu, Fri, Sat, Sun"))
        };
        let mut days = Vec::new();
        for part in text.split(',') {
            match part.replace("..", "-").split_once('-') {
                None => days.push(day(part)?),
                Some((first, last)) => {
                    let (first, last) = (day(first)?, day(last)?);
                    let length = (last + 7 - first) % 7;
                    days.extend((0..=length).map(|step| (first + step) % 7));
                }
            }
        }
        days.sort_unstable();
        days.dedup();
        Ok(Days(days))
    }
}

/// `HH:MM` as minutes of the day.
fn clock(text: &str) -> Result<u16, String> {
    let wrong = || format!("`{text}` is no time of day; write it as 03:00");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str, most: u16| match text.len() {
        1 | 2 => text.parse::<u16>().ok().filter(|number| *number < most).ok_or_else(wrong),
        _ => Err(wrong()),
    };
    Ok(number(hours, 24)? * 60 + number(minutes, 60)?)
}

/// Days, if there are any, and the rest.
fn split(text: &str) -> Result<(Days, &str), String> {
    match text.trim().rsplit_once(' ') {
        None => Ok((Days((0..7).collect()), text.trim())),
        Some((days, rest)) => Ok((days.replace(' ', "").parse()?, rest)),
    }
}

impl FromStr for When {
    type Err = Error;

    fn from_str(text: &str) -> Result<When> {
        let parse = || -> Result<When, String> {
            let (days, rest) = split(text)?;
            Ok(When { days, minute: clock(rest)? })
        };
        parse().map_err(|why| {
            Error::new(format!("`{text}` does not say when: {why}")).hint("e.g. 'Sun 03:00', 'Mon-Fri 08:00', '03:00'")
        })
    }
}

impl When {
    /// For `OnCalendar=`.
    pub fn systemd(&self, zone: Option<&str>) -> String {
        let days = match self.days.0.len() {
            7 => String::new(),
            _ => self.days.0.iter().map(|day| DAYS[*day].0).collect::<Vec<_>>().join(",") + " ",
        };
        let zone = zone.map(|zone| format!(" {zone}")).unwrap_or_default();
        format!("{days}*-*-* {:02}:{:02}:00{zone}", self.minute / 60, self.minute % 60)
    }

    /// The five fields of a line for cron.
    pub fn cron(&self) -> String {
        let days = match self.days.0.len() {
            7 => "*".to_owned(),
            _ => self.days.0.iter().map(|day| ((day + 1) % 7).to_string()).collect::<Vec<_>>().join(","),
        };
        format!("{} {} * * {days}", self.minute % 60, self.minute / 60)
    }
}

impl FromStr for Window {
    type Err = Error;

    fn from_str(text: &str) -> Result<Window> {
        let parse = || -> Result<Window, String> {
            let (days, rest) = split(text)?;
            let (from, to) = rest.split_once('-').ok_or_else(|| "an end is missing".to_owned())?;
            Ok(Window { days, from: clock(from)?, to: clock(to)? })
        };
        parse().map_err(|why| {
            Error::new(format!("`{text}` is no window: {why}")).hint("e.g. '02:00-05:00', 'Sat,Sun 22:00-04:00'")
        })
    }
}

impl Window {
    /// Is it open at this time?
    pub fn holds(&self, now: &Zoned) -> bool {
        let minute = u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).unwrap_or(0);
        let begins = |day: Weekday| self.days.0.iter().any(|index| DAYS[*index].1 == day);
        let (today, yesterday) = (now.weekday(), now.weekday().previous());
        match self.from <= self.to {
            true => begins(today) && (self.from..self.to).contains(&minute),
            // over midnight
            false => (begins(today) && minute >= self.from) || (begins(yesterday) && minute < self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_for_both_clocks() {
        for (text, systemd, cron) in [
            ("03:00", "*-*-* 03:00:00", "0 3 * * *"),
            ("Sun 3:05", "Sun *-*-* 03:05:00", "5 3 * * 0"),
            ("Mon-Fri 08:00", "Mon,Tue,Wed,Thu,Fri *-*-* 08:00:00", "0 8 * * 1,2,3,4,5"),
            ("sat, mon 22:30", "Mon,Sat *-*-* 22:30:00", "30 22 * * 1,6"),
            ("Sat..Mon 00:00", "Mon,Sat,Sun *-*-* 00:00:00", "0 0 * * 1,6,0"),
        ] {
            let when: When = text.parse().unwrap();
            assert_eq!((when.systemd(None).as_str(), when.cron().as_str()), (systemd, cron), "{text}");
        }
        assert_eq!("03:00".parse::<When>().unwrap().systemd(Some("Europe/Madrid")), "*-*-* 03:00:00 Europe/Madrid");
        for wrong in ["", "25:00", "3", "Son 03:00", "03:00-05:00", "Sun", "03:000"] {
            assert!(wrong.parse::<When>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn windows_hold_over_midnight_and_in_their_zone() {
        let at = |text: &str| text.parse::<Zoned>().unwrap();
        for (window, time, holds) in [
            // 2026-11-28 is a Saturday
            ("02:00-05:00", "2026-11-28T02:00[Europe/Madrid]", true),
            ("02:00-05:00", "2026-11-28T05:00[Europe/Madrid]", false),
            ("22:00-04:00", "2026-11-28T23:10[UTC]", true),
            ("22:00-04:00", "2026-11-28T12:00[UTC]", false),
            ("Sat 22:00-04:00", "2026-11-29T03:59[UTC]", true),
            ("Sat 22:00-04:00", "2026-11-28T03:59[UTC]", false),
            ("Mon-Fri 00:00-23:59", "2026-11-28T12:00[UTC]", false),
        ] {
            assert_eq!(window.parse::<Window>().unwrap().holds(&at(time)), holds, "{window} {time}");
        }
        for wrong in ["02:00", "2-5", "Sat", "02:00-24:00"] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
    }
}
