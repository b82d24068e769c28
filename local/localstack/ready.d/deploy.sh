#!/bin/sh
# Runs in LocalStack's container once it is ready: deploys what `make functions` has built (docs/functions-local.md).
set -eu

build=${MANIFOLD_BUILD:-/opt/manifold/build}
stack=manifold-local
artifacts=manifold-artifacts
packaged=$(mktemp)

if [ ! -f "$build/template.yaml" ]; then
  echo "error: nothing is built. Run 'make functions', then 'docker-compose ... restart localstack'." >&2
  exit 1
fi

awslocal s3 mb "s3://$artifacts" >/dev/null
awslocal cloudformation package --template-file "$build/template.yaml" --s3-bucket "$artifacts" \
  --output-template-file "$packaged" >/dev/null

# One for each function, with what it may hold. By a pipe: a list of processes shows arguments.
secret_of() {
  python3 -c '
import json, os, sys
print(json.dumps({name: os.environ[name] for name in sys.argv[1:] if os.environ.get(name)}))
' DATABASE_URL POSTGRES_PASSWORD "$@"
}
for function in api checkout commit fanout reencrypt maintenance; do
  case $function in
    fanout) names= ;;
    reencrypt | maintenance) names="S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY VAULT_TOKEN" ;;
    *) names="S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY VAULT_TOKEN REDIS_PASSWORD" ;;
  esac
  # shellcheck disable=SC2086 # names are words
  secret_of $names | awslocal secretsmanager create-secret --name "manifold/local/$function" \
    --secret-string file:///dev/stdin >/dev/null
done

awslocal cloudformation deploy --stack-name "$stack" --template-file "$packaged" \
  --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
  --parameter-overrides \
  Stage=local ApiAuthorization=NONE Alarms=off \
  PythonVersion="$LAMBDA_PYTHON" Architecture="$LAMBDA_ARCHITECTURE" \
  PublicUrl="$PUBLIC_URL" SecretPrefix=manifold/local \
  BucketName="$S3_BUCKET" S3Endpoint=http://minio:9000 S3PublicEndpoint=http://127.0.0.1:9002 \
  KeyProvider=vault VaultAddress=http://vault:8200 VaultKeyName="$VAULT_KEY_NAME" \
  RedisAddress=redis:6379 RedisTls=false KafkaBrokers="$KAFKA_BROKERS" KafkaTls=false

# This LocalStack has no HTTP APIs. A function URL hands the same events to the function, which serves every route.
account=$(awslocal sts get-caller-identity --query Account --output text)
awslocal lambda tag-resource --tags _custom_id_=manifold \
  --resource "arn:aws:lambda:$AWS_DEFAULT_REGION:$account:function:$stack-api"
awslocal lambda create-function-url-config --function-name "$stack-api" --auth-type NONE >/dev/null
echo "Manifold's functions are ready at $PUBLIC_URL"
