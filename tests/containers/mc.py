"""``mc alias set`` and ``mc mirror``, with boto3: the guide's client of the object store is nowhere to be had."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ALIASES = Path.home() / "mc-aliases.json"


def main() -> None:
    match sys.argv[1:]:
        case ["alias", "set", name, url, access_key, secret_key]:
            known = json.loads(ALIASES.read_text()) if ALIASES.exists() else {}
            ALIASES.write_text(json.dumps({**known, name: [url, access_key, secret_key]}))
        case ["mirror", source, target] if target.startswith("."):
            alias, _, bucket = source.partition("/")
            download(client(alias), bucket, Path(target))
        case ["mirror", source, target]:
            alias, _, bucket = target.partition("/")
            upload(client(alias), Path(source), bucket)
        case other:
            sys.exit(f"mc: this stand-in does not know {other}")


def client(alias: str) -> Any:
    url, access_key, secret_key = json.loads(ALIASES.read_text())[alias]
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )


def download(s3: Any, bucket: str, folder: Path) -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            path = folder / found["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, found["Key"], str(path))


def upload(s3: Any, folder: Path, bucket: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            s3.upload_file(str(path), bucket, str(path.relative_to(folder)))


if __name__ == "__main__":
    main()
