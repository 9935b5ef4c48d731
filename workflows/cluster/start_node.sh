#!/usr/bin/env bash
# One node of a Ray cluster, in the foreground; SIGTERM ends it, and nothing but it.
#
#   start_node.sh head [ray start's options]                  on the first machine
#   start_node.sh worker HEAD:PORT [ray start's options]      on each of the others
#   start_node.sh wait HEAD:PORT N                            until N nodes are there
#
# Every node must hold the same token: RAY_AUTH_TOKEN_PATH (default ~/.ray/auth_token, made on the head where there
# is none; copy it to the others over ssh) or RAY_AUTH_TOKEN. Dashboard and job server listen on 127.0.0.1 alone:
# `ssh -L 8265:127.0.0.1:8265 HEAD` reaches them. The credentials of the object store come from this environment.
# RAY_PORT (6379) and RAY_DASHBOARD_PORT (8265) are the head's ports, RAY_NODE_IP the address that others reach it by.
set -euo pipefail
umask 077
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# Ray 2.60 goes on counting the leases of a driver that was killed; the next one would wait 2 s before every phase.
export RAY_worker_cap_enabled=0

usage() {
    sed -n '2,/^set/{/^#/p}' "$0" | sed 's/^# \{0,1\}//' >&2
    exit 2
}

need_token() {
    ray get-auth-token >/dev/null 2>&1 && return
    echo "no token: copy the head's ~/.ray/auth_token here, or set RAY_AUTH_TOKEN_PATH" >&2
    exit 2
}

# The reply of the cluster, not of this machine: nodes that are up, within RAY_WAIT_S seconds (default 600).
wait_for() {
    python3 - "$1" "$2" "${RAY_WAIT_S:-600}" <<'PYTHON'
import logging, sys, time
import ray

address, wanted, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
deadline, there = time.monotonic() + seconds, 0
while there < wanted:
    if time.monotonic() > deadline:
        sys.exit(f"{there} of {wanted} nodes joined {address} within {seconds:g} s")
    try:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        there = sum(node["Alive"] for node in ray.nodes())
    except (ConnectionError, ray.exceptions.RayError):
        pass
    time.sleep(1)
print(f"{there} nodes at {address}")
PYTHON
}

case "${1:-}" in
    head)
        shift
        if ! ray get-auth-token >/dev/null 2>&1; then
            if [ -n "${RAY_AUTH_TOKEN_PATH:-}" ]; then
                mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")"
                python3 -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH"
            else
                ray get-auth-token --generate >/dev/null
            fi
        fi
        exec ray start --head --block --port="${RAY_PORT:-6379}" ${RAY_NODE_IP:+--node-ip-address="$RAY_NODE_IP"} \
            --dashboard-host=127.0.0.1 --dashboard-port="${RAY_DASHBOARD_PORT:-8265}" \
            --dashboard-agent-listen-port=0 --disable-usage-stats "$@"
        ;;
    worker)
        [ $# -ge 2 ] || usage
        address=$2
        shift 2
        need_token
        exec ray start --address="$address" --block --dashboard-agent-listen-port=0 --disable-usage-stats "$@"
        ;;
    wait)
        [ $# -eq 3 ] || usage
        need_token
        wait_for "$2" "$3"
        ;;
    *) usage ;;
esac
