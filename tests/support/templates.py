"""The templates of the functions as plain data: ``!Ref x`` is ``{"Ref": "x"}``, and so on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
NAMES = ("api", "checkout", "commit", "fanout", "maintenance", "reencrypt")


class _Loader(yaml.SafeLoader):
    pass


def _short_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        text = loader.construct_scalar(node)
        return {name: text.split(".", 1) if tag == "GetAtt" else text}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short_form)


def template(name: str = "template") -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((INFRA / f"{name}.yaml").read_text(), _Loader)
    return found


def all_templates() -> list[str]:
    return sorted(path.stem for path in INFRA.glob("*.yaml"))


def resources(name: str, kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of a template's resources of one type, by logical name."""
    found = template(name)["Resources"].items()
    return {key: item.get("Properties", {}) for key, item in found if item["Type"] == kind}


def functions() -> dict[str, dict[str, Any]]:
    """Return the properties of each function by its own name."""
    found = resources("template", "AWS::Serverless::Function")
    return {key.removesuffix("Function").lower(): item for key, item in found.items()}


def values_of(tree: Any, key: str) -> list[Any]:
    """Return what stands under a key, at whatever depth."""
    found = []
    if isinstance(tree, dict):
        for name, item in tree.items():
            found += [item] if name == key else []
            found += values_of(item, key)
    elif isinstance(tree, list):
        for item in tree:
            found += values_of(item, key)
    return found


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
