"""The templates as AWS's own tools see them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.templates import INFRA, ROOT, all_templates
from tests.support.tools import run_in_tools, tools


def test_cfn_lint_finds_nothing() -> None:
    templates = [str(INFRA / f"{name}.yaml") for name in all_templates()]
    lint = tools().folder / "bin" / "cfn-lint"
    done = subprocess.run([lint, *templates], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_sam_takes_the_template(tmp_path: Path) -> None:
    said = tools().sam("validate", "--template-file", INFRA / "template.yaml", home=tmp_path)
    assert "is a valid SAM Template" in said


def test_sam_local_sees_every_route_and_function(tmp_path: Path) -> None:
    program = """
import sys
from samcli.lib.providers.api_provider import ApiProvider
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
stacks, _ = SamLocalStackProvider.get_stacks(sys.argv[1], parameter_overrides={})
for route in ApiProvider(stacks).api.routes:
    print(route.path, route.function_name, route.payload_format_version)
for function in SamFunctionProvider(stacks).get_all():
    print(function.name, function.handler, len(function.layers))
"""
    assert sorted(run_in_tools(program, INFRA / "template.yaml", home=tmp_path).splitlines()) == sorted(
        [
            "$default ApiFunction 2.0",
            "/api/v1/sessions/{session}/plan CheckoutFunction 2.0",
            "/api/v1/sessions/{session}/publish CommitFunction 2.0",
            "/api/v1/sessions/{session}/verify CommitFunction 2.0",
            *(
                f"{name}Function functions.{name.lower()}.handler.handler 1"
                for name in ("Api", "Checkout", "Commit", "Fanout", "Maintenance", "Reencrypt")
            ),
        ]
    )
