#!/usr/bin/env bash
# Fuzz every parser of a stranger's file: scripts/fuzz.sh [SECONDS [TARGET...]], a minute each by default.
#
# Needs a nightly toolchain and cargo-fuzz (`cargo install cargo-fuzz`). Of the inputs that reach new code the
# best 48 of each target, 96 KiB at most, are kept in fuzz/corpus, which `cargo test` replays; a crash ends the
# script with the input in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    mapfile -t targets < <(cd fuzz/fuzz_targets && ls -- *.rs | sed 's/\.rs$//')
fi
command -v cargo-fuzz >/dev/null || { echo "please install cargo-fuzz: cargo install cargo-fuzz"; exit 1; }

# found FOLDER: what libFuzzer put there, oldest first; files with other names were made by hand.
found() {
    find "$1" -type f -printf '%T@ %p\n' | sort -n | cut -d' ' -f2 | grep -E '/[0-9a-f]{40}$' || true
}

for target in "${targets[@]}"; do
    echo "=== $target, $seconds s"
    corpus=fuzz/corpus/$target
    new=$(mktemp -d)
    cargo +nightly fuzz run --fuzz-dir fuzz "$target" "$new" "$corpus" -- \
        -max_total_time="$seconds" -max_len=16384 -rss_limit_mb=1024 -malloc_limit_mb=256 -print_final_stats=1
    # The smallest set that covers what all cover, chosen greedily, so its first are worth most.
    found "$corpus" | xargs -r mv -t "$new"
    cargo +nightly fuzz run --fuzz-dir fuzz "$target" "$corpus" "$new" -- -set_cover_merge=1 -max_len=16384
    found "$corpus" | xargs -r stat -c '%s %n' |
        awk '{ bytes += $1 } NR > 48 || bytes > 98304 { print $2 }' | xargs -r rm --
    rm -rf "$new"
    echo "=== $target: $(find "$corpus" -type f | wc -l) files, $(du -sb "$corpus" | cut -f1) bytes"
done
