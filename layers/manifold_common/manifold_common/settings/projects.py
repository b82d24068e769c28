"""The settings under ``projects``: where projects are kept, how they are sealed, and what surrounds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import SecretStr

from manifold_common.settings.fields import (
    CENTURY_DAYS,
    CENTURY_SECONDS,
    Address,
    Addresses,
    Bytes,
    Directory,
    File,
    HttpUrl,
    SecretUrls,
    Section,
    Unserved,
    section,
    setting,
)
from manifold_common.settings.stores import STORES

_NO_CLIENT_CERTIFICATE = Unserved("the S3 client of this release shows no certificate", "remove it; keys say who asks")


class Tls(Section):
    """How a server's certificate is checked, and the certificate shown to it."""

    verify: bool = setting(True, "Check the server's certificate. Turn off only against a test server.")
    ca_file: File | None = setting(None, "Certificates that are trusted, in PEM. Unset: those of the system.")
    cert_file: File | None = setting(None, "Client certificate, in PEM.")
    key_file: File | None = setting(None, "Key of the client certificate, in PEM.")


class S3Tls(Tls):
    """TLS with the service."""

    cert_file: File | None = setting(None, "Client certificate, in PEM.", unserved=_NO_CLIENT_CERTIFICATE)
    key_file: File | None = setting(None, "Key of the client certificate, in PEM.", unserved=_NO_CLIENT_CERTIFICATE)


class OptionalTls(Tls):
    """TLS for a protocol whose address does not say whether it is used."""

    enabled: bool = setting(False, "Speak TLS.")


class RedisTls(OptionalTls):
    """TLS with Redis."""


class KafkaTls(OptionalTls):
    """TLS with Kafka."""


class KeyFile(Section):
    """Master keys in a local folder."""

    keystore_path: Directory = setting(Path("{workdir}/.keystore"), "Folder of the master keys. Back it up.")
    key_name: str = setting("default", "Master key that wraps new data keys; made when it does not exist.")


class VaultAuth(Section):
    """How Manifold signs in to Vault."""

    method: Literal["token", "approle", "kubernetes"] = setting("token", "Sign-in method.")
    mount_path: str | None = setting(None, "Where the method is mounted. Unset: `approle` or `kubernetes`.")
    role_id: str | None = setting(None, "Role id, for `approle`.", in_file=True)
    secret_id: SecretStr | None = setting(None, "Secret id, for `approle`.")
    role: str | None = setting(None, "Role, for `kubernetes`.")
    jwt_file: File = setting(
        Path("/var/run/secrets/kubernetes.io/serviceaccount/token"), "Service account token, for `kubernetes`."
    )


class Vault(Section):
    """Master keys in the Transit engine of HashiCorp Vault or OpenBao."""

    address: HttpUrl | None = setting(None, "Vault server.", env="VAULT_ADDR")
    token: SecretStr | None = setting(None, "Token, for the sign-in method `token`.")
    key_name: str = setting("manifold-kek", "Transit key that wraps new data keys.")
    mount_path: str = setting("transit", "Where the Transit engine is mounted.")
    namespace: str | None = setting(None, "Vault namespace.")
    timeout_seconds: float = setting(5.0, "Longest wait for one request, in seconds.", gt=0, le=300)
    auth: VaultAuth = section(VaultAuth)
    tls: Tls = section(Tls)


class AwsKms(Section):
    """Master keys in AWS KMS. Credentials are those of `aws`."""

    key_id: str | None = setting(None, "Id, ARN or alias of the KMS key that wraps new data keys.")
    region: str | None = setting(None, "AWS region.", fallback=("AWS_REGION", "AWS_DEFAULT_REGION"))
    endpoint: HttpUrl | None = setting(None, "Address of the service, if not AWS's own.")
    timeout_seconds: float = setting(5.0, "Longest wait for one request, in seconds.", gt=0, le=300)


class Rotation(Section):
    """How long a master key is used."""

    kek_days: int = setting(
        0,
        "Age at which a new version of the master key is made and the data keys are wrapped under it, in days. 0: "
        "never. AWS KMS rotates its keys itself, as each is set up there.",
        ge=0,
        le=3650,
    )


