"""Keys and certificates for signing, made for one test, and a signing command."""

import io
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import c2pa
from PIL import Image

from ops.media.credentials import PURPOSES
from ops.settings import Settings
from schemas.request import Output
from stream_processors.mux.assemble import Assembled, assemble
from stream_processors.mux.development_key import CERTIFICATES, KEY, ROOT, issue
from stream_processors.mux.seal import Seal, open_seal
from tests.flow.mux_clips import flat, make_plan, write_chunk

CAMERA = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
SMALL = Output(width_px=64, height_px=64, fps=12)
_COMMAND = """
import json, sys
from pathlib import Path
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
folder = Path({folder!r})
if sys.argv[1:] == ["--signer-info"]:
    print(json.dumps({{"alg": "es256", "sign_cert": (folder / "certificates.pem").read_text()}}))
    sys.exit()
if (folder / "down").exists():
    sys.exit("the key service is away")
if (folder / "hangs").exists():
    import time
    time.sleep(600)
key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
signature = key.sign(sys.stdin.buffer.read(), ec.ECDSA(hashes.SHA256()))
if {raw!r}:
    signature = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(signature))
sys.stdout.buffer.write(signature)
"""


def write_keys(folder: Path, begun_ago: timedelta = timedelta(0), purpose: str = PURPOSES[0]) -> Path:
    """Key, certificates and root in a new folder; valid for 90 days from `begun_ago`."""
    folder.mkdir()
    for name, content in issue(datetime.now(UTC) - begun_ago, timedelta(days=90), purpose).items():
        (folder / name).write_bytes(content)
    return folder


def with_key(folder: Path, **changes: object) -> Settings:
    """Settings that sign with the key in that folder."""
    own = Settings(signing_key_file=str(folder / KEY), signing_certificates_file=str(folder / CERTIFICATES))
    return own.replace(data_dir=str(folder), **changes)


def root_of(folder: Path) -> Path:
    """The certificate to trust."""
    return folder / ROOT


def with_command(folder: Path, *, raw: bool = False) -> Settings:
    """Settings that sign by a command which has the key in that folder. raw: r and s side by side instead of DER."""
    program = folder / "signer.py"
    program.write_text(_COMMAND.format(folder=str(folder), raw=raw))
    return Settings(data_dir=str(folder), signing_command=f"{sys.executable} {program}")


def opened(settings: Settings) -> Seal:
    """The seal of these settings, as mux opens it."""
    seal = open_seal(settings)
    assert seal is not None
    return seal


def signed_video(folder: Path, seal: Seal, output: Output = SMALL, frames: int = 4) -> Assembled:
    """A small signed video of job default/j in a new folder."""
    folder.mkdir()
    chunk = write_chunk(folder / "chunk.mkv", frames, flat(9, 99, 9))
    return assemble(make_plan([[frames]], output), [chunk], folder, 1, seal)


def blue(kind: str) -> bytes:
    """A small blue picture. kind: png, jpeg or webp."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (9, 9, 200)).save(out, kind)
    return out.getvalue()


def signed_picture(seal: Seal, kind: str) -> bytes:
    """`blue` as a camera with that key would sign it."""
    created = {"action": "c2pa.created", "digitalSourceType": CAMERA}
    said = [{"label": "c2pa.actions.v2", "data": {"actions": [created]}, "created": True}]
    out = io.BytesIO()
    with seal.signer.native() as signer:
        context = c2pa.Context(settings=c2pa.Settings.from_dict({"verify": {"verify_after_sign": False}}))
        builder = c2pa.Builder(json.dumps({"title": "a photograph", "assertions": said}), context=context)
        builder.sign(signer, f"image/{kind}", io.BytesIO(blue(kind)), out)
    return out.getvalue()


def boxes(video: bytes) -> Mapping[str, range]:
    """Top-level boxes of an MP4 and where they lie."""
    found, at = {}, 0
    while at < len(video):
        size = int.from_bytes(video[at : at + 4], "big")
        found[video[at + 4 : at + 8].decode("latin-1")] = range(at, at + size)
        at += size
    return found
