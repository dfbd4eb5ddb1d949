//! Decoding 1,000 framed log messages, beside its floor: copying the bytes.
//! `cargo bench -p maintenant-collector --bench logs`

use bytes::{Bytes, BytesMut};
use divan::Bencher;
use maintenant_collector::containers::logs::Decoder;

fn main() {
    divan::main();
}

fn stream() -> Vec<Bytes> {
    let mut bytes = Vec::new();
    for number in 0..1000_u32 {
        let text = format!(
            "2026-05-05T10:00:00.{number:09}Z worker {number} finished a job of its queue\n"
        );
        bytes.extend([1 + u8::from(number % 2 == 0), 0, 0, 0]);
        bytes.extend(u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes.chunks(16 * 1024).map(Bytes::copy_from_slice).collect()
}

#[divan::bench]
fn floor_copy(bencher: Bencher<'_, '_>) {
    let stream = stream();
    bencher.bench(|| {
        let mut all = BytesMut::new();
        for chunk in &stream {
            all.extend_from_slice(chunk);
        }
        all
    });
}

#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let stream = stream();
    bencher.bench(|| {
        let mut decoder = Decoder::default();
        let mut lines = 0;
        for chunk in &stream {
            lines += decoder.push(chunk).map_or(0, |lines| lines.len());
        }
        assert_eq!(lines, 1000);
    });
}
