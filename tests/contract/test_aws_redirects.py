"""No client that signs for AWS follows a redirect: what it signs with would go along. (S3: ``test_s3_failures.py``.)"""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import closing

import pytest
from manifold_common.adapters.aws.account import ChainedAccount
from manifold_common.adapters.aws.nudge_queue import SqsNudgeQueue
from manifold_common.adapters.aws.secret import read_secret
from manifold_common.adapters.aws.service import AwsOptions
from manifold_common.adapters.kms.options import KmsOptions
from manifold_common.adapters.kms.provider import KmsKeyProvider
from manifold_common.adapters.s3.bucket import prepare_bucket
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import ManifoldError
from manifold_common.ports.aws_account import AwsKeys
from manifold_common.ports.credentials import Fixed
from manifold_common.ports.retry import RetryPolicy

from tests.support.odd_server import odd_server

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""botocore leaves the connection of an answer with status 303 to the collector."""

KEYS = AwsKeys("AKIDEXAMPLE", "secret", "token")


def use_kms(url: str) -> bool:
    options = KmsOptions("alias/key", region="eu-central-1", endpoint=url, attempts=1)
    provider = KmsKeyProvider(options, Fixed(ChainedAccount(KEYS)), clock=SystemClock(), randomness=SystemRandomness())
    return provider.health().ok


def use_secret(url: str) -> bool:
    try:
        return bool(read_secret("id", AwsOptions("eu-central-1", ChainedAccount(KEYS), url), clock=SystemClock()))
    except ManifoldError:
        return False


def use_queue(url: str) -> bool:
    queue = SqsNudgeQueue(f"{url}/1/q", AwsOptions("eu-central-1", ChainedAccount(KEYS), url), clock=SystemClock())
    with closing(queue):
        return queue.send()


def use_bucket(url: str) -> bool:
    options = S3Options("bucket", endpoint=url, retries=RetryPolicy(attempts=1))
    try:
        return bool(prepare_bucket(options, ChainedAccount(KEYS)))
    except ManifoldError:
        return False


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("use", [use_kms, use_secret, use_queue, use_bucket])
def test_a_redirect_is_a_failure_and_not_followed(use: Callable[[str], bool], status: int) -> None:
    with odd_server() as server, odd_server() as other:
        server.answer(status, location=other.url + "/elsewhere")
        assert not use(server.url)
        assert server.asked
        assert other.asked == []
    gc.collect()  # here, where its warning is expected