class Encryption(Section):
    """Which service holds the master keys."""

    provider: Literal["file", "vault", "awskms"] = setting("file", "Service that holds the master keys.")
    dek_cache_seconds: int = setting(
        300, "How long an unwrapped data key stays in memory, in seconds. 0 unwraps it for each use.", ge=0, le=86400
    )
    file: KeyFile = section(KeyFile)
    vault: Vault = section(Vault, env="VAULT")
    awskms: AwsKms = section(AwsKms, env="AWSKMS")
    rotation: Rotation = section(Rotation)


class Workspace(Section):
    """Working sets: the directories that agents see."""

    mode: Literal["legacy", "ephemeral"] = setting(
        "legacy",
        "`legacy`: the project's folder under `workdir`. `ephemeral`: a private folder in RAM per session; on "
        "Lambda that is the default.",
    )
    cache_dir: Directory = setting(Path("{workdir}/.cache"), "Disk cache of stored objects, sealed as in the store.")
    cache_max_bytes: Bytes = setting(
        10 * 2**30,
        "Size of that cache, in bytes; the oldest use goes first. On Lambda at most half of `/tmp`.",
        ge=2**24,
    )
    tmpfs_dir: Directory = setting(
        Path("/dev/shm/manifold-{uid}"),  # noqa: S108 - created 0700 and checked to be ours before use
        "Where ephemeral working sets live; must be a RAM file system. On Lambda: `/tmp/manifold-sets`.",
    )
    ttl_seconds: int = setting(
        86400,
        "Idle time after which a session's working set is removed, its changes saved first; in seconds.",
        ge=60,
        le=CENTURY_SECONDS,
    )
    draft_seconds: int = setting(
        60, "Time between two safety saves of changed working sets, in seconds. 0 turns them off.", ge=0, le=86400
    )


class Filesystem(Section):
    """The store when `projects.backend` is `filesystem`."""

    root: Directory = setting(Path("{workdir}/.store"), "Folder of the store.")


class S3(Section):
    """The store when `projects.backend` is `s3`."""

    endpoint: HttpUrl | None = setting(None, "Address of the service. Unset: AWS.")
    region: str = setting("us-east-1", "Region of the bucket.", fallback=("AWS_REGION", "AWS_DEFAULT_REGION"))
    bucket: str | None = setting(None, "Bucket.", env=("S3_BUCKET", "MINIO_BUCKET"))
    prefix: str = setting("", "Put before every object name, for a bucket that is shared.")
    access_key_id: str | None = setting(
        None, "Access key. Unset: the credentials of `aws`.", fallback=("MINIO_ROOT_USER",), in_file=True
    )
    secret_access_key: SecretStr | None = setting(None, "Secret of the access key.", fallback=("MINIO_ROOT_PASSWORD",))
    session_token: SecretStr | None = setting(None, "Token of temporary credentials.")
    use_path_style: bool = setting(False, "Write the bucket into the path instead of the host name, as MinIO needs.")
    sse_mode: Literal["none", "AES256", "aws:kms"] = setting(
        "none", "Encryption done by the service, on top of Manifold's own."
    )
    sse_kms_key_id: str | None = setting(None, "KMS key for `aws:kms`. Unset: the account's default key.")
    checksum: Literal["CRC64NVME", "SHA256", "none"] = setting(
        "CRC64NVME",
        "Checksum sent with each object, by which the service refuses bytes damaged on the way. `none` for a service "
        "that refuses the header; objects are then deleted one by one.",
    )
    sign_payload: bool = setting(
        False, "Sign the bytes of each object as well. For a service that takes no unsigned ones; costs time."
    )
    bulk_delete: bool = setting(
        True, "Delete up to 1,000 objects in one request. `false` for a service that cannot: one request for each."
    )
    connect_timeout_seconds: float = setting(5.0, "Longest wait for a connection, in seconds.", gt=0, le=300)
    health_timeout_seconds: float = setting(
        5.0, "Longest time for the request by which health looks at the service, in seconds.", gt=0, le=300
    )
    request_timeout_seconds: float = setting(60.0, "Longest time for one request, in seconds.", gt=0, le=3600)
    max_retries: int = setting(5, "How often a failed request is sent again, with growing pauses.", ge=0, le=50)
    retry_timeout_seconds: float = setting(
        60.0, "Longest time for a request and its retries, in seconds.", gt=0, le=86400
    )
    public_endpoint: HttpUrl | None = setting(
        None, "Address of the service for clients that read and store content by themselves. Unset: `endpoint`."
    )
    link_seconds: int = setting(
        900, "How long a client may use a link to an object, in seconds; one to a folder's, too.", ge=60, le=43200
    )
    max_connections: int = setting(
        128,
        "Most requests of one process to the service at the same time; others wait for their turn. The request by "
        "which health looks at the service does not count.",
        ge=1,
        le=4096,
    )
    tls: S3Tls = section(S3Tls)


