"""What `ops.verify` finds out about one file."""

from typing import Literal

import msgspec

from schemas.ids import job_key
from schemas.mark_payload import payload_of


class NotVerifiable(Exception):
    """The file cannot be read; the message is one sentence for a person."""


class MarkFound(msgspec.Struct, frozen=True):
    """What the invisible mark's detector read."""

    payload: str
    """16 hex characters; means something only when `valid`."""
    valid: bool
    """The payload's check bits fit."""
    confidence: float
    """Below about 1.9 without a mark; see stream_processors.mux.mark.Reading."""
    job_prefix: str
    """First 10 hex characters of schemas.ids.job_uid of the job that made it; empty unless valid."""
    repaired_bits: int
    frames: int
    """Frames that were looked at."""
    tenant: str = ""
    """Whose key read it; empty: it has the public pattern, which anybody can write, or none was read."""
    key_id: str = ""
    """Id of the master key that the tenant's key came from."""
    keys_tried: int = 0
    """Tenants' keys that were tried beside the public pattern, counting each master key."""
    keys_searched: int = 0
    """How many of them a cropped picture was searched with; none when there are more than SEARCHED_KEYS."""


class Credentials(msgspec.Struct, frozen=True):
    """What the file's C2PA manifest says, and whether it holds. All but `state`, `development` and `problems` is what
    the signer claims."""

    state: Literal["absent", "valid", "trusted", "tampered", "invalid", "unreadable"]
    """absent: none, or removed. valid: unchanged since it was signed, by somebody who is not known here. trusted: the
    same, and one of the given certificates vouches for the signer. tampered: changed since. invalid: unchanged, but
    the signer's certificate is no good (expired, not for signing). unreadable: not checked, for the reason in
    `problems`."""
    signer: str = ""
    """Common name of who signed."""
    issuer: str = ""
    """Organisation of who signed."""
    signed_at: str = ""
    """When a time-stamp authority saw it, ISO 8601; empty: none was asked."""
    signed_at_trusted: bool = False
    """One of the given certificates vouches for that authority; without, anybody could have said so."""
    development: bool = False
    """Trusted only because this machine's own development key signed it."""
    made_with: str = ""
    """Program and version."""
    made_at: str = ""
    """When, by the signer's own clock."""
    source_type: str = ""
    """IPTC digital source type: trainedAlgorithmicMedia, or compositeWithTrainedAlgorithmicMedia when pictures of the
    caller's went in."""
    model: str = ""
    """Name of the model that made it."""
    model_revision: str = ""
    """Which weights and settings that name stood for."""
    job_uid: str = ""
    """schemas.ids.job_uid of the job that made it."""
    mark_payload: str = ""
    """Payload of the invisible mark that the file had when it was signed."""
    ingredients: tuple[str, ...] = ()
    """What went in."""
    prompts: tuple[str, ...] = ()
    """Only where the operator has prompts written into files."""
    problems: tuple[str, ...] = ()
    """Why it does not hold: C2PA's codes."""


class Verification(msgspec.Struct, frozen=True):
    """What is known about one file."""

    container: str
    codec: str
    width_px: int
    height_px: int
    fps: float
    """0 for a still picture."""
    frames: int
    """Decoded frames."""
    duration_s: float
    label: Literal["found", "unknown"]
    """The visible mark. unknown: not where and how we draw it; it may be cropped, covered, or never have been there."""
    label_score: float
    """Correlation of the top-right corner with the plate, -1 .. 1; found from 0.6 on."""
    mark: MarkFound
    aigc: dict[str, str] | None
    """The AIGC metadata label (GB 45438-2025), if the file has one. Anybody can write one: not a proof."""
    c2pa: Credentials
    """The content credentials."""

    @property
    def ok(self) -> bool:
        """True if the invisible mark proves that reelbus made it. Label and metadata alone prove nothing."""
        return self.mark.valid

    def belongs_to(self, tenant: str, job_id: str) -> bool:
        """True if this job made it: the invisible mark carries its id."""
        read = self.mark.valid and self.mark.payload == payload_of(job_key(tenant, job_id))
        return read and self.mark.tenant in ("", tenant)
