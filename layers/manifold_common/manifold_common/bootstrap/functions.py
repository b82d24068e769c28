"""What a function needs around the services: settings from a secret, services that forget, what wakes others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifold_common.bootstrap.services import Manifold
from manifold_common.bootstrap.wiring import assemble, build
from manifold_common.errors import ConfigError
from manifold_common.ports.generation_cache import NoGenerationCache

if TYPE_CHECKING:
    from manifold_common.adapters.aws.service import AwsOptions
    from manifold_common.ports.clock import Clock
    from manifold_common.ports.nudge_queue import NudgeQueue
    from manifold_common.ports.work_queue import WorkQueue
    from manifold_common.settings import Aws, Settings


def load_function_settings(function: str | None = None) -> Settings:
    """Return the settings of this function: its variables, over those of the secret that one of them may name.

    Args:
        function: which one it is; ``None``: one that may hold everything.

    Raises:
        ConfigError: also where the secret holds what this function must not. Denied, Unavailable: the secret cannot
            be read.
    """
    from manifold_common.settings import load_settings

    return load_settings(open_secret=_open_secret, function=function)


def build_function(settings: Settings, function: str | None = None) -> Manifold:
    """Wire everything for one container, for a function that may not hold all secrets.

    Raises:
        ConfigError: ``DATABASE_URL`` is not set. SchemaMismatch: the hint says what to run. Others as ``build``.
    """
    if settings.database_url is None:
        raise ConfigError(
            "databaseUrl is not set, and a function has no database of its own",
            hint="set DATABASE_URL, or put it into the secret that MANIFOLD_SECRETS_ID names",
        )
    dsn = settings.database_url.get_secret_value()
    return build(settings, dsn, function=function, work_queues=_work_queues(settings))


def anew(manifold: Manifold) -> Manifold:
    """Return new services over the same connections. What the old ones held in memory goes with them.

    The old services are not used afterwards; close the new ones.

    Raises:
        RamUnavailable: then the old ones go on.
    """
    context = manifold.context
    generations = context.generations
    made = assemble(
        manifold.settings,
        catalog=context.catalog,
        store=context.store,
        providers=manifold.providers,
        clock=context.clock,
        randomness=context.randomness,
        generations=None if isinstance(generations, NoGenerationCache) else generations,
        links=manifold.links,
        standing=manifold.standing,
        work_queues=manifold.work_queues,
    )
    context.workers.close()
    return made


def build_nudge_queue(settings: Settings, clock: Clock) -> NudgeQueue | None:
    """Return what wakes the function that delivers events, or ``None`` where that wakes by itself only.

    Raises:
        ConfigError: region or credentials are missing.
    """
    if settings.functions.nudge_queue_url is None:
        return None
    from manifold_common.adapters.aws.nudge_queue import SqsNudgeQueue

    return SqsNudgeQueue(settings.functions.nudge_queue_url, _aws_options(settings.aws), clock=clock)


def _work_queues(settings: Settings) -> dict[str, WorkQueue]:
    """Return what wakes each function that works on jobs, of those that a queue wakes."""
    functions = settings.functions
    chosen = {
        "reencrypt": (functions.reencrypt_queue_url, functions.reencrypt_workers),
        "maintenance": (functions.maintenance_queue_url, functions.maintenance_workers),
    }
    urls = {name: (url, workers) for name, (url, workers) in chosen.items() if url is not None}
    if not urls:
        return {}
    from manifold_common.adapters.aws.work_queue import SqsWorkQueue
    from manifold_common.adapters.system.clock import SystemClock

    options, clock = _aws_options(settings.aws), SystemClock()
    return {name: SqsWorkQueue(url, workers, options, clock=clock) for name, (url, workers) in urls.items()}


def _open_secret(secrets_id: str, aws: Aws) -> dict[str, str]:
    from manifold_common.adapters.aws.secret import read_secret
    from manifold_common.adapters.system.clock import SystemClock

    return read_secret(secrets_id, _aws_options(aws), clock=SystemClock())


def _aws_options(aws: Aws) -> AwsOptions:
    from manifold_common.adapters.aws.service import AwsOptions
    from manifold_common.bootstrap.adapters import aws_account

    if aws.region is None:
        raise ConfigError(
            "aws.region is not set, which services of AWS are found by",
            hint="Lambda sets AWS_REGION, and AWS_ACCESS_KEY_ID and what belongs to it; elsewhere, set them yourself",
        )
    return AwsOptions(aws.region, aws_account(aws), aws.endpoint_url)
