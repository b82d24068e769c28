#!/bin/sh
# OpenBao, which reads BAO_ and some VAULT_ variables, started as Vault is.
for name in ADDR TOKEN FORMAT NAMESPACE DEV_ROOT_TOKEN_ID DEV_LISTEN_ADDRESS CACERT SKIP_VERIFY; do
    eval "value=\${VAULT_$name:-}"
    [ -z "$value" ] || export "BAO_$name=$value"
done
exec bao "$@"
