#!/bin/sh
# minio server FOLDER [--address :PORT] [--console-address :PORT]
set -eu

[ "$1" = server ] || { echo "minio: '$1' is not a command of this stand-in" >&2; exit 2; }
folder=$2 port=9000 console=9001
shift 2
while [ $# -gt 0 ]; do
    case $1 in
        --address) port=${2##*:} ;;
        --console-address) console=${2##*:} ;;
        *) echo "minio: '$1' is not an option of this stand-in" >&2; exit 2 ;;
    esac
    shift 2
done
export AWS_ACCESS_KEY_ID="$MINIO_ROOT_USER" AWS_SECRET_ACCESS_KEY="$MINIO_ROOT_PASSWORD"
exec weed -logtostderr=true mini -dir="$folder" -ip.bind=0.0.0.0 -s3.port="$port" -admin.port="$console"
