#!/usr/bin/env bash
# serde_json 1.0.154 (Rust), default features.
# Guess:    an f64 that is written to JSON and read again is the same f64 (as in Python, Java, Go
#           and JavaScript); to_string prints all the digits for it.
# Happens:  reading is fast, not exact: of costs per click (cents by clicks) one in eight comes back
#           one step off, so that from_str(to_string(x)) != x. Prices of up to 8 decimals are safe;
#           quotients (cost per click, shares, scores) are not. The feature float_roundtrip helps.
# Who:      results compared, hashed or deduplicated by value between a Rust job and another, and
#           replays that are expected to be bit for bit the same.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
mkdir -p "$t/r/src"; cd "$t/r"
cat > src/main.rs <<'R'
fn main() {
    let mut seed = 1u64;
    let (mut quotients, mut prices, mut std) = (0, 0, 0);
    for _ in 0..1_000_000 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let (cents, clicks) = ((seed >> 33) % 10_000_000, (seed >> 20) % 997 + 1);
        let cpc = cents as f64 / 100.0 / clicks as f64;
        let text = serde_json::to_string(&cpc).unwrap();
        quotients += (serde_json::from_str::<f64>(&text).unwrap() != cpc) as u32;
        std += (text.parse::<f64>().unwrap() != cpc) as u32;
        let price = ((seed >> 20) % 1_000_000_000) as f64 / 1e8;
        prices += (serde_json::from_str::<f64>(&serde_json::to_string(&price).unwrap()).unwrap() != price) as u32;
    }
    println!("{quotients} {prices} {std}");
}
R
run() {                                                       # features
  printf '[package]\nname = "finding"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\nserde_json = { version = "=1.0.154", features = [%s] }\n' "$1" > Cargo.toml
  cargo run -q --release
}
read -r off prices std < <(run '')
read -r exact _ < <(run '"float_roundtrip"')
echo "serde_json 1.0.154, 1,000,000 costs per click written and read again"
echo "guess:  0 differ"
echo "seen:   $off differ; with float_roundtrip $exact; the same texts by Rust's own parse $std; prices of 8 decimals $prices"
[ "$off" -gt 20000 ] && [ "$exact" = 0 ] && [ "$std" = 0 ] && [ "$prices" = 0 ]
