#!/bin/sh
# mc ready local
set -eu
[ "$*" = 'ready local' ] || { echo "mc: this stand-in knows 'ready local' only" >&2; exit 2; }
exec busybox wget -q -O /dev/null http://127.0.0.1:9000/healthz
