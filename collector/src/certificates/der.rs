//! Just enough of DER (X.690 §8) to look into what no parser here looks into.

/// Tag and content of the first element, and what follows it.
pub fn first(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (short, rest) = rest.split_first()?;
    let (length, rest) = if *short < 0x80 {
        (usize::from(*short), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
        let add = |sum: usize, byte: &u8| sum.checked_mul(256)?.checked_add(usize::from(*byte));
        (length.iter().try_fold(0, add)?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// All elements in a row.
pub fn all(mut der: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, rest) = first(der)?;
        der = rest;
        Some((tag, content))
    })
}

/// The content of a sequence.
pub fn content(der: &[u8]) -> Option<&[u8]> {
    first(der).filter(|(tag, ..)| *tag == 0x30).map(|(_, content, _)| content)
}

/// A sequence of this content.
pub fn sequence(content: &[u8]) -> Vec<u8> {
    let mut der = vec![0x30];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            der.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
            der.extend(length);
        }
    }
    der.extend(content);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_found_again_at_every_length() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            assert_eq!(super::content(&sequence(&content)), Some(&content[..]), "{length}");
        }
    }

    #[test]
    fn what_is_cut_short_or_lies_about_its_length_is_nothing() {
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 2, 0],
            &[0x30, 0x84, 1],
            &[0x30, 0x89, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            assert_eq!(first(bad), None, "{bad:?}");
        }
        assert_eq!(content(&[4, 0]), None);
    }
}
