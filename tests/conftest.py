"""Fixtures that every part of the suite shares. Each lives with what it starts, in ``tests/support``."""

import signal

# A shell starts its background jobs with SIGINT ignored, and nohup its command with SIGHUP: the programs under test
# would inherit that. What is handled here is not.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)

pytest_plugins = [
    "tests.support.workers",
    "tests.support.collection",
    "tests.support.logs",  # what it sets back is set by others
    "tests.support.seaweedfs",  # before all that import it
    "tests.support.stack",
    "tests.support.artifacts",
    "tests.support.cli",
    "tests.support.clients",
    "tests.support.compose",
    "tests.support.functions",
    "tests.support.host",
    "tests.support.kafka",
    "tests.support.kms",
    "tests.support.manifold",
    "tests.support.openbao",
    "tests.support.postgres",
    "tests.support.redis",
    "tests.support.secrets_manager",
    "tests.support.small_disk",
    "tests.support.webhooks",
    "tests.support.api",
    "tests.support.remote",
    "tests.support.catalog_backup",  # these three import others, so they come last
    "tests.support.emulator",
    "tests.support.scene",
]
