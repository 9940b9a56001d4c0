#!/bin/sh
# Changes the seeds of fuzz targets at random and reads them: scripts/fuzz.sh [-j JOBS] SECONDS [TARGET...]
# Every target (of fuzz/fuzz_targets), or those named, runs for so many seconds, JOBS (1) of them at a time. A line each says
# how many inputs were tried. Ends with 1 if one crashed, with 2 if it was called wrongly.
set -eu
cd "$(dirname "$0")/.."

usage() { echo "usage: scripts/fuzz.sh [-j JOBS] SECONDS [TARGET...]" >&2; exit 2; }
jobs=1
if [ "${1:-}" = -j ]; then jobs=${2:-}; [ $# -ge 2 ] || usage; shift 2; fi
seconds=${1:-}; [ $# -ge 1 ] && shift
for number in "$jobs" "$seconds"; do
  case $number in ''|*[!0-9]*|0*) usage ;; esac
done
known=$(basename -s .rs fuzz/fuzz_targets/*.rs)
[ $# -gt 0 ] || set -- $known
for target in "$@"; do
  echo "$known" | grep -qx -- "$target" || { echo "no target $target; they are:" $known >&2; exit 2; }
done

# Built once, so that the time of a target is its own. The options are those of the test suite: nothing is built twice.
tests="cargo test --release --workspace ${DANLU_FUZZ_CARGO_OPTIONS:-} --test crashers"
$tests --no-run >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One target, in a process of its own: another that crashes leaves it alone.
cat > "$work/one.sh" <<'END'
target=$1; log="$WORK/$target.log"; kept="$WORK/$target"
mkdir "$kept"
# An input that is read for ever counts as a crash.
guard=; command -v timeout >/dev/null && guard="timeout $((SECONDS_EACH + 300))"
if TMPDIR="$kept" DANLU_FUZZ_SECONDS=$SECONDS_EACH DANLU_FUZZ_TARGETS=$target $guard $TESTS changed -- --nocapture > "$log" 2>&1 \
  && line=$(grep "^$target: [0-9]* changed files$" "$log"); then
  echo "$line"
else
  crash="${CRASHES}/danlu-fuzz-$target-crash"
  cp "$kept/danlu-fuzz-$target-last" "$crash" 2>/dev/null || crash="(no input was kept)"
  # At once, so that targets that run side by side do not write into each other's lines.
  printf '%s: CRASHED; the input: %s\n%s\n' "$target" "$crash" "$(tail -n 20 "$log" | sed 's/^/    /')"
  touch "$WORK/crashed"
fi
END
export WORK="$work" TESTS="$tests" SECONDS_EACH="$seconds" CRASHES="${TMPDIR:-/tmp}"
printf '%s\n' "$@" | xargs -P "$jobs" -I {} sh "$work/one.sh" {}
[ ! -e "$work/crashed" ]
