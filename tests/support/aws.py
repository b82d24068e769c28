"""Clients of stand-ins for AWS, as those who run them have them: by LocalStack's own client, and checked by nobody."""

from __future__ import annotations

from typing import Any


def operator_client(service: str, url: str, region: str = "eu-central-1", **options: Any) -> Any:
    """Return a client of ``service`` on the stand-in at ``url`` (http), with ``options`` of boto3's clients."""
    from localstack_client.session import Session  # here, since every run of the tests imports this module

    session = Session("operator", "operator", region_name=region, localstack_host=url.removeprefix("http://"))
    client = session.client(service, **options)
    assert client.meta.endpoint_url == url, "AWS_ENDPOINT_URL of this shell names another stand-in; unset it"
    return client
