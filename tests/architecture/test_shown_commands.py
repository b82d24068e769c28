"""Every command that a document shows is run by a test, or stands here with the reason why it is not."""

from __future__ import annotations

import re

import pytest

from tests.architecture.test_hints import SOURCE
from tests.support.hints import docstrings_of, refusal_of
from tests.support.shown import ROOT, blocks

HTTP_GUIDE = "tests/functions/api/test_guide.py::test_every_command_of_the_guide_works"
GUIDE = "tests/e2e/test_deployment_guide.py::test_the_guide_can_be_walked_from_its_first_command_to_its_last"
STACK = "tests/e2e/test_enterprise_host.py::test_the_whole_stack_starts_works_heals_stops_and_comes_back"
TARGET = "tests/infra/test_containers_target.py"
CATALOG = "tests/e2e/test_cli_documents.py::test_the_database_roles_are_made_by_the_commands_that_the_page_shows"
CONFLICTS = "tests/e2e/test_cli_tour.py::test_what_the_page_shows_settles_a_conflict"
REMOTE = "tests/e2e/test_cli_remote.py::test_what_the_documents_show_works_at_a_server"
DRILLS = "tests/drills/test_backups.py"
DUMPS = "tests/contract/test_catalog_dumps.py"
MAKE = "tests/infra/test_makefile.py::test_up_serves_the_folder_that_the_readme_names"
UP_FUNCTIONS = "tests/infra/test_makefile.py::test_the_stack_is_told_where_the_tools_are"
VAULT = "tests/contract/test_key_provider_vault.py::test_the_commands_that_the_page_shows_make_and_rotate_the_key"
SAMPLES = "tests/e2e/test_functions_scenario.py::test_each_sample_is_served_by_the_guides_commands"
INSTALLATION = "tests/e2e/test_cli_installation.py::test_the_commands_that_the_page_shows"

RUN_BY: dict[str, str] = {
    "README.md: make demo": "tests/e2e/test_cli_documents.py::test_the_demonstration_holds_on_nearly_nothing",
    "README.md: export PATH=": "tests/e2e/test_cli_documents.py::test_the_tour_of_the_readme_works_as_it_stands",
    "README.md: make up UP_ARGS=--enterprise": MAKE,
    "README.md: make up-functions": REMOTE,
    "docs/catalog.md: ": CATALOG,
    "docs/cli.md: ": CONFLICTS,
    "docs/containers.md: make test-containers": TARGET,
    "docs/deployment-guide.md: ": GUIDE,
    "docs/direct-access.md: ": REMOTE,
    "docs/events.md: manifold events list": "tests/e2e/test_cli_events.py::test_the_commands_that_the_page_shows",
    "docs/events.md: import base64": (
        "tests/contract/test_event_publisher_webhook.py::"
        "test_the_documented_verifier_accepts_what_is_sent_and_nothing_that_was_changed"
    ),
    "docs/extending.md: ": "tests/contract/test_extending.py::test_what_the_page_shows_keeps_the_contract_of_its_kind",
    "docs/functions-local.md: make up-functions": UP_FUNCTIONS,
    "docs/functions-local.md: curl": REMOTE,
    "docs/functions-local.md: INVOKE=": SAMPLES,
    "docs/garbage.md: ": "tests/e2e/test_cli_space.py::test_the_commands_that_the_page_shows",
    "docs/http-api.md: ": HTTP_GUIDE,
    "docs/installations.md: ": INSTALLATION,
    "docs/jobs.md: manifold jobs list": "tests/e2e/test_cli_jobs.py::test_the_commands_that_the_page_shows",
    "docs/keys.md: manifold keys rotate": "tests/e2e/test_cli_keys.py::test_the_commands_that_the_page_shows",
    "docs/keys.md: manifold keys rewrap": "tests/e2e/test_cli_keys.py::test_the_commands_that_the_page_shows",
    "docs/keys.md: manifold keys status": "tests/e2e/test_cli_keys.py::test_the_commands_that_the_page_shows",
    "docs/keys.md: vault secrets enable": VAULT,
    "docs/keys.md: vault write -f": VAULT,
    "docs/operations.md: (set -a": STACK,
    "docs/operations.md: manifold verify PROJECT": "tests/e2e/test_cli_verify.py",
    "docs/operations.md: manifold stop": DRILLS,
    "docs/operations.md: manifold backup declare": "tests/e2e/test_cli_backups.py",
    "docs/operations.md: manifold database pg_dump": DRILLS,
    "docs/operations.md: mkdir -m 700": DRILLS,
    "docs/operations.md: sed -i": DUMPS,
    "docs/operations.md: manifold database dropdb": DRILLS,
    "docs/operations.md: manifold migrate-db --keep-catalog": DRILLS,
    "docs/python.md: ": "tests/e2e/test_python_guide.py::test_the_guides_program_runs",
}
"""By how the name of a block begins: the test, or the file of tests, that takes the block from the page."""

