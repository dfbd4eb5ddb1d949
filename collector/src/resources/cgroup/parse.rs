//! What the kernel writes into its accounting files. What cannot be read is `None`, never 0.

use crate::resources::model::Traffic;

/// A file of one number. `max`, negative and empty are none.
pub(super) fn single(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A file of one number that may be negative.
pub(super) fn signed(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// The number after `key` in a file of `key number` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Quota and period of `cpu.max`: `20000 100000`; without a quota `max 100000`.
pub(super) fn cpu_max(text: &str) -> Option<(i64, i64)> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some((quota.parse().ok()?, period.parse().ok()?))
}

/// `some avg10` of a pressure file, percent of time.
pub(super) fn pressure(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let value = line.split(' ').find_map(|field| field.strip_prefix("avg10="))?;
    value.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))
}

/// `io.stat` of version 2, over all devices: `254:0 rbytes=1 wbytes=2 rios=…`.
pub(super) fn io_stat(text: &str) -> Option<Traffic> {
    let field = |line: &str, name: &str| -> Option<u64> {
        line.split_ascii_whitespace().find_map(|field| field.strip_prefix(name))?.parse().ok()
    };
    let devices = text.lines().filter_map(|line| {
        Some(Traffic { received: field(line, "rbytes=")?, sent: field(line, "wbytes=")? })
    });
    sum(devices)
}

/// `blkio.throttle.io_service_bytes_recursive` of version 1: `254:0 Read 1`, and a `Total` at the
/// end, which alone means that nothing was read or written.
pub(super) fn blkio(text: &str) -> Option<Traffic> {
    let mut total = Traffic::default();
    let mut is_whole = false;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (first, operation) = (words.next()?, words.next()?);
        let counter = match operation {
            _ if first == "Total" => {
                is_whole = operation.parse::<u64>().is_ok();
                continue;
            }
            "Read" => &mut total.received,
            "Write" => &mut total.sent,
            _ => continue,
        };
        *counter = counter.checked_add(words.next()?.parse().ok()?)?;
    }
    is_whole.then_some(total)
}

/// `net/dev` of a process, over the interfaces that `counts` takes. None if it takes none.
pub(in crate::resources) fn net_dev(text: &str, counts: impl Fn(&str) -> bool) -> Option<Traffic> {
    let interfaces = text.lines().skip(2).filter_map(|line| {
        let (name, counters) = line.split_once(':')?;
        if !counts(name.trim()) {
            return None;
        }
        let mut counters = counters.split_ascii_whitespace();
        let received = counters.next()?.parse().ok()?;
        let sent = counters.nth(7)?.parse().ok()?;
        Some(Traffic { received, sent })
    });
    sum(interfaces)
}

/// None of none, and none of what is more than can be.
pub(in crate::resources) fn sum(mut parts: impl Iterator<Item = Traffic>) -> Option<Traffic> {
    let first = parts.next()?;
    parts.try_fold(first, |sum, part| {
        Some(Traffic {
            received: sum.received.checked_add(part.received)?,
            sent: sum.sent.checked_add(part.sent)?,
        })
    })
}
