#!/bin/sh
# rustdoc, which writes JSON of stable Rust only so. Of the whole build this would have everything built again.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
