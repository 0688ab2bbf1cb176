#!/usr/bin/env bash
# Installs the OpenMMLab packages of a stack (onedl or upstream) into a virtual environment that
# has torch already. mmcv's C++ operators are compiled against that torch, once: pip keeps the wheel.
#   scripts/install_stack.sh VENV STACK
set -euo pipefail

venv=$1
stack=$2
pip=("$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off)
constraints="requirements/constraints-$stack.txt"

if ! command -v "${CXX:-c++}" >/dev/null; then
    echo "Compiling mmcv needs a C++ compiler; '${CXX:-c++}' was not found." >&2
    echo "Install one (Debian: apt-get install g++), or name it: make CXX=/path/to/compiler" >&2
    exit 1
fi

imports=(-r requirements/stack.txt -r "requirements/$stack-imports.txt")
for extra in det seg video; do
    imports+=(-r "requirements/$extra.txt")
done
"${pip[@]}" --quiet -c "$constraints" "${imports[@]}"

echo "Installing the $stack stack. The first time, mmcv compiles: about 10 minutes on 2 cores."
export MMCV_WITH_OPS=1
export MAX_JOBS=${MAX_JOBS:-$("$venv/bin/python" -c 'import os; print(os.cpu_count() or 1)')}
"${pip[@]}" --no-deps --no-build-isolation -r "requirements/$stack.txt"
