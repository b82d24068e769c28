# OpenBao of the compose files, for VAULT_SERVER=durable. Only containers beside it and this machine reach it; with other
# machines, give the listener a certificate (tls_cert_file, tls_key_file) and Manifold its authority (VAULT_TLS_CA_FILE).
storage "raft" {
  path                   = "/openbao/file"
  node_id                = "manifold"
  performance_multiplier = "1" # alone, it is ready a few seconds sooner after it was unsealed
}

listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}

api_addr     = "http://vault:8200"
cluster_addr = "http://vault:8201"
