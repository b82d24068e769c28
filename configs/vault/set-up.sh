#!/bin/sh
# Prepares a Vault or OpenBao for Manifold. May be run again, also with another KEY_NAME: the policy remembers the keys of
# earlier runs, which go on to unwrap. Needs VAULT_ADDR; VAULT_TOKEN of an administrator, or else it only looks whether all
# is ready; MANIFOLD_TOKEN, the token that Manifold is to use; and KEY_NAME. MOUNT is where Transit is (default: transit),
# VAULT the program: vault (default) or bao.
set -eu
vault="${VAULT:-vault}"
mount="${MOUNT:-transit}"
policy=manifold
here=$(dirname "$0")

case "$KEY_NAME" in
    "" | *[!A-Za-z0-9_.-]*)
        echo "error: KEY_NAME (VAULT_KEY_NAME) is '$KEY_NAME'; letters, digits and . _ - make a name" >&2
        exit 1
        ;;
esac

case "$mount" in
    /* | */ | *[!A-Za-z0-9_./-]*)
        echo "error: MOUNT (VAULT_MOUNT_PATH) is '$mount'; letters, digits and . _ - / make a path" >&2
        exit 1
        ;;
esac

if [ -z "${VAULT_TOKEN:-}" ]; then
    export VAULT_TOKEN="$MANIFOLD_TOKEN"
    if "$vault" write "$mount/encrypt/$KEY_NAME" plaintext=AAAA context=AAAA >/dev/null; then
        echo "ready: key $KEY_NAME"
        exit 0
    fi
    cat >&2 <<END
error: Manifold's token (VAULT_TOKEN) cannot use the key $KEY_NAME. Once, and after each change of VAULT_KEY_NAME:
  VAULT_ADMIN_TOKEN=<the root token, or another that may do this> docker-compose -f docker-compose.enterprise.yml up -d
END
    exit 1
fi

"$vault" read -field=type "sys/mounts/$mount" >/dev/null 2>&1 || "$vault" secrets enable -path="$mount" transit
"$vault" read "$mount/keys/$KEY_NAME" >/dev/null 2>&1 || "$vault" write "$mount/keys/$KEY_NAME" type=aes256-gcm96 derived=true

known=$("$vault" policy list)
before=""
if echo "$known" | grep -qx "$policy"; then
    before=$("$vault" policy read "$policy")
fi
# Only what is a name: not a pattern that somebody else wrote.
former=$(printf '%s\n' "$before" | sed -n 's|^path "[^"]*/decrypt/\([A-Za-z0-9_.-][A-Za-z0-9_.-]*\)".*|\1|p' | sort -u)
{
    sed "s|MOUNT|$mount|; s|KEY_NAME|$KEY_NAME|" "$here/manifold-policy.hcl.template"
    for name in $former; do
        [ "$name" = "$KEY_NAME" ] || sed "s|MOUNT|$mount|; s|KEY_NAME|$name|" "$here/former-key-policy.hcl.template"
    done
} | "$vault" policy write "$policy" -

# Periodic: it lives on for as long as Manifold renews it.
if [ "$MANIFOLD_TOKEN" = "$VAULT_TOKEN" ]; then
    echo "warning: Manifold uses the administrator's token; set VAULT_TOKEN to a token of its own" >&2
elif ! VAULT_TOKEN="$MANIFOLD_TOKEN" "$vault" token lookup >/dev/null 2>&1; then
    # By its input: everybody on the machine can read the command line.
    id=$(printf '%s' "$MANIFOLD_TOKEN" | sed 's/[\\"]/\\&/g')
    printf '{"id": "%s", "policies": ["%s"], "no_default_policy": true, "period": "24h"}' "$id" "$policy" |
        "$vault" write auth/token/create-orphan - >/dev/null
fi
if "$vault" status | grep -q '^Storage Type  *inmem$'; then
    cat >&2 <<END
**********************************************************************
WARNING: this Vault keeps its keys in memory. When it stops, they are
gone, and with them every project that they encrypted. For anything
that has to last: VAULT_SERVER=durable (docs/deployment-guide.md).
**********************************************************************
END
fi
echo "ready: key $KEY_NAME, policy $policy"
