"""Envelopes and bundles, to be changed at will and signed anew."""

from __future__ import annotations

import base64
import json
from typing import Any

from geometry_of_trust.signing.keys import SecretKey
from pipeline import KEY

Tree = dict[str, Any]
HEAD = b"DSSEv1 28 application/vnd.in-toto+json "


def payload_of(text: bytes) -> bytes:
    """What an envelope or a bundle holds."""
    tree = json.loads(text)
    return base64.b64decode(tree.get("dsseEnvelope", tree)["payload"])


def with_payload(text: bytes, payload: bytes | Tree, key: SecretKey | None = KEY) -> bytes:
    """The envelope or bundle with another payload, signed anew unless there is no key."""
    data = payload if isinstance(payload, bytes) else spelt(payload)
    tree = json.loads(text)
    envelope = tree.get("dsseEnvelope", tree)
    envelope["payload"] = base64.b64encode(data).decode()
    if key is not None:
        signed = key.sign(HEAD + b"%d %b" % (len(data), data))
        envelope["signatures"][0]["sig"] = base64.b64encode(signed).decode()
    return spelt(tree)


def spelt(tree: object) -> bytes:
    """As we spell what has no floats."""
    return json.dumps(tree, indent=2, ensure_ascii=False).encode()


def put(tree: Any, path: str, value: object) -> Any:
    """The tree with one member changed, or dropped if it is to be `...`."""
    *way, last = path.split(".")
    node = tree
    for name in way:
        node = node[int(name) if name.isdigit() else name]
    key: Any = int(last) if last.isdigit() else last
    if value is ...:
        del node[key]
    else:
        node[key] = value
    return tree
