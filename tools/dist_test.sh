#!/usr/bin/env bash
# Tests on several GPUs of this machine, or on several processes of its CPU. Under BlockCopy each
# process gets whole clips.
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
# NNODES, NODE_RANK, MASTER_ADDR and PORT name more machines; PYTHON another interpreter.
set -euo pipefail

if [ $# -lt 3 ]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
config=$1
checkpoint=$2
processes=$3
shift 3

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
