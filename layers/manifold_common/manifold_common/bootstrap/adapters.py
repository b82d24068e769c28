"""From settings to adapters. Each is imported inside the builder that needs it, so that a function loads no client that
it does not use."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from manifold_common.bootstrap.credentials import SettingsCredentials
from manifold_common.domain.own_server import OwnServer
from manifold_common.errors import ConfigError
from manifold_common.ports.aws_account import AwsAccount, AwsKeys, NoAwsKeys

if TYPE_CHECKING:
    from pydantic import SecretStr

    from manifold_common.adapters.kafka.options import KafkaOptions
    from manifold_common.adapters.vault.options import SignIn
    from manifold_common.ports.catalog import Catalog
    from manifold_common.ports.clock import Clock, Randomness
    from manifold_common.ports.credentials import Credentials
    from manifold_common.ports.generation_cache import GenerationCache
    from manifold_common.ports.key_provider import KeyProvider
    from manifold_common.settings import Aws, Settings, Vault


def build_catalog(settings: Settings, dsn: str, clock: Clock) -> Catalog:
    """Raises ConfigError; SchemaMismatch: the schema is another than this program's; CatalogUnavailable."""
    from manifold_common.adapters.postgres.catalog import PostgresCatalog
    from manifold_common.adapters.postgres.pool import Limits as PoolLimits

    timeout = settings.database_timeout_seconds
    limits = PoolLimits(
        connections=settings.database_pool_max,
        statement_seconds=timeout,
        patience_seconds=timeout,
        connect_seconds=settings.database_connect_seconds,
        idle_seconds=settings.database_idle_seconds,
    )
    catalog = PostgresCatalog(
        _database_credentials(settings, dsn, clock),
        clock=clock,
        limits=limits,
        is_direct=isinstance(dsn, OwnServer) or settings.database_prepare,
    )
    try:
        catalog.check_schema()
    except BaseException:
        catalog.close()
        raise
    return catalog


def _database_credentials(settings: Settings, dsn: str, clock: Clock) -> str | Credentials[str]:
    url = settings.database_url
    if url is None or url.get_secret_value() != dsn:
        return dsn  # an embedded server's, which asks for no password

    def of(latest: Settings) -> str:
        found = latest.database_url.get_secret_value() if latest.database_url else ""
        if _place_of(found) != _place_of(dsn):
            raise ConfigError("DATABASE_URL names another database now", hint="start anew to change to it")
        return found

    return SettingsCredentials(settings, of, clock)


def check_database_url(settings: Settings) -> None:
    """Raises ConfigError: ``DATABASE_URL`` is set, and names an option that PostgreSQL's clients do not know."""
    if settings.database_url is not None:
        from manifold_common.adapters.postgres.dsn import Dsn

        Dsn(settings.database_url.get_secret_value())


def _place_of(url: str) -> object:
    """Return what a database URL says besides how to be let in."""
    parts = urlsplit(url)
    options = [(name, value) for name, value in parse_qsl(parts.query) if name not in ("user", "password")]
    return parts.netloc.rpartition("@")[2], parts.path, options


def client_environment(dsn: str) -> dict[str, str]:
    """Return the variables by which PostgreSQL's own programs find the catalog's database. Raises ConfigError."""
    from manifold_common.adapters.postgres import clients

    return clients.client_environment(dsn)


def shares_sessions(dsn: str) -> bool:
    """Tell whether a pooler in transaction mode is before the database. Raises ConfigError, CatalogUnavailable."""
    from manifold_common.adapters.postgres import pooler

    return pooler.shares_sessions(dsn)


def migrate_catalog(dsn: str, *, keep_catalog: bool = False) -> list[str]:
    """Bring the database's schema up to date; return the names of the migrations that were run.

    Args:
        keep_catalog: go on with the catalog that is there, after a dump was refused.
    """
    from manifold_common.adapters.postgres.migrations import migrate

    return migrate(dsn, keep_catalog=keep_catalog)


