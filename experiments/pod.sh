#!/usr/bin/env bash
# Runs one command on every host of a TPU pod, or as several processes of this machine.
#
#   experiments/pod.sh tpu NAME ZONE dm --dataset cifar10 --workdir /mnt/shared/dm --cache-dir /mnt/shared/cache
#   experiments/pod.sh local 2 dm --dataset digits --smoke --workdir runs/two
#
# tpu: the checkout lies in ~/jaxdd on every host, and the two folders are shared by all of them.
set -euo pipefail

case "${1:-}" in
tpu)
    name=$2 zone=$3
    shift 3
    exec gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker=all \
        --command "cd ~/jaxdd && .venv/bin/python -m experiments.run $(printf '%q ' "$@")"
    ;;
local)
    count=$2
    shift 2
    python=${PYTHON:-.venv/bin/python}
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    pids=()
    for ((i = 0; i < count; i++)); do
        "$python" -m experiments.run "$@" --hosts.coordinator "127.0.0.1:$port" \
            --hosts.num-processes "$count" --hosts.process-id "$i" &
        pids+=($!)
    done
    code=0
    for pid in "${pids[@]}"; do
        wait "$pid" || code=$?
    done
    exit "$code"
    ;;
*)
    sed -n '2,7p' "$0" | sed 's/^# \?//' >&2
    exit 2
    ;;
esac
