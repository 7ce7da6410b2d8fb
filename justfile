# Short names for the usual commands; `just` lists them. The logic is in the program.

set positional-arguments

# List the recipes.
default:
    @just --list

# Train, evaluate and compare configurations: just sweep configs/smoke-*.toml
sweep *args:
    cargo slender sweep run "$@"

# Train one configuration: just train configs/smoke-4x64.toml
train *args:
    cargo slender train "$@"

# Score a model: just eval runs/smoke-4x64 --tasks piqa --data-dir builtin
eval *args:
    cargo slender eval "$@"

# Count parameters, FLOPs, cache and memory: just inspect configs/125m-*.toml
inspect *args:
    cargo slender inspect "$@"

# Measure the speed of a configuration: just bench train configs/smoke-4x64.toml
bench *args:
    cargo slender bench "$@"

# Run all tests, in the profile that the program is built in.
test *args:
    cargo test --workspace --release "$@"

# Check formatting and lints.
lint:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- -D warnings

# Fuzz every parser of foreign files, a minute each (nightly toolchain and cargo-fuzz).
fuzz *args:
    scripts/fuzz.sh "$@"

# Write the generated references.
docs:
    cargo slender config reference > docs/config.md
    cargo slender config reference --cli > docs/cli.md
    cargo slender config reference --sweep > docs/sweep-file.md

# Compare the losses of the CPU and GPU backends on the smallest model.
devices:
    scripts/compare_devices.sh

# Everything that continuous integration checks.
ci:
    .ci/run