def set_up_roles(dsn: str) -> list[str]:
    """Make the database's roles and give each what it needs; return their names. Raises DatabaseDenied."""
    from manifold_common.adapters.postgres import migrations, roles

    return roles.set_up_roles(dsn, [one.sql for one in migrations.known_migrations()])


def role_script() -> str:
    """Return what ``set_up_roles`` does, as statements for psql."""
    from manifold_common.adapters.postgres import migrations, roles

    return roles.role_script([one.sql for one in migrations.known_migrations()])


def revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def aws_account(aws: Aws) -> AwsAccount:
    """Return the one place that credentials for AWS come from, but where settings give a service its own.

    Raises:
        ConfigError: the keys of the settings cannot be keys.
    """
    keys = None
    if aws.access_key_id is not None and aws.secret_access_key is not None:
        token = aws.session_token.get_secret_value() if aws.session_token else None
        keys = AwsKeys(aws.access_key_id, aws.secret_access_key.get_secret_value(), token)
    try:
        return _account(keys)
    except NoAwsKeys as error:
        raise ConfigError(str(error), hint=error.hint) from None


@lru_cache(maxsize=4)
def _account(keys: AwsKeys | None) -> AwsAccount:
    from manifold_common.adapters.aws.account import ChainedAccount

    return ChainedAccount(keys)


def build_generation_cache(settings: Settings, clock: Clock, randomness: Randomness) -> GenerationCache | None:
    """Return the cache, or ``None`` where nodes cannot hear of each other.

    It connects, and loads its client, when it is first used.
    """
    redis = settings.projects.redis
    if not redis.enabled:
        if not settings.projects.events.enabled or settings.functions.name is not None:
            return None  # no function listens to Kafka
        from manifold_common.adapters.kafka.generations import KafkaGenerations

        return KafkaGenerations(kafka_options(settings), kafka_credentials(settings, clock))
    from manifold_common.adapters.redis.generation_cache import RedisGenerationCache
    from manifold_common.adapters.redis.options import RedisOptions

    host, _, port = redis.addr.rpartition(":")
    tls = redis.tls
    options = RedisOptions(
        host=host.strip("[]"),
        port=int(port),
        db=redis.db,
        username=redis.username,
        password=revealed(redis.password),
        timeout_seconds=redis.timeout_seconds,
        lock_seconds=redis.lock_seconds,
        tls=tls.enabled,
        verify_tls=tls.verify,
        ca_file=str(tls.ca_file) if tls.ca_file else None,
        cert_file=str(tls.cert_file) if tls.cert_file else None,
        key_file=str(tls.key_file) if tls.key_file else None,
    )

    def of(latest: Settings) -> RedisOptions:
        found = latest.projects.redis
        return replace(options, username=found.username, password=revealed(found.password))

    credentials = SettingsCredentials(settings, of, clock)
    return RedisGenerationCache(options, clock=clock, randomness=randomness, credentials=credentials)


def kafka_options(settings: Settings) -> KafkaOptions:
    from manifold_common.adapters.kafka.options import KafkaOptions

    events = settings.projects.events
    tls, sasl = events.tls, events.sasl
    return KafkaOptions(
        brokers=events.brokers,
        topic=events.topic,
        partitions=events.partitions,
        replication_factor=events.replication_factor,
        timeout_seconds=events.timeout_seconds,
        mechanism=sasl.mechanism,
        username=sasl.username,
        password=revealed(sasl.password),
        tls=tls.enabled,
        verify_tls=tls.verify,
        ca_file=str(tls.ca_file) if tls.ca_file else None,
        cert_file=str(tls.cert_file) if tls.cert_file else None,
        key_file=str(tls.key_file) if tls.key_file else None,
    )


def kafka_credentials(settings: Settings, clock: Clock) -> Credentials[KafkaOptions]:
    options = kafka_options(settings)

    def of(latest: Settings) -> KafkaOptions:
        sasl = latest.projects.events.sasl
        return replace(options, mechanism=sasl.mechanism, username=sasl.username, password=revealed(sasl.password))

    return SettingsCredentials(settings, of, clock)


