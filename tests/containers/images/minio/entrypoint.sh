# As the vendor's image has it: arguments are those of minio unless they begin with it.
set -eu
[ "$1" = minio ] || set -- minio "$@"
exec "$@"