NEEDS_AWS = "needs an account of AWS, and the aws program, which no registry that the tests use has"
NEEDS_CONTAINERS = "needs a container engine"
NOT_RUN: dict[str, str] = {
    "docs/connections.md: DATABASE_URL=postgresql://manifold@pg-manifold": "names a server of the reader's network",
    "docs/functions-aws.md: umask 077": NEEDS_AWS,
    "docs/functions-aws.md: make validate functions": NEEDS_AWS,
    "docs/functions-aws.md: DATABASE_URL=postgresql://...": "the address is the reader's",
    "docs/functions-aws.md: URL=$(aws": NEEDS_AWS,
    "docs/functions-aws.md: export MANIFOLD_REMOTE=$URL": NEEDS_AWS,
    "docs/functions-aws.md: aws lambda invoke": NEEDS_AWS,
    "docs/functions-aws.md: aws secretsmanager": NEEDS_AWS,
    "docs/functions-local.md: make functions": NEEDS_CONTAINERS,
    "docs/containers.md: apt-get": "installs on the reader's machine",
    "docs/functions.md: export MANIFOLD_REMOTE=": NEEDS_AWS,
    "docs/functions.md: aws sqs": NEEDS_AWS,
    "docs/keys.md: aws kms": NEEDS_AWS,
    "docs/keys.md: vault write transit/decrypt": "opens a record of the reader's; a test asks a server for the same",
}
MOST_NOT_RUN = 15
"""Blocks. Not to grow without a thought."""


def _match(name: str, table: dict[str, str]) -> list[str]:
    return [begin for begin in table if name.startswith(begin)]


def test_every_block_of_commands_is_run_or_listed_with_a_reason() -> None:
    wrong = [block.name for block in blocks() if len(_match(block.name, RUN_BY | NOT_RUN)) != 1]
    assert wrong == []
    used = {begin for block in blocks() for begin in _match(block.name, RUN_BY | NOT_RUN)}
    assert used == RUN_BY.keys() | NOT_RUN.keys(), "what no page shows any more"
    assert sum(bool(_match(block.name, NOT_RUN)) for block in blocks()) <= MOST_NOT_RUN


@pytest.mark.parametrize("begin", RUN_BY)
def test_the_test_that_runs_a_block_exists_and_reads_the_page(begin: str) -> None:
    file, _, name = RUN_BY[begin].partition("::")
    text = (ROOT / file).read_text()
    assert not name or f"def {name}(" in text


def test_every_command_in_the_prose_is_one() -> None:
    """In documents, and in docstrings."""
    pages = [(page.name, page.read_text()) for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    texts = [(name, re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)) for name, text in pages]
    texts += docstrings_of(*SOURCE)
    named = [(name, shown) for name, text in texts for shown in re.findall(r"`(manifold [a-z-][^`]*)`", text)]
    assert len(named) > 80, "they are found"
    wrong = []
    for name, shown in named:
        words = re.split(r" \||[<>]|&&|;| \.\.\.", " ".join(shown.split()))[0].split()[1:]
        if "[" in shown or "|" in shown:
            continue
        why = refusal_of(words)
        if why is not None and not _is_a_mention(why):
            wrong.append(f"{name}: {shown}: {why}")
    assert wrong == []


def _is_a_mention(why: str) -> bool:
    """Tell whether a command is only named, without what has to follow it."""
    return why.endswith((" is missing", " requires an argument.")) or why == "it is a group of commands"
