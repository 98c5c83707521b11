"""Content credentials (C2PA): what an image file says of its own origin, and who signed that.

Read offline by c2pa-python: no manifest is fetched, no certificate is asked about. So whether the
signer can be trusted is not known here; that the file is the one that was signed is.
"""

import json
from importlib.metadata import version
from io import BytesIO
from typing import Any, Literal

from owdfa.config import Settings

PACKAGE = "c2pa-python"
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_MAX_TEXT = 300

Status = Literal["not-checked", "none", "valid", "invalid", "unreadable"]

SENTENCES: dict[Status, str] = {
    "not-checked": "Not checked: install c2pa-python with pip install 'owdfa[c2pa]'.",
    "none": "No C2PA manifest. Absence of a manifest is not evidence: most files have none, and"
    " saving a file again removes it.",
    "valid": "A C2PA manifest that fits the file: it has not been changed since it was signed."
    " Whether the signer can be trusted was not checked.",
    "invalid": "A C2PA manifest that does not fit the file: file or manifest was changed after it"
    " was signed.",
    "unreadable": "Could not be checked: what the file holds cannot be read.",
}


class Credentials(Settings):
    """What the C2PA manifest of a file says."""

    status: Status
    claims: tuple[tuple[str, str], ...] = ()
    """Name and value of what the manifest claims, and who signed it."""
    problems: tuple[str, ...] = ()
    """Codes of what does not fit, as the standard has them."""

    @property
    def sentence(self) -> str:
        """The status in words."""
        return SENTENCES[self.status]


def reader_version() -> str | None:
    """Version of the package that reads manifests; None where it is not installed."""
    try:
        import c2pa  # noqa: F401  its library may be missing although the package is there

        return version(PACKAGE)
    except (ImportError, OSError, RuntimeError):
        return None


def read_credentials(data: bytes) -> Credentials:
    """Read the manifest of the file whose content is ``data``."""
    if reader_version() is None:
        return Credentials(status="not-checked")
    import c2pa

    try:
        context = c2pa.Context.from_dict(_OFFLINE)
        reader = c2pa.Reader.try_create(stream=BytesIO(data), context=context)
        if reader is None:
            return Credentials(status="none")
        with reader:
            manifest, results = json.loads(reader.json()), reader.get_validation_state()
    except (c2pa.C2paError.NotSupported, c2pa.C2paError.Io):
        return Credentials(status="none")  # a kind of file that cannot hold one
    except (c2pa.C2paError, ValueError) as error:
        return Credentials(status="unreadable", problems=(_short(error),))
    return Credentials(
        status="invalid" if results == "Invalid" else "valid",
        claims=tuple(_claims(manifest)),
        problems=tuple(sorted({_short(each.get("code")) for each in _failures(manifest)})),
    )


def _claims(store: dict[str, Any]) -> list[tuple[str, str]]:
    """What the active manifest claims."""
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    signature = manifest.get("signature_info") or {}
    makers = manifest.get("claim_generator_info") or [{}]
    found = [
        ("Title", manifest.get("title")),
        ("Made by", makers[0].get("name") or manifest.get("claim_generator")),
        ("Signed by", signature.get("issuer") or signature.get("common_name")),
        ("Signed at, by the signer's word", signature.get("time")),
    ]
    for assertion in manifest.get("assertions", []):
        if str(assertion.get("label")).startswith("c2pa.actions"):
            found += [("Action", _action(each)) for each in assertion["data"].get("actions", [])]
    return [(name, _short(value)) for name, value in found if value]


def _action(action: dict[str, Any]) -> str:
    """An action, and the source that it gives for the content, e.g. trainedAlgorithmicMedia."""
    source = str(action.get("digitalSourceType") or "").rsplit("/", 1)[-1]
    return f"{action.get('action')} ({source})" if source else str(action.get("action"))


def _failures(store: dict[str, Any]) -> list[dict[str, Any]]:
    """What does not fit; that nobody here vouches for the signer is said of every file alike."""
    found = store.get("validation_status") or []
    return [each for each in found if each.get("code") != "signingCredential.untrusted"]


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:_MAX_TEXT]
