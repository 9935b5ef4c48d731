#!/usr/bin/env bash
# Runs a tamis command, and again while it ends with 4 (interrupted, out of resources: it goes on where it was).
# 2 (bad config) and 3 (bad data) would end the same way again, so they end this too.
#
#   again.sh tamis run web.yaml --engine ray --store s3://bucket/tamis
#
# TAMIS_TRIES (default 5) bounds the tries, TAMIS_WAIT_S (30) is the first pause; each is twice as long as the last.
# SIGTERM goes on to the command, and there is no other try.
set -uo pipefail
[ $# -gt 0 ] || { echo "again.sh: no command" >&2; exit 2; }
tries=${TAMIS_TRIES:-5} pause=${TAMIS_WAIT_S:-30} child='' stopped=''

stop() {
    stopped=1
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
}
trap stop TERM INT

for ((try = 1; ; try++)); do
    "$@" &
    child=$!
    while wait "$child"; code=$?; kill -0 "$child" 2>/dev/null; do :; done # a signal ends `wait`, not the child
    [ "$code" -eq 4 ] && [ -z "$stopped" ] && [ "$try" -lt "$tries" ] || exit "$code"
    echo "again.sh: try $try of $tries ended with 4; the next one in $pause s" >&2
    child=''
    sleep "$pause" &
    wait $! # which a signal ends
    [ -z "$stopped" ] || exit 4
    pause=$((pause * 2))
done
