#!/usr/bin/env bash
# datasketches 0.6.0 (Rust, Apache, first releases of 2026) and datasketches 5.2.0 (Python, the C++ core).
# Guess:    sketches of one family have one binary form so that they can be merged across languages;
#           the union of two HLL sketches of the *same* 50,000 users is about 50,000.
# Happens:  the bytes are read, but Rust's update() hashes what std::hash::Hash feeds it: a str has
#           0xff behind it, a u32 is four bytes. Nothing lines up, and the union says 100,000. Only
#           64-bit integers agree. Nobody complains, each sketch alone is right.
# Who:      reach and distinct counts merged from a Rust service and a Java, C++ or Python job.
# Instead:  update(raw_bytes::from_str(..)), sign_extend::from_u32(..), canonical_float::from_f64(..).
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check datasketches==5.2.0
mkdir -p "$t/r/src"; cd "$t/r"
cat > Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
datasketches = { version = "=0.6.0", features = ["hll"] }
T
cat > src/main.rs <<'R'
use datasketches::{hash::value::raw_bytes, hll::{HllSketch, HllType}};
fn save(name: &str, feed: impl Fn(&mut HllSketch, u64)) {
    let mut s = HllSketch::new(14, HllType::Hll8).unwrap();
    (0..50_000).for_each(|i| feed(&mut s, i));
    std::fs::write(name, s.serialize()).unwrap();
}
fn main() {
    save("text", |s, i| s.update(format!("user-{i}").as_str()));
    save("u32", |s, i| s.update(i as u32));
    save("u64", |s, i| s.update(i));
    save("raw", |s, i| s.update(raw_bytes::from_str(&format!("user-{i}"))));
}
R
cargo run -q
"$t/v/bin/python" - <<'PY'
import sys
from importlib.metadata import version
from datasketches import hll_sketch, hll_union, tgt_hll_type

def own(value):
    s = hll_sketch(14, tgt_hll_type.HLL_8)
    for i in range(50_000):
        s.update(value(i))
    return s
texts, numbers = own(lambda i: f"user-{i}"), own(lambda i: i)
seen = {}
for name, mine in ("text", texts), ("u32", numbers), ("u64", numbers), ("raw", texts):
    theirs = hll_sketch.deserialize(open(name, "rb").read())
    both = hll_union(14); both.update(mine); both.update(theirs)
    seen[name] = both.get_result().get_estimate()
    print(f"{name:5} Python alone {mine.get_estimate():,.0f}, Rust alone {theirs.get_estimate():,.0f}, union {seen[name]:,.0f}")
print(f"datasketches (Rust) 0.6.0, (Python) {version('datasketches')}: 50,000 users, the same on both sides")
print("guess:  each union about 50,000")
print(f"seen:   update(&str) {seen['text']:,.0f}, update(u32) {seen['u32']:,.0f}, update(u64) {seen['u64']:,.0f}, raw_bytes {seen['raw']:,.0f}")
sys.exit(not (min(seen["text"], seen["u32"]) > 95_000 and max(seen["u64"], seen["raw"]) < 53_000))
PY
