#!/usr/bin/env bash
# Trains the smallest smoke model a few steps on several devices and compares the losses of every
# step with those of flex.
#
#   scripts/compare_devices.sh [DEVICE...]        default: ndarray wgpu
#
# The program must be built with the devices' features:
#
#   cargo build --release --package slender --features ndarray,wgpu
#
# Environment: SLENDER (the program), STEPS (10), TOLERANCE (1e-3, absolute, nats per token).
# A device that cannot be opened fails the comparison where CI=true and is skipped elsewhere.
# Needs bash and awk only. A software Vulkan device serves for wgpu; Debian has one in
# mesa-vulkan-drivers. It compiles every kernel first, which takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

slender=${SLENDER:-${CARGO_TARGET_DIR:-target}/release/slender}
steps=${STEPS:-10}
tolerance=${TOLERANCE:-1e-3}
devices=("$@")
[ ${#devices[@]} -gt 0 ] || devices=(ndarray wgpu)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SLENDER_CACHE=${SLENDER_CACHE:-$work/cache}

# train DEVICE: one short run into $work/DEVICE; everything it says goes to $work/DEVICE.log.
train() {
    "$slender" train configs/smoke-8x48.toml --run-dir "$work/$1" --device "$1" \
        --set train.steps="$steps" --set train.warmup_steps=2 --set train.batch_size=4 \
        --set run.log_every=1 --set run.checkpoint_every=0 \
        --set eval.loss_every=0 --set eval.loss_tokens=2048 >"$work/$1.log" 2>&1
}

# losses DEVICE: "STEP LOSS" of every training step.
losses() {
    awk '/"kind":"train"/ {
        step = loss = ""
        if (match($0, /"step":[0-9]+/)) step = substr($0, RSTART + 7, RLENGTH - 7)
        if (match($0, /"loss":[-+.0-9eE]+/)) loss = substr($0, RSTART + 7, RLENGTH - 7)
        print step, loss
    }' "$work/$1/metrics.jsonl"
}

# seconds_since START
seconds_since() { echo $(($(date +%s) - $1)); }

start=$(date +%s)
train flex || { cat "$work/flex.log"; exit 1; }
losses flex >"$work/flex.losses"
echo "flex: $(wc -l <"$work/flex.losses") steps, last loss $(tail -n 1 "$work/flex.losses" | cut -d' ' -f2), $(seconds_since "$start") s"

failed=0
for device in "${devices[@]}"; do
    start=$(date +%s)
    if ! train "$device"; then
        # The device itself is missing: no driver, no adapter. Anything else is a failure.
        if grep -q 'cannot be opened' "$work/$device.log" && [ "${CI:-}" != true ]; then
            echo "$device: skipped, there is no such device here"
        else
            echo "$device: FAILED"
            cat "$work/$device.log"
            failed=1
        fi
        continue
    fi
    losses "$device" >"$work/$device.losses"
    seconds=$(seconds_since "$start")
    # Both files list the same steps, and no loss is missing or further away than the tolerance.
    if awk -v device="$device" -v tolerance="$tolerance" -v steps="$steps" -v seconds="$seconds" '
        NR == FNR { flex[$1] = $2; next }
        {
            if (!($1 in flex) || flex[$1] == "" || $2 == "") { bad = "step " $1 " has no loss"; next }
            difference = $2 - flex[$1]
            if (difference < 0) difference = -difference
            if (difference > worst) worst = difference
            if (!(difference <= tolerance) && bad == "") bad = "step " $1 ": flex " flex[$1] ", " device " " $2
            count++
        }
        END {
            if (bad == "" && count != steps) bad = count + 0 " of " steps " steps"
            printf "%s: %d steps, largest difference from flex %.2e, %d s", device, count, worst, seconds
            if (bad != "") { printf ": FAILED, %s\n", bad; exit 1 }
            printf "\n"
        }' "$work/flex.losses" "$work/$device.losses"; then :; else
        failed=1
    fi
done
exit "$failed"
