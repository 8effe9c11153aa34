#!/usr/bin/env bash
# Everything that wants a GPU, within MINUTES (8): compares its results with the processor's, measures throughput,
# trains the encoder and a larger one, runs tables; what is done at any moment lies in OUT.
#   benchmarks/gpu.sh OUT [MINUTES] [options of python -m benchmarks.gpu]
# WHEELS names a folder of wheels for what this Python lacks (benchmarks/gpu_wheels.sh fills it); torch must be there.
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
path=$checkout
if [ -n "${WHEELS:-}" ]; then
    packages=$(mktemp -d)
    trap 'rm -rf "$packages"' EXIT
    "$python" -m pip install --quiet --no-index --find-links "$WHEELS" --target "$packages" \
        --requirement "$checkout/benchmarks/gpu_requirements.txt"
    path=$checkout:$packages
fi
PYTHONPATH=$path "$python" -m benchmarks.gpu "$1" --minutes "${2:-8}" "${@:3}"
