//! Making 1,000 log lines safe to show, beside its floor: copying them.
//! `cargo bench -p maintenant-gateway`

use divan::Bencher;
use maintenant_gateway::untrusted;

fn main() {
    divan::main();
}

fn lines() -> Vec<String> {
    let line = |number: usize| match number % 10 {
        0 => format!("\u{1b}[31mERROR\u{1b}[0m request {number} failed: timeout after 30 s"),
        1 => format!("GET /login?token=abcdef{number:08}abcdef 200 in 12 ms"),
        _ => format!("2026-05-05T10:00:00Z INFO worker {number} finished a job of its queue"),
    };
    (0..1000).map(line).collect()
}

#[divan::bench]
fn floor_copy(bencher: Bencher<'_, '_>) {
    let lines = lines();
    bencher.bench(|| lines.clone());
}

#[divan::bench]
fn safe_lines(bencher: Bencher<'_, '_>) {
    let lines = lines();
    bencher.bench(|| untrusted::lines(&lines));
}
