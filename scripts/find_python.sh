#!/usr/bin/env bash
# Prints a Python that can carry mmdyn's environment: 3.10 or newer, with venv and, as mmcv's
# operators are compiled, the C headers. PYTHON=... names one; else the usual names are tried.
set -u

candidates=(python3 python3.13 python3.12 python3.11 python3.10 python)
if [ -n "${PYTHON:-}" ]; then
    candidates=("$PYTHON")
fi

probe='
import os, sys, sysconfig
if sys.version_info < (3, 10):
    sys.exit("is Python %d.%d" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("has no venv module (Debian: install python3-venv)")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    sys.exit("has no C headers (Debian: install python3-dev)")
'

tried=""
for candidate in "${candidates[@]}"; do
    if ! path=$(command -v "$candidate"); then
        tried+="  $candidate: not found"$'\n'
    elif reason=$("$path" -c "$probe" 2>&1); then
        echo "$path"
        exit 0
    else
        tried+="  $path: $(tail -n 1 <<<"$reason")"$'\n'
    fi
done

{
    echo "mmdyn needs Python 3.10 or newer with venv and its C headers. Tried:"
    printf '%s' "$tried"
    echo "Install one, or name it: make demo PYTHON=/path/to/python3"
} >&2
exit 1
