"""What c2pa reports becomes a verdict, and a stranger's texts become harmless."""

from typing import Any

import pytest

from ops.verify_c2pa import _said

_CODES = {"signingCredential.untrusted": "untrusted"}


def _report(state: str, failures: dict[str, str], manifest: Any = None) -> dict[str, Any]:
    status = [{"code": code, "explanation": text} for code, text in (_CODES | failures).items()]
    return {
        "validation_state": state,
        "validation_status": status,
        "active_manifest": "urn:1",
        "manifests": {"urn:1": manifest or {}},
    }


@pytest.mark.parametrize(
    ("state", "failures", "verdict"),
    [
        ("Trusted", {}, "trusted"),
        ("Valid", {}, "valid"),
        ("Invalid", {"assertion.bmffHash.mismatch": "hash"}, "tampered"),
        ("Invalid", {"claimSignature.mismatch": "signature", "signingCredential.expired": "expired"}, "tampered"),
        ("Invalid", {"signingCredential.expired": "expired"}, "invalid"),
        ("Invalid", {"signingCredential.invalid": "not for signing"}, "invalid"),
        ("Invalid", {"assertion.bmffHash.mismatch": "error: Operation not permitted (os error 1)"}, "unreadable"),
        ("SomethingNew", {"new.code": ""}, "tampered"),
    ],
)
def test_the_verdict(state: str, failures: dict[str, str], verdict: str) -> None:
    found = _said(_report(state, failures))
    assert found.state == verdict
    assert "signingCredential.untrusted" not in found.problems
    assert bool(found.problems) == bool(failures)


def test_texts_are_cut_and_cannot_move_the_cursor() -> None:
    action = {"action": "c2pa.created", "when": "\x1b[2J", "digitalSourceType": "http://x/\x07kind"}
    manifest = {
        "signature_info": {"common_name": "a\x1b[31m\nb\u202e", "issuer": "x" * 5000},
        "claim_generator_info": [{"name": "n\r", "version": "1"}],
        "ingredients": [{"title": f"t{number}"} for number in range(500)],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    found = _said(_report("Valid", {}, manifest))
    assert (found.signer, len(found.issuer), found.made_at) == ("a?[31m?b?", 200, "?[2J")
    assert (found.made_with, found.source_type, len(found.ingredients)) == ("n? 1", "?kind", 16)


@pytest.mark.parametrize("odd", [None, 7, "text", [], {}, [None], {"actions": 3}, {"actions": [3]}, {"blocks": [[]]}])
def test_a_manifest_of_any_shape_is_read(odd: Any) -> None:
    labels = ("c2pa.actions.v2", "c2pa.soft-binding", "io.reelbus.generation")
    for manifest in (
        {"assertions": [{"label": label, "data": odd} for label in labels]},
        {"assertions": odd, "ingredients": odd, "signature_info": odd, "claim_generator_info": odd},
        {"assertions": [odd], "ingredients": [odd], "claim_generator_info": [odd]},
    ):
        assert _said(_report("Valid", {}, manifest)).state == "valid"
