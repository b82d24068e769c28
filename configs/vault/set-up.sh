#!/bin/sh
# Prepares a Vault or OpenBao for Manifold; may be run again. Needs VAULT_ADDR and VAULT_TOKEN of an administrator,
# MANIFOLD_TOKEN (the token that Manifold is to use) and KEY_NAME. VAULT names the program: vault (default) or bao.
set -eu
vault="${VAULT:-vault}"
here=$(dirname "$0")

"$vault" read -field=type sys/mounts/transit >/dev/null 2>&1 || "$vault" secrets enable transit
"$vault" read "transit/keys/$KEY_NAME" >/dev/null 2>&1 || "$vault" write "transit/keys/$KEY_NAME" type=aes256-gcm96 derived=true
sed "s|KEY_NAME|$KEY_NAME|g" "$here/manifold-policy.hcl.template" | "$vault" policy write manifold -
# Periodic: it lives on for as long as Manifold renews it.
if [ "$MANIFOLD_TOKEN" = "$VAULT_TOKEN" ]; then
    echo "warning: Manifold uses the administrator's token; set VAULT_TOKEN to a token of its own" >&2
elif ! VAULT_TOKEN="$MANIFOLD_TOKEN" "$vault" token lookup >/dev/null 2>&1; then
    "$vault" token create -id="$MANIFOLD_TOKEN" -policy=manifold -no-default-policy -orphan -period=24h >/dev/null
fi
echo "ready: key $KEY_NAME, policy manifold"
