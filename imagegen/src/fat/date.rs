//! DOS dates and times: local time without a zone, here UTC; 1980 to 2107, in steps of two seconds.

use crate::tree::Timestamp;

const SECONDS_PER_DAY: i64 = 86_400;
/// 1980-01-01 and 2107-12-31 23:59:59, in seconds since 1970.
const FIRST: i64 = 315_532_800;
const LAST: i64 = 4_354_819_199;

/// A moment as a directory entry says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moment {
    /// Years since 1980 in bits 15-9, month in 8-5, day in 4-0.
    pub date: u16,
    /// Hours in bits 15-11, minutes in 10-5, seconds halved in 4-0.
    pub time: u16,
    /// Hundredths of a second beyond that: 0 to 199.
    pub hundredths: u8,
}

impl Moment {
    /// Converts a time; one outside the range becomes its nearest end.
    pub fn new(time: Timestamp) -> Self {
        let seconds = time.seconds.clamp(FIRST, LAST);
        let nanoseconds = if seconds == time.seconds { time.nanoseconds } else { 0 };
        let (year, month, day) = civil(seconds.div_euclid(SECONDS_PER_DAY));
        let second = seconds.rem_euclid(SECONDS_PER_DAY);
        Moment {
            date: ((year - 1980) << 9 | month << 5 | day) as u16,
            time: (((second / 3600) << 11) | ((second / 60 % 60) << 5) | (second % 60 / 2)) as u16,
            hundredths: (second % 2 * 100) as u8 + (nanoseconds / 10_000_000).min(99) as u8,
        }
    }
}

/// Returns the time that a date and a time of an entry say; 1970 for those that are no day, such as 0.
pub(super) fn timestamp(date: u16, time: u16) -> Timestamp {
    let (year, month, day) = (i64::from(date >> 9) + 1980, usize::from(date >> 5 & 15), i64::from(date & 31));
    let (hour, minute, second) = (i64::from(time >> 11), i64::from(time >> 5 & 63), i64::from(time & 31) * 2);
    if !(1..=12).contains(&month) || !(1..=lengths(year)[month - 1]).contains(&day) {
        return Timestamp::default();
    }
    let leap_days = (1980..year).filter(|&year| is_leap(year)).count() as i64;
    let days = (year - 1980) * 365 + leap_days + lengths(year)[..month - 1].iter().sum::<i64>() + day - 1;
    Timestamp { seconds: FIRST + days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second, nanoseconds: 0 }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Returns the days of the year's months.
fn lengths(year: i64) -> [i64; 12] {
    [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Returns year, month and day of a day since 1970, of the years this file serves.
fn civil(mut day: i64) -> (i64, i64, i64) {
    let mut year = 1970;
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = lengths(year);
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    (year, month as i64 + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanoseconds: u32) -> (u16, u16, u16, u16, u16, u16, u8) {
        let Moment { date, time, hundredths } = Moment::new(Timestamp { seconds, nanoseconds });
        ((date >> 9) + 1980, date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2, hundredths)
    }

    #[test]
    fn days_of_the_calendar() {
        assert_eq!(at(1_600_000_000, 0), (2020, 9, 13, 12, 26, 40, 0));
        assert_eq!(at(1_600_000_001, 250_000_000), (2020, 9, 13, 12, 26, 40, 125));
        assert_eq!(at(951_782_399, 0), (2000, 2, 28, 23, 59, 58, 100));
        assert_eq!(at(951_782_400, 0), (2000, 2, 29, 0, 0, 0, 0));
        assert_eq!(at(4_107_542_400, 0), (2100, 3, 1, 0, 0, 0, 0));
    }

    #[test]
    fn days_come_back_to_two_seconds() {
        for seconds in [FIRST, 951_782_399, 951_782_400, 1_600_000_000, 4_107_542_400, LAST - 1] {
            let moment = Moment::new(Timestamp { seconds, nanoseconds: 0 });
            assert_eq!(timestamp(moment.date, moment.time).seconds, seconds / 2 * 2);
        }
        for (date, time) in [(0, 0), (0x21 | 13 << 5, 0), (2 << 5 | 30, 0)] {
            assert_eq!(timestamp(date, time), Timestamp::default());
        }
    }

    #[test]
    fn times_out_of_range_become_its_ends() {
        assert_eq!(at(0, 5), (1980, 1, 1, 0, 0, 0, 0));
        assert_eq!(at(i64::MIN, 0), at(FIRST, 0));
        assert_eq!(at(i64::MAX, 999_999_999), (2107, 12, 31, 23, 59, 58, 100));
        assert_eq!(at(LAST + 1, 0), at(LAST, 0));
    }
}
