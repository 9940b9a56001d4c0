#!/bin/sh
# Runs the whole test suite. Brings what the browser and client tests need when it can (Debian or Ubuntu, as root or with
# sudo); without it those tests print SKIPPED and why, and the suite says at its end how many did.
set -eu
cd "$(dirname "$0")/.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

if ! command -v chromedriver >/dev/null 2>&1 || ! command -v chromium >/dev/null 2>&1; then
  echo "installing chromium and chromium-driver for the browser tests"
  { as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq chromium chromium-driver; } \
    >/dev/null 2>&1 || echo "could not install them; the browser tests will be skipped"
fi

# Java for the test with a Spark cluster.
if ! command -v java >/dev/null 2>&1; then
  echo "installing a Java runtime for the tests with Spark"
  { as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq default-jre-headless procps; } \
    >/dev/null 2>&1 || echo "could not install it; the tests with Spark will be skipped"
fi

# What makes the environments of the tests with S3, Sail, Spark and the OpenAI client.
if ! python3 -c "import ensurepip" >/dev/null 2>&1; then
  echo "installing python3-venv for the tests with servers"
  { as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq python3-venv; } \
    >/dev/null 2>&1 || echo "could not install it; the tests with S3, Sail, Spark and the OpenAI client will be skipped"
fi

# A PostgreSQL server, which the tests of that source start themselves, and openssl for its certificate.
if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || ! command -v openssl >/dev/null 2>&1; then
  echo "installing postgresql for the tests of that source"
  { as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq postgresql openssl; } \
    >/dev/null 2>&1 || echo "could not install it; the tests with PostgreSQL will be skipped"
fi

# The official OpenAI client, in an environment of its own under target/.
venv="${CARGO_TARGET_DIR:-target}/test-venv"
if ! "$venv/bin/python" -c "import openai" >/dev/null 2>&1; then
  { python3 -m venv "$venv" && "$venv/bin/pip" install -q openai; } >/dev/null 2>&1 \
    || echo "could not install the openai package; its tests will be skipped"
fi
DANLU_TEST_PYTHON=$(cd "$(dirname "$venv")" 2>/dev/null && pwd)/test-venv/bin/python
export DANLU_TEST_PYTHON

status=0
# --nocapture would drown the output; skips are written to a file that the tests append to.
DANLU_TEST_SKIPS="$(pwd)/target/test-skips.txt"
mkdir -p target && : > "$DANLU_TEST_SKIPS"
export DANLU_TEST_SKIPS
cargo test --release --workspace --no-fail-fast || status=$?

# The operations on a second device: wgpu over Mesa's software Vulkan. The default build knows nothing of its crates; what
# it shares with them is not compiled again, because the selection (the workspace) and the profile are the same.
software_vulkan() { ls /usr/share/vulkan/icd.d/lvp_icd*.json >/dev/null 2>&1; }
if ! software_vulkan; then
  echo "installing mesa-vulkan-drivers for the tests on a second device"
  { as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq mesa-vulkan-drivers; } \
    >/dev/null 2>&1 || true
fi
if software_vulkan; then
  CUBECL_WGPU_DEFAULT_DEVICE=Cpu CUBECL_AUTOTUNE_LEVEL=minimal cargo --config scripts/second-device.toml test --release --workspace --features danlu-ops/wgpu \
    --no-fail-fast --test operations || status=$?
else
  echo "SKIPPED operations on a second device: no software Vulkan (mesa-vulkan-drivers)" | tee -a "$DANLU_TEST_SKIPS"
fi

if [ -s "$DANLU_TEST_SKIPS" ]; then
  echo "skipped: $(wc -l < "$DANLU_TEST_SKIPS")"
  cat "$DANLU_TEST_SKIPS"
else
  echo "skipped: 0"
fi
exit "$status"
