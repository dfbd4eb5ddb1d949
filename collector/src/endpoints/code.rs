//! A check in few bytes: most of the database is checks.
//!
//! `outcome` is chosen so that what is frequent takes no bytes in SQLite (0 and 1). `phases` are LEB128
//! integers: first byte, connect, dns, tls, body, then what the response time differs from their sum
//! by, zigzag coded. Zeros at the end are left out, so 0 is what is frequent: 0 ms of a phase that
//! every HTTP answer passes, otherwise "not reached". 1 is the other of the two, n + 1 is n ms.

use maintenant_api::endpoints::{FailureCause, Phases};

use super::probe::{Failure, Outcome};

const TCP_SUCCESS: i64 = 1;

/// `outcome` and `phases` of the tables, as `endpoint_checks` describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coded {
    pub outcome: i64,
    pub phases: Vec<u8>,
}

impl Coded {
    pub fn of(check: &Outcome) -> Self {
        let status = check.http_status.map(i64::from);
        let outcome = match (&check.failure, status) {
            (Some(failure), status) => {
                -(1 + 1000 * number(failure.cause) + status.unwrap_or_default())
            }
            (None, None) => TCP_SUCCESS,
            (None, Some(200)) => 0,
            (None, Some(status)) => status,
        };
        let rest = check.response_time_ms - sum(&check.phases);
        let zigzag = (rest << 1) ^ (rest >> 63);
        let Phases { dns_ms, connect_ms, tls_ms, first_byte_ms, body_ms } = check.phases;
        let answered = |phase| swapped(plain(phase), status.is_some());
        let numbers = [
            answered(first_byte_ms),
            answered(connect_ms),
            answered(dns_ms),
            plain(tls_ms),
            answered(body_ms),
            zigzag,
        ];
        let mut bytes = Vec::new();
        for number in numbers {
            push(&mut bytes, number.cast_unsigned());
        }
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Self { outcome, phases: bytes }
    }

    /// The check again; its message is kept elsewhere.
    pub fn check(&self, error: Option<String>) -> Outcome {
        let (cause, status) = match self.outcome {
            0 => (None, Some(200)),
            TCP_SUCCESS => (None, None),
            status @ 2.. => (None, Some(status)),
            failure => {
                let code = -(failure + 1);
                (Some(cause(code / 1000)), Some(code % 1000).filter(|status| *status > 0))
            }
        };
        let mut numbers = unpack(&self.phases);
        let mut next = || numbers.next().unwrap_or_default();
        let answered = |number| ms(swapped(number, status.is_some()));
        let phases = Phases {
            first_byte_ms: answered(next()),
            connect_ms: answered(next()),
            dns_ms: answered(next()),
            tls_ms: ms(next()),
            body_ms: answered(next()),
        };
        let zigzag = next();
        let rest = (zigzag >> 1) ^ -(zigzag & 1);
        Outcome {
            failure: cause.map(|cause| Failure { cause, error: error.unwrap_or_default() }),
            response_time_ms: sum(&phases) + rest,
            http_status: status.and_then(|status| u16::try_from(status).ok()),
            phases,
        }
    }
}

fn sum(phases: &Phases) -> i64 {
    let Phases { dns_ms, connect_ms, tls_ms, first_byte_ms, body_ms } = *phases;
    [dns_ms, connect_ms, tls_ms, first_byte_ms, body_ms].into_iter().flatten().sum()
}

/// 0 is "not reached".
fn plain(phase: Option<i64>) -> i64 {
    phase.map_or(0, |ms| ms.max(0) + 1)
}

fn ms(number: i64) -> Option<i64> {
    (number > 0).then(|| number - 1)
}

/// 0 and 1 in each other's place, if so.
fn swapped(number: i64, so: bool) -> i64 {
    if so && number < 2 { 1 - number } else { number }
}

/// The number of a cause in the database; it never changes.
fn number(cause: FailureCause) -> i64 {
    match cause {
        FailureCause::Dns => 0,
        FailureCause::Connect => 1,
        FailureCause::Tls => 2,
        FailureCause::FirstByte => 3,
        FailureCause::Body => 4,
        FailureCause::Status => 5,
        FailureCause::Condition => 6,
        FailureCause::Redirect => 7,
        FailureCause::Refused => 8,
        FailureCause::ContainerStopped => 9,
        FailureCause::Other => 10,
    }
}

fn cause(wanted: i64) -> FailureCause {
    let mut all = FailureCause::ALL.into_iter();
    all.find(|cause| number(*cause) == wanted).unwrap_or(FailureCause::Other)
}

fn push(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn unpack(bytes: &[u8]) -> impl Iterator<Item = i64> {
    let mut bytes = bytes.iter();
    std::iter::from_fn(move || {
        let (mut number, mut shift) = (0_u64, 0_u32);
        for byte in bytes.by_ref() {
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte & 0x80 == 0 {
                return Some(number.cast_signed());
            }
            shift += 7;
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cause: Option<FailureCause>, status: Option<u16>, phases: [i64; 5], total: i64) {
        let phase = |ms: i64| (ms >= 0).then_some(ms);
        let [dns, connect, tls, first_byte, body] = phases.map(phase);
        let outcome = Outcome {
            failure: cause.map(|cause| Failure { cause, error: "why".to_owned() }),
            response_time_ms: total,
            http_status: status,
            phases: Phases {
                dns_ms: dns,
                connect_ms: connect,
                tls_ms: tls,
                first_byte_ms: first_byte,
                body_ms: body,
            },
        };
        let coded = Coded::of(&outcome);
        assert_eq!(coded.check(Some("why".to_owned())), outcome, "{coded:?}");
    }

    #[test]
    fn every_check_is_read_back_as_it_was() {
        for cause in [None].into_iter().chain(FailureCause::ALL.map(Some)) {
            for status in [None, Some(100), Some(200), Some(204), Some(404), Some(599)] {
                check(cause, status, [0, 1, -1, 30, 0], 31);
                check(cause, status, [-1; 5], 0);
                check(cause, status, [-1; 5], 10_000);
                check(cause, status, [5, 127, 128, 60_000, 0], 60_262);
                check(cause, status, [3, -1, -1, -1, -1], 1);
            }
        }
    }

    #[test]
    fn the_frequent_check_is_small() {
        let phases = Phases {
            dns_ms: Some(0),
            connect_ms: Some(1),
            tls_ms: None,
            first_byte_ms: Some(23),
            body_ms: Some(0),
        };
        let check = Outcome { failure: None, response_time_ms: 24, http_status: Some(200), phases };
        let coded = Coded::of(&check);
        assert_eq!((coded.outcome, coded.phases), (0, vec![24, 2]));
    }

    #[test]
    fn the_numbers_of_causes_are_those_in_the_database() {
        let numbers: Vec<_> = FailureCause::ALL.map(|c| (c.as_str(), number(c))).into();
        let expected = [
            ("dns", 0),
            ("connect", 1),
            ("tls", 2),
            ("first_byte", 3),
            ("body", 4),
            ("status", 5),
            ("condition", 6),
            ("redirect", 7),
            ("refused", 8),
            ("container_stopped", 9),
            ("other", 10),
        ];
        assert_eq!(numbers, expected);
    }
}