class Redis(Section):
    """Coordination between nodes. It makes work faster; nothing is lost without it."""

    enabled: bool = setting(False, "Use Redis.")
    addr: Address = setting("localhost:6379", "Redis server.")
    username: str | None = setting(None, "User. Unset: the default user.", in_file=True)
    password: SecretStr | None = setting(None, "Password.")
    db: int = setting(0, "Database number.", ge=0, le=1023)
    timeout_seconds: float = setting(
        0.5, "Longest wait for one request before work goes on without Redis, in seconds.", gt=0, le=60
    )
    lock_seconds: int = setting(30, "Life of a commit lock whose holder has died, in seconds.", ge=1, le=3600)
    tls: RedisTls = section(RedisTls)


class Sasl(Section):
    """Sign-in to Kafka."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = setting("SCRAM-SHA-512", "Mechanism.")
    username: str | None = setting(None, "User. Unset: no sign-in.", in_file=True)
    password: SecretStr | None = setting(None, "Password.")


class Webhooks(Section):
    """Events sent to HTTP endpoints."""

    urls: SecretUrls = setting((), "Where each event is posted; often, whoever knows it may post. Empty: nowhere.")
    secret: SecretStr | None = setting(None, "Key that signs each request, at least 16 characters.")
    timeout_seconds: float = setting(10.0, "Longest wait for an answer, in seconds.", gt=0, le=120)


class Events(Section):
    """Events about every change, delivered through Kafka and to webhooks."""

    enabled: bool = setting(False, "Publish events to Kafka.")
    brokers: Addresses = setting((), "Kafka brokers.")
    topic: str = setting("manifold.project.commits", "Topic.", pattern=r"^[A-Za-z0-9._-]{1,249}$")
    partitions: int = setting(6, "Partitions of the topic, when Manifold makes it.", ge=1, le=10000)
    replication_factor: int = setting(1, "Copies of each partition, when Manifold makes the topic.", ge=1, le=15)
    include_paths: bool = setting(
        False, "With encryption on: let events carry the names of changed files, in plaintext. Off, none appear."
    )
    max_paths: int = setting(200, "Most changed paths in one event; the rest are counted.", ge=0, le=10000)
    timeout_seconds: float = setting(10.0, "Longest wait for a broker's answer, in seconds.", gt=0, le=300)
    max_attempts: int = setting(
        20,
        "How often an event may be refused, as too large or malformed, before it is parked for an operator. "
        "Outages of the sink do not count.",
        ge=1,
        le=1000,
    )
    retention_days: int = setting(
        7, "How long delivered events stay in the database, for those who read them, in days.", ge=0, le=3650
    )
    tls: KafkaTls = section(KafkaTls)
    sasl: Sasl = section(Sasl)
    webhooks: Webhooks = section(Webhooks, env="WEBHOOKS")


class Quotas(Section):
    """Limits, checked before work starts. 0 means no limit."""

    max_project_bytes: Bytes = setting(50 * 2**30, "Content of one project at its newest generation, in bytes.", ge=0)
    max_files: int = setting(1_000_000, "Files, folders and links in one project.", ge=0)
    max_file_bytes: Bytes = setting(10 * 2**30, "Size of one file, in bytes.", ge=0)
    max_session_ram_bytes: Bytes = setting(4 * 2**30, "RAM for the working set of one session, in bytes.", ge=0)


class ResumableUploads(Section):
    """Files that clients send in parts, over several requests; and restores, imports and archives that jobs do for
    clients, with what came of them.
    """

    kept_days: int = setting(
        7,
        "How long an unfinished one is kept after its last part, and what came of a job's request, in days.",
        ge=1,
        le=365,
    )
    max_per_project: int = setting(100, "Most that are open at once in one project.", ge=1)
    max_per_tenant: int = setting(1000, "Most that are open at once in all projects of a tenant.", ge=1)


class Retention(Section):
    """How long history is kept. With `generations` and `days` both 0, everything is kept; with both set, a generation
    stays while either keeps it.
    """

    generations: int = setting(
        0,
        "Keep this many of the newest generations of a project. 0 sets no number.",
        ge=0,
        le=1_000_000_000,
    )
    days: int = setting(
        0,
        "Keep generations that are younger than this, in days. 0 sets no age.",
        ge=0,
        le=CENTURY_DAYS,
    )
    deleted_project_days: int = setting(
        7, "Days for which a deleted project can be brought back. 0: it cannot be.", ge=0, le=3650
    )


class Maintenance(Section):
    """Background upkeep of the store."""

    interval_seconds: int = setting(300, "Time between two rounds, in seconds. 0 turns them off.", ge=0, le=86400 * 365)
    checkpoint_commits: int = setting(
        64, "Commits after the newest checkpoint at which the next one is written, at the latest.", ge=1, le=10000
    )
    garbage_grace_seconds: int = setting(
        86400,
        "How long an object stays in the store after the last reference to it has gone, in seconds. Dumping the "
        "database and then copying the store must take less.",
        ge=3600,
        le=CENTURY_SECONDS,
    )
    collection_hours: int = setting(
        24,
        "Time between two collections of garbage, which also remove the history that is not kept, in hours. 0 turns "
        "them off.",
        ge=0,
        le=8760,
    )
    compact_below_percent: int = setting(
        50,
        "A collection writes stored objects anew of which less than this is still in use, in percent, and puts small "
        "ones together. 0: none.",
        ge=0,
        le=100,
    )
    jobs_kept_days: int = setting(
        30,
        "How long jobs that are over are listed, in days; at least a day, and for `collectionHours`.",
        ge=0,
        le=3650,
    )
    scrub_percent: float = setting(
        1.0,
        "Percentage of the objects of all projects whose content is read and checked each night, when it is also "
        "looked whether all are there. 0: neither is done.",
        ge=0,
        le=100,
    )


if TYPE_CHECKING:
    Backend = str
else:
    Backend = Literal[tuple(STORES)]


class Projects(Section):
    """Projects: the store, encryption, working sets, coordination and limits."""

    backend: Backend = setting("filesystem", "Where projects are stored.")
    encrypt: bool = setting(
        False, "Seal everything that leaves RAM. Needs `projects.workspace.mode: ephemeral`."
    )  # fmt: skip
    tree_memory_bytes: Bytes = setting(
        0,
        "Most memory that reading the trees of projects takes at one time, about, in bytes. What would take more is "
        "refused before it is read. 0: half of the memory of the machine, its container or the function. Each file "
        "takes about 1 KB while it is read.",
        ge=0,
    )
    encryption: Encryption = section(Encryption)
    workspace: Workspace = section(Workspace)
    filesystem: Filesystem = section(Filesystem)
    s3: S3 = section(S3, env="S3")
    redis: Redis = section(Redis, env="REDIS")
    events: Events = section(Events, env="KAFKA")
    quotas: Quotas = section(Quotas)
    resumable_uploads: ResumableUploads = section(ResumableUploads)
    retention: Retention = section(Retention)
    maintenance: Maintenance = section(Maintenance)
