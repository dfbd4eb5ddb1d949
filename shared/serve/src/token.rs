//! The bearer token of `/api/v1`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::settings::Secret;

/// What the `Authorization` header of a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// No credentials were sent.
    Missing,
    /// Credentials were sent, and they are not the token.
    Wrong,
}

/// Compares the bearer token (RFC 6750 §2.1) with the expected one in constant time: digests of
/// equal length are compared, so neither content nor length leaks through time.
pub fn check(headers: &HeaderMap, expected: &Secret) -> Verdict {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Verdict::Missing };
    if values.next().is_some() {
        return Verdict::Wrong;
    }
    let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return Verdict::Wrong;
    };
    let sent = digest(&SHA256, token.trim_start_matches(' ').as_bytes());
    let wanted = digest(&SHA256, expected.expose().as_bytes());
    let equal = verify_slices_are_equal(sent.as_ref(), wanted.as_ref()).is_ok();
    if equal && scheme.eq_ignore_ascii_case("bearer") { Verdict::Accepted } else { Verdict::Wrong }
}

/// Makes `file` with a random token of 256 bits in hexadecimal digits, readable by its owner alone,
/// and leaves it as it is where it exists. Returns whether it was made. It is whole or absent,
/// whenever this process ends.
pub fn make(file: &Path) -> anyhow::Result<bool> {
    if file.try_exists().with_context(|| format!("cannot look at {}", file.display()))? {
        return Ok(false);
    }
    let (mut upper, mut lower, mut name) = ([0; 16], [0; 16], [0; 8]);
    rand::fill(&mut upper)
        .and_then(|()| rand::fill(&mut lower))
        .and_then(|()| rand::fill(&mut name))
        .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    let text = format!("{:032x}{:032x}", u128::from_ne_bytes(upper), u128::from_ne_bytes(lower));
    // Of this call alone: processes of two containers may have one id, and nobody can have put a
    // link or a file of his there.
    let draft = file.with_extension(format!("{:016x}.new", u64::from_ne_bytes(name)));
    let write = || {
        let mut options = OpenOptions::new();
        let mut to = options.write(true).create_new(true).mode(0o600).open(&draft)?;
        writeln!(to, "{text}")?;
        to.sync_all()?;
        // Unlike a renaming this never replaces a file.
        std::fs::hard_link(&draft, file)
    };
    let made = write();
    let _ = std::fs::remove_file(&draft);
    match made {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot make {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(values: &[&str]) -> Verdict {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        check(&headers, &Secret::new("s3cret"))
    }

    #[test]
    fn only_the_token_as_a_bearer_is_accepted() {
        assert_eq!(verdict(&["Bearer s3cret"]), Verdict::Accepted);
        assert_eq!(verdict(&["bearer   s3cret"]), Verdict::Accepted);
        assert_eq!(verdict(&[]), Verdict::Missing);
        let wrong = ["Bearer s3cre", "Bearer s3cretx", "Bearer S3CRET", "Basic s3cret", "s3cret"];
        for value in wrong {
            assert_eq!(verdict(&[value]), Verdict::Wrong, "{value}");
        }
    }

    #[test]
    fn a_token_is_made_once_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        assert!(make(&file).unwrap());
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.trim_end().len(), 64, "{text}");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!make(&file).unwrap());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        let error = make(&folder.path().join("no/folder")).unwrap_err().to_string();
        assert!(error.contains("no/folder"), "{error}");
    }

    #[test]
    fn of_many_at_once_one_makes_the_token_and_nobody_sees_half_of_it() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("token");
            let start = std::sync::Barrier::new(8);
            let make_and_read = || {
                start.wait();
                let made = make(&file).unwrap();
                (made, std::fs::read_to_string(&file).unwrap())
            };
            let each: Vec<(bool, String)> = std::thread::scope(|scope| {
                let begun: Vec<_> = (0..8).map(|_| scope.spawn(make_and_read)).collect();
                begun.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(each.iter().filter(|(made, _)| *made).count(), 1, "{each:?}");
            let last = std::fs::read_to_string(&file).unwrap();
            assert!(each.iter().all(|(_, text)| *text == last && text.len() == 65), "{each:?}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        }
    }

    #[test]
    fn what_lies_where_a_draft_was_once_made_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("token"), folder.path().join("other"));
        std::fs::write(&other, "mine").unwrap();
        let draft = file.with_extension(format!("{}.new", std::process::id()));
        std::os::unix::fs::symlink(&other, draft).unwrap();
        assert!(make(&file).unwrap());
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine");
        assert!(!std::fs::symlink_metadata(&file).unwrap().is_symlink());
    }

    #[test]
    fn two_headers_are_refused_even_if_one_is_right() {
        assert_eq!(verdict(&["Bearer s3cret", "Bearer s3cret"]), Verdict::Wrong);
    }
}
