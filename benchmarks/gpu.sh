#!/usr/bin/env bash
# All measurements on a GPU, within MINUTES (8): comparison with the processor, throughput, training of the encoder
# and of a larger one, tables. Results are written to OUT as they become available.
#   benchmarks/gpu.sh OUT [MINUTES] [options of python -m benchmarks.gpu]
# WHEELS: folder of wheels for packages missing in this Python (see benchmarks/gpu_wheels.sh); torch must be installed.
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
