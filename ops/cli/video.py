"""`reelbus verify FILE|URL`: is this one of our videos, whose, and is it as it was signed?"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.output import data, data_json, say
from schemas.ids import TENANT_PATTERN

if TYPE_CHECKING:
    from ops.settings import Settings
    from ops.verification import Credentials, MarkFound, Verification

_MEANING = {
    "absent": "none, or removed",
    "valid": "unchanged since it was signed; the signer is not known here (--trust)",
    "trusted": "unchanged since it was signed, by somebody who is trusted",
    "tampered": "CHANGED since it was signed",
    "invalid": "the signer's certificate is no good",
    "unreadable": "could not be checked",
}
_DEVELOPMENT = "unchanged since it was signed, with the development key of this machine; nobody else trusts it"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="A video, thumbnail or contact sheet.")],
    job: Annotated[str, typer.Option(metavar="JOB", help="Also check that this job made it.")] = "",
    trust: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="PEM certificates of signers that are trusted; may be repeated."),
    ] = None,
    mark_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Master keys of the invisible mark; REELBUS_MARK_KEY_FILE.")
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Whose keys to try; may be repeated. Default: of --job, or all tenants."),
    ] = None,
    allow_private: Annotated[bool, typer.Option(help="Fetch a URL from private networks too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All that was found as one JSON object.")] = False,
) -> None:
    """Read the marks and content credentials of a finished video.

    Exit code 0 when the invisible mark proves that reelbus made it (with --job: that this job made it) and its content
    credentials, if it has any, do not say that it was changed; else 1.
    """
    from ops import verify as verifier
    from ops.settings import load
    from ops.verification import NotVerifiable
    from producers.client.core import key_of

    settings = load().replace(mark_key_file=str(mark_key_file) if mark_key_file else None)
    owner, _, job_id = key_of(job).partition("/")
    try:
        found = verifier.verify(
            source,
            trust=trust or (),
            development_roots=_development_roots(settings),
            allow_private=allow_private,
            mark_key_file=settings.mark_key_file,
            tenants=_tenants(settings, tenant or [], owner if job else ""),
        )
    except NotVerifiable as exc:
        say(f"reelbus: {exc}")
        raise typer.Exit(1) from None
    as_said = found.belongs_to(owner, job_id) if job else found.ok
    if as_json:
        data_json(found)
    else:
        _print(found, job, as_said)
    if not as_said or found.c2pa.state == "tampered":
        raise typer.Exit(1)


def _tenants(settings: "Settings", named: list[str], owner: str) -> Sequence[str]:
    """Whose keys to try: of those that are named, or else of the job's owner, or else of all. Raises SettingsError."""
    from ops import tenants
    from ops.settings import SettingsError
    from producers.client.core import DEFAULT_TENANT

    for name in named:
        if not re.fullmatch(TENANT_PATTERN, name):
            raise SettingsError(f"--tenant {name!r}: a name is a-z, 0-9 and -, at most 63 characters")
    if not settings.mark_key_file:
        if named:
            raise SettingsError("--tenant: says whose key to try, and there are none; give --mark-key-file")
        return []
    if named or owner:
        return named or [owner]
    return tenants.names(settings.tenants) if settings.tenants else [DEFAULT_TENANT]


def _development_roots(settings: "Settings") -> list[Path]:
    """Where `reelbus up` and `reelbus demo` keep the certificate of this machine's own key."""
    demo = settings.replace(data_dir=str(Path(settings.data_dir) / "demo"))
    return [settings.development_root, demo.development_root]


def _print(found: "Verification", job: str, as_said: bool) -> None:
    motion = f", {found.frames} frames at {found.fps:g} fps, {found.duration_s:g} s" if found.fps else ""
    data(f"file            {found.container}, {found.codec}, {found.width_px}x{found.height_px}{motion}")
    data(f"visible mark    {found.label}")
    data(f"invisible mark  {_said_of(found.mark)}")
    _print_credentials(found.c2pa)
    if found.aigc is not None:
        data(f"metadata label  {found.aigc}")
    if job:
        data(f"job             {job} {'made it' if as_said else 'did NOT make it, or the mark is lost'}")


def _said_of(mark: "MarkFound") -> str:
    from ops.verify_keyed import SEARCHED_KEYS

    if mark.valid:
        whose = f" for tenant {mark.tenant}, whose key of {mark.key_id} reads it" if mark.tenant else ""
        exactly = f"payload {mark.payload}, confidence {mark.confidence:g}"
        return f"made by reelbus{whose}, job uid starts with {mark.job_prefix} ({exactly})"
    if not mark.keys_tried:
        return "none that can be read"
    said = f"none that can be read, with the public pattern or {mark.keys_tried} tenants' keys"
    if mark.keys_tried > SEARCHED_KEYS:
        said += f"; to search a cropped picture with keys, name its tenant (at most {SEARCHED_KEYS} keys)"
    return said


def _print_credentials(said: "Credentials") -> None:
    meaning = _DEVELOPMENT if said.development else _MEANING[said.state]
    data(f"credentials     {said.state}: {meaning}")
    known = "" if said.signed_at_trusted else ", says an authority that is not known here (--trust)"
    claims = {
        "signed by": f"{said.signer} ({said.issuer})" if said.signer else "",
        "signed at": f"{said.signed_at}{known}" if said.signed_at else "no time stamp" if said.signer else "",
        "made with": f"{said.made_with}, model {said.model}, revision {said.model_revision}" if said.model else "",
        "made at": said.made_at,
        "source": said.source_type,
        "from": ", ".join(said.ingredients),
        "prompts": " | ".join(said.prompts),
        "problem": ", ".join(said.problems),
    }
    for name, text in claims.items():
        if text:
            data(f"  {name:<14}{text}")
