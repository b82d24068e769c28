"""``sam local`` on the servers of enterprise mode, as docs/functions-local.md has it."""

from __future__ import annotations

import json

import pytest

from tests.containers.engine import Engine
from tests.containers.image_builder import build_images
from tests.containers.operator import Operator
from tests.containers.stacks import ENTERPRISE, Stacks
from tests.support.tools import tools

RUNTIME = "public.ecr.aws/lambda/python:3.13-x86_64"
INVOCATIONS = [
    ("ApiFunction", "http-post.json", 201),
    ("CommitFunction", "commit-direct.json", 200),
    ("CheckoutFunction", "checkout-direct.json", 200),
    ("ApiFunction", "http-get.json", 200),
    ("CheckoutFunction", "http-plan.json", 200),
    ("FanoutFunction", "schedule.json", 200),
    ("MaintenanceFunction", "maintenance-direct.json", 200),
    ("ReencryptFunction", "reencrypt-direct.json", 200),
]


@pytest.fixture(scope="module")
def functions(engine: Engine, stacks: Stacks) -> Operator:
    operator = stacks.enter(ENTERPRISE)
    build_images(engine, {RUNTIME})
    operator.build(f"make functions TOOLS={tools().folder}")
    operator.run(f"{ENTERPRISE.compose} stop manifold")
    return operator


@pytest.mark.parametrize(("function", "event", "status"), INVOCATIONS)
def test_each_function_does_its_work(functions: Operator, function: str, event: str, status: int) -> None:
    said = functions.run(
        f"set -a; . ./.env; set +a; {tools().folder}/bin/sam local invoke {function} --config-env local"
        f" --skip-pull-image --event events/{event} 2>sam.log || {{ cat sam.log; exit 1; }}"
    )
    answer = json.loads(said)
    assert answer.get("statusCode", 200) == status, said
    assert "errorType" not in answer, said


def test_start_api_serves_the_routes(functions: Operator) -> None:
    said = functions.run(
        f"set -a; . ./.env; set +a; {tools().folder}/bin/sam local start-api --config-env local --skip-pull-image"
        " >sam.log 2>&1 & for second in $(seq 90); do curl -fsS http://127.0.0.1:32180/api/v1/projects && break;"
        " sleep 1; done; kill $!; wait $! || true"
    )
    assert '"demo"' in said, (functions.checkout / "sam.log").read_text()
