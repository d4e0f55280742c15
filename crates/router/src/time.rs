//! Time for the wire (XEP-0082).

/// A time in milliseconds since the Unix epoch as `CCYY-MM-DDThh:mm:ss.sssZ`.
pub fn utc(milliseconds: u64) -> String {
    let (seconds, millis) = (milliseconds / 1000, milliseconds % 1000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Reads a time (XEP-0082: `CCYY-MM-DDThh:mm:ss[.s+](Z|±hh:mm)`) as milliseconds since the Unix epoch; what is before it is 0.
/// `None` for anything else.
pub fn parse_utc(text: &str) -> Option<u64> {
    let text = text.trim();
    let (date, rest) = text.split_once('T')?;
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let known =
        parts.next().is_none() && (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at_checked(zone_at)?;
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
            if hours > 14 || minutes > 59 {
                return None;
            }
            sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60)
        }
    };
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = whole.split(':').map(|part| part.parse::<u8>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if !known || parts.next().is_some() || hour > 23 || minute > 59 || second > 60 || fraction.len() > 12 {
        return None;
    }
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let millis = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    let seconds =
        days(year, month, day) * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second) - offset;
    Some(u64::try_from(seconds * 1000 + millis).unwrap_or(0))
}

/// Days since 1970-01-01 of a civil date (the inverse of [`civil`]). A day past its month's end counts into the next.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The civil date of a day since 1970-01-01 (proleptic Gregorian calendar, counted in eras of 400 years).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    #[test]
    fn xep0082_times_are_utc_with_milliseconds() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_509_153_007, "2026-11-24T08:32:33.007Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(super::utc(at), text);
            assert_eq!(super::parse_utc(text), Some(at));
        }
    }

    #[test]
    fn xep0082_times_are_read_in_all_their_forms() {
        for (text, at) in [
            ("2010-06-07T00:00:00Z", Some(1_275_868_800_000)),
            ("2010-06-07T02:00:00+02:00", Some(1_275_868_800_000)),
            ("2010-06-06T19:00:00.5-05:00", Some(1_275_868_800_500)),
            ("2010-06-07T00:00:00.123456Z", Some(1_275_868_800_123)),
            ("1969-12-31T23:59:59Z", Some(0)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799_000)),
            ("2010-06-07", None),
            ("2010-06-07T00:00:00", None),
            ("2010-13-07T00:00:00Z", None),
            ("2010-06-07T24:00:00Z", None),
            ("2010-06-07T00:00Z", None),
            ("20100607T00:00:00", None),
            ("yesterday", None),
            ("-2010-06-07T00:00:00Z", None),
            ("99999999999-06-07T00:00:00Z", None),
            ("2010-06-07T00:00:00.1x5Z", None),
            ("2010-06-07T00:00:00+99:00", None),
        ] {
            assert_eq!(super::parse_utc(text), at, "{text}");
        }
    }
}
