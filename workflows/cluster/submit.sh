#!/usr/bin/env bash
# Submits a run to the job server of a Ray cluster that is up, and follows it; nodes need Ray and tamis's
# dependencies, tamis itself travels along from this checkout.
#
#   ssh -N -L 8265:127.0.0.1:8265 HEAD &      (or: kubectl port-forward service/NAME-head-svc 8265:8265 &)
#   RAY_AUTH_TOKEN_PATH=token workflows/cluster/submit.sh web/web.yaml --store s3://bucket/tamis
#
# The config's folder travels whole (without .tamis): it should hold the config and small files beside it; source,
# store and export are URLs or folders that every node mounts. The object store's credentials are those in the
# environment of the nodes: nothing of this shell's environment is sent. Ends with the code of tamis.
# RAY_API_SERVER_ADDRESS (http://127.0.0.1:8265): the job server.
set -euo pipefail
umask 077
[ $# -gt 0 ] && [ -f "$1" ] || { sed -n '2,/^set/{/^#/p}' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2; }
config=$1
shift
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token} RAY_API_SERVER_ADDRESS=${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}

root=$(cd "$(dirname "$0")/../.." && pwd)
travels=$(mktemp -d)
trap 'rm -rf "$travels"' EXIT
(cd "$root" && find operators gpu_ops pipeline workflows -name __pycache__ -prune -o -type f -print0 \
    | tar --null -cf - -T -) | tar -xf - -C "$travels"
mkdir "$travels/job"
(cd "$(dirname "$config")" && tar --exclude=.tamis -cf - .) | tar -xf - -C "$travels/job"

job=tamis-$(date +%Y%m%d-%H%M%S)-$RANDOM
ray job submit --submission-id "$job" --working-dir "$travels" --no-wait -- \
    bash workflows/cluster/again.sh python -m pipeline.cli run "job/$(basename "$config")" \
    --engine ray --address auto --plain "$@"
echo "follow with: ray job logs --follow $job; end it, resumable, with: ray job stop $job" >&2
ray job logs --follow "$job" || true
python3 - "$job" <<'PYTHON'
import sys, time
from ray.job_submission import JobStatus, JobSubmissionClient

client = JobSubmissionClient()
while not (status := client.get_job_status(sys.argv[1])).is_terminal():
    time.sleep(1)
code = client.get_job_info(sys.argv[1]).driver_exit_code
sys.exit(0 if status == JobStatus.SUCCEEDED else 4 if status == JobStatus.STOPPED else code or 1)
PYTHON
