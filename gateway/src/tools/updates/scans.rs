//! What servers say of their scans: a list without a scan says nothing.

use maintenant_api::Timestamp;
use maintenant_api::updates::UpdateSummary;

use crate::collectors::names_of;
use crate::time::show;
use crate::tools::{counted, hint};

/// What one collector says of its scans.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) collector: String,
    /// When the last one ended.
    pub(super) last: Option<Timestamp>,
    pub(super) next: Option<Timestamp>,
    /// Not every server has a summary that can be read.
    pub(super) summary: Option<UpdateSummary>,
    /// Something is known from a scan, of whatever process.
    pub(super) found: bool,
    pub(super) failed_checks: usize,
}

/// How many containers are so, as the servers count them.
pub(super) fn unlisted(scans: &[Scan], status: &str) -> usize {
    let counts = scans.iter().filter_map(|scan| scan.summary.as_ref()).map(|summary| {
        let count = match status {
            "up_to_date" => summary.counts.up_to_date,
            "untracked" => summary.counts.untracked,
            "unknown" => summary.counts.unknown,
            _ => 0,
        };
        usize::try_from(count).unwrap_or_default()
    });
    counts.fold(0, usize::saturating_add)
}

/// Checks that failed or came to less than they should, whatever is listed.
pub(super) fn failures_in_words(scans: &[Scan], status: Option<&str>) -> Option<String> {
    let failed = scans.iter().fold(0_usize, |sum, scan| sum.saturating_add(scan.failed_checks));
    let which = match status {
        Some("stale") => "error says why.",
        _ => "status = stale shows them.",
    };
    (failed > 0).then(|| {
        format!("Not checked of late, or not fully: {}; {which}", counted(failed, "container"))
    })
}

/// Scans that never ran, failed or run now.
pub(super) fn in_words(scans: &[Scan], several: bool) -> Option<String> {
    let which = |is_so: &dyn Fn(&Scan) -> bool| -> Option<String> {
        let scans = scans.iter().filter(|scan| is_so(scan));
        let names: Vec<String> = scans.map(|scan| scan.collector.clone()).collect();
        let on = if several { format!(" on {}", names_of(&names)) } else { String::new() };
        (!names.is_empty()).then_some(on)
    };
    let is = |scan: &Scan, status: &str| {
        scan.summary.as_ref().is_some_and(|summary| summary.scan_status == status)
    };
    let is_first = |scan: &Scan| scan.last.is_none() && !scan.found;
    let next = scans.iter().filter(|scan| is_first(scan)).filter_map(|scan| scan.next).min();
    let next = next.map_or(String::new(), |next| format!(" The first comes at {}.", show(next)));
    let is_empty = scans.iter().all(|scan| scan.last.is_some() && !scan.found);
    hint([
        which(&is_first).map(|on| {
            format!("No scan has ended yet{on}: nothing is known of newer images there.{next}")
        }),
        which(&|scan| scan.last.is_none() && scan.found)
            .map(|on| format!("No scan has ended since the start{on}: this was found before it.")),
        is_empty.then(|| "Nothing newer is known.".to_owned()),
        which(&|scan| is(scan, "running")).map(|on| format!("A scan is running{on}.")),
        which(&|scan| is(scan, "failed")).map(|on| format!("The last scan failed{on}.")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(last: bool, found: bool, status: &str) -> Scan {
        let at = |time: &str| time.parse().ok();
        Scan {
            collector: "prod".to_owned(),
            last: last.then(|| at("2026-05-05T10:00:00Z")).flatten(),
            next: at("2026-05-06T10:00:00Z"),
            summary: Some(UpdateSummary { scan_status: status.to_owned(), ..Default::default() }),
            found,
            failed_checks: 0,
        }
    }

    #[test]
    fn a_scan_that_never_ran_is_told_from_one_that_found_nothing() {
        let check = |scans: &[Scan], several: bool, expected: Option<&str>| {
            assert_eq!(in_words(scans, several).as_deref(), expected);
        };
        check(&[scan(true, true, "completed")], false, None);
        check(&[scan(true, false, "completed")], false, Some("Nothing newer is known."));
        check(
            &[scan(false, false, "idle")],
            false,
            Some(
                "No scan has ended yet: nothing is known of newer images there. The first comes at \
                 2026-05-06T10:00:00Z.",
            ),
        );
        check(
            &[Scan::default()],
            false,
            Some("No scan has ended yet: nothing is known of newer images there."),
        );
        check(
            &[scan(false, true, "running")],
            false,
            Some("No scan has ended since the start: this was found before it. A scan is running."),
        );
        check(
            &[scan(true, true, "failed"), scan(true, false, "completed")],
            true,
            Some("The last scan failed on prod."),
        );
    }

    #[test]
    fn failed_checks_are_counted_with_the_way_to_see_them() {
        let scans = [Scan { failed_checks: 1, ..Scan::default() }];
        let said = failures_in_words(&scans, None).unwrap();
        assert!(said.contains("not fully: 1 container; status = stale"), "{said}");
        assert!(failures_in_words(&scans, Some("stale")).unwrap().contains("error says why"));
        assert_eq!(failures_in_words(&[Scan::default()], None), None);
    }
}
