//! What alerts say: names in quotes, foreign text made safe and short, details without gaps.

use maintenant_serve::logging::foreign;
use serde_json::{Map, Value};

/// A name within a sentence of ours.
pub fn quoted(name: &str) -> String {
    format!("`{}`", foreign(name))
}

/// A target as it may be told to others: without user, password, query and fragment.
pub fn shown(target: &str) -> String {
    let (rest, cut) = match target.split_once(['?', '#']) {
        Some((rest, _)) => (rest, "?…"),
        None => (target, ""),
    };
    let Some((scheme, rest)) = rest.split_once("://") else { return foreign(rest) };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    foreign(&format!("{scheme}://{host}{path}{cut}"))
}

/// The last lines of a text: at most so many lines and bytes.
pub fn last_lines(text: &str, lines: usize, bytes: usize) -> Vec<String> {
    let mut left = bytes;
    let mut kept = Vec::new();
    for line in text.lines().rev().take(lines) {
        // The end of a line that is too long says most.
        let from = line.len().saturating_sub(left);
        let from = (from..=line.len()).find(|at| line.is_char_boundary(*at)).unwrap_or_default();
        let end = line.get(from..).unwrap_or_default();
        left -= end.len();
        kept.push(end.to_owned());
        if left == 0 {
            break;
        }
    }
    kept.reverse();
    kept
}

/// Details of an alert; `null` is left out.
pub fn details<const N: usize>(known: [(&str, Value); N]) -> Map<String, Value> {
    let known = known.into_iter().filter(|(_, value)| !value.is_null());
    known.map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, lines: usize, bytes: usize, expected: &[&str]) {
        assert_eq!(last_lines(text, lines, bytes), expected, "{text}");
    }

    #[test]
    fn the_end_of_a_log_is_kept() {
        check("", 5, 10, &[]);
        check("a\nb\nc", 2, 10, &["b", "c"]);
        check("a\nb\nc\n", 5, 2, &["b", "c"]);
        check("first\nlast", 5, 6, &["st", "last"]);
        check("é€", 5, 4, &["€"]);
        check("é€", 5, 1, &[""]);
    }

    #[test]
    fn a_name_cannot_end_our_sentence() {
        assert_eq!(quoted("web\nall is well"), "`web\\nall is well`");
    }
}