def build_key_providers(
    settings: Settings, clock: Clock, randomness: Randomness, *, function: str | None = None
) -> dict[str, KeyProvider]:
    """Return the providers that can open keys, by name: the one that is set, and every other that is configured.

    So projects stay readable after the provider was changed, for as long as the settings of the old one are kept. No
    provider connects, or loads its client, before it is used.

    Args:
        function: the function whose process this is. One that holds no keys goes without a provider.

    Raises:
        ConfigError: the settings of the provider that is set are incomplete, or those of any provider are wrong.
    """
    encryption = settings.projects.encryption
    providers: dict[str, KeyProvider] = {}
    if encryption.provider == "file" or encryption.file.keystore_path.is_dir():
        from manifold_common.adapters.keyfile.provider import FileKeyProvider

        providers["file"] = FileKeyProvider(
            encryption.file.keystore_path, key_name=encryption.file.key_name, clock=clock, randomness=randomness
        )
    vault = _build_vault(settings, clock, randomness)
    if vault is not None:
        providers["vault"] = vault
    if encryption.awskms.key_id:
        from manifold_common.adapters.kms.options import KmsOptions
        from manifold_common.adapters.kms.provider import KmsKeyProvider

        kms = encryption.awskms
        assert kms.key_id is not None
        options = KmsOptions(kms.key_id, region=kms.region, endpoint=kms.endpoint, timeout_seconds=kms.timeout_seconds)
        accounts = SettingsCredentials(settings, lambda latest: aws_account(latest.aws), clock)
        providers["awskms"] = KmsKeyProvider(options, accounts, clock=clock, randomness=randomness)
    if settings.projects.encrypt and encryption.provider not in providers:
        from manifold_common.settings.holders import holds_keys

        if function is not None and not holds_keys(function):
            from manifold_common.adapters.keyless.provider import KeylessProvider

            return {**providers, encryption.provider: KeylessProvider(encryption.provider, function)}
        raise ConfigError(
            f"the key provider {encryption.provider} is not configured",
            hint=f"set what projects.encryption.{encryption.provider} needs; 'manifold config check' names it",
        )
    return providers


def _build_vault(settings: Settings, clock: Clock, randomness: Randomness) -> KeyProvider | None:
    """Return the provider, or ``None`` if its settings lack the address or what the sign-in method needs."""
    vault = settings.projects.encryption.vault
    if vault.address is None or (sign_in := _vault_sign_in(vault)) is None:
        return None
    from manifold_common.adapters.vault.options import VaultOptions
    from manifold_common.adapters.vault.provider import VaultKeyProvider

    tls = vault.tls
    options = VaultOptions(
        address=vault.address,
        key_name=vault.key_name,
        sign_in=sign_in,
        mount_path=vault.mount_path,
        namespace=vault.namespace,
        timeout_seconds=vault.timeout_seconds,
        verify_tls=tls.verify,
        ca_file=str(tls.ca_file) if tls.ca_file else None,
        cert_file=str(tls.cert_file) if tls.cert_file else None,
        key_file=str(tls.key_file) if tls.key_file else None,
    )

    def of(latest: Settings) -> SignIn:
        return _vault_sign_in(latest.projects.encryption.vault) or sign_in

    credentials = SettingsCredentials(settings, of, clock)
    return VaultKeyProvider(options, clock=clock, randomness=randomness, credentials=credentials)


def _vault_sign_in(vault: Vault) -> SignIn | None:
    from manifold_common.adapters.vault.options import AppRoleSignIn, KubernetesSignIn, TokenSignIn

    auth = vault.auth
    if auth.method == "token" and vault.token is not None:
        return TokenSignIn(vault.token.get_secret_value())
    if auth.method == "approle" and auth.role_id is not None and auth.secret_id is not None:
        return AppRoleSignIn(auth.role_id, auth.secret_id.get_secret_value(), auth.mount_path or "approle")
    if auth.method == "kubernetes" and auth.role is not None:
        return KubernetesSignIn(auth.role, str(auth.jwt_file), auth.mount_path or "kubernetes")
    return None
