# As the vendor's image has it: options and subcommands are those of vault; a server reads the folder /$NAME/config, into
# which VAULT_LOCAL_CONFIG is written, and runs as vault, who owns /vault/file and /vault/logs.
set -eu

if [ -n "${VAULT_LOCAL_CONFIG:-}" ]; then
    printf '%s\n' "$VAULT_LOCAL_CONFIG" > "/$NAME/config/local.json"
fi
case $1 in
    server)
        shift
        case " $* " in
            *" -dev "*) set -- vault server -dev-root-token-id="${VAULT_DEV_ROOT_TOKEN_ID:-}" \
                -dev-listen-address="${VAULT_DEV_LISTEN_ADDRESS:-0.0.0.0:8200}" "$@" ;;
            *) set -- vault server -config="/$NAME/config" "$@" ;;
        esac
        if [ "$(id -u)" = 0 ]; then
            chown -R "$NAME:$NAME" "/$NAME/file" "/$NAME/logs"
            export HOME="/home/$NAME"
            exec setpriv --reuid="$NAME" --regid="$NAME" --init-groups "$@"
        fi
        ;;
    -*) set -- vault "$@" ;;
    *) ! vault "$1" -help >/dev/null 2>&1 || set -- vault "$@" ;;
esac
exec "$@"
