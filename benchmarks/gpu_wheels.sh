#!/usr/bin/env bash
# Downloads the wheels that benchmarks/gpu.sh needs on a machine without network: benchmarks/gpu_wheels.sh DIR
# VERSION (3.12): Python version of that machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"${PYTHON:-python3}" -m pip download --only-binary=:all: --implementation cp --python-version "${VERSION:-3.12}" \
    --platform manylinux2014_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_28_x86_64 \
    --constraint "$here/../constraints.txt" --requirement "$here/gpu_requirements.txt" --dest "$1"
