"""YAML in which no key stands twice in a mapping: PyYAML would take the last one, so that half of what a reader sees in
a policy would silently decide nothing."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    "while reading a mapping", node.start_mark, f"found the key {key.value!r} twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:
    """The only document of a text. yaml.YAMLError, with the line of a key that stands twice."""
    return yaml.load(text, Loader=_Loader)


def load_all(text: str) -> Iterator[Any]:
    """Every document of a text. yaml.YAMLError as for `load`."""
    return yaml.load_all(text, Loader=_Loader)
