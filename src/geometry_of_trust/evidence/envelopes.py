"""DSSE envelopes with one signature, alone or in a Sigstore bundle v0.3: read and written.

Whose signature it is, and whether it verifies, is for the caller: what an envelope or a bundle says
of a key is a hint, and no key in it is ever trusted.
"""

from __future__ import annotations

import base64
import contextlib
from dataclasses import dataclass

from geometry_of_trust.documents.strictjson import dumps, loads
from geometry_of_trust.errors import BadBundle, GotError
from geometry_of_trust.evidence.reading import brief, decoded, expect, json_object, optional_text
from geometry_of_trust.files import PathLike

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Envelope:
    """A payload of the type of in-toto, and its one signature.

    Attributes:
        key_id: what the signature says of its key; empty if nothing.
        hint: what the bundle says of it; empty if nothing, None of an envelope without a bundle.
    """

    payload: bytes
    signature: bytes
    key_id: str = ""
    hint: str | None = None

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return encoded(self.payload)

    def to_json(self) -> bytes:
        """The one text that is written of it."""
        tree: dict[str, object] = {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": self.key_id, "sig": base64.b64encode(self.signature).decode()}
            ],
        }
        if self.hint is not None:
            tree = {
                "mediaType": MEDIA_TYPE,
                "verificationMaterial": {"publicKey": {"hint": self.hint}},
                "dsseEnvelope": tree,
            }
        return dumps(tree)


def encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding of a payload of the type of in-toto."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def is_envelope(data: bytes) -> bool:
    """Whether a JSON document is meant to be an envelope or a bundle, by its members."""
    if b'"payloadType"' not in data and b'"mediaType"' not in data:
        return False  # nearly always: a document is parsed once
    with contextlib.suppress(GotError):
        tree = loads(data, "")
        return isinstance(tree, dict) and not {"payloadType", "mediaType"}.isdisjoint(tree)
    return False


def read_envelope(data: bytes, where: PathLike) -> Envelope:
    """An envelope, or that of a bundle. Members that neither needs are passed over.

    Raises:
        TooLarge, BadText, BadJson, DuplicateMember: not strict JSON.
        BadBundle: no envelope with a payload of the type of in-toto and one signature; a bundle of
            another version, or one that is signed with a certificate.
    """
    where = str(where)
    tree = json_object(loads(data, where), where)
    hint = None
    if not {"mediaType", "dsseEnvelope"}.isdisjoint(tree):
        expect(tree, "mediaType", MEDIA_TYPE, where)
        hint = _hint(tree.get("verificationMaterial"), where)
        if "messageSignature" in tree:
            raise BadBundle(where, expected="a DSSE envelope alone", found="messageSignature too")
        tree = json_object(tree.get("dsseEnvelope"), f"{where}, dsseEnvelope")
    expect(tree, "payloadType", PAYLOAD_TYPE, where)
    payload = decoded(tree, "payload", where)
    signatures = tree.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1:
        found = f"{len(signatures)}" if isinstance(signatures, list) else brief(signatures)
        raise BadBundle(f"{where}, signatures", expected="one signature", found=found)
    entry = json_object(signatures[0], f"{where}, signatures")
    return Envelope(
        payload, decoded(entry, "sig", where), optional_text(entry, "keyid", where), hint
    )


def _hint(tree: object, where: str) -> str:
    material = json_object(tree, f"{where}, verificationMaterial")
    if "publicKey" not in material:
        raise BadBundle(
            f"{where}, verificationMaterial", expected="publicKey", found=brief(sorted(material)),
            hint="A signature by certificate is for the tool that made it to check.",
        )  # fmt: skip
    key = json_object(material["publicKey"], f"{where}, publicKey")
    return optional_text(key, "hint", f"{where}, publicKey")
