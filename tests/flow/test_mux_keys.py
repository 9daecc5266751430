"""Wrong keys and certificates stop mux at its start, with the setting's name and what would be right."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ops.doctor import signing
from ops.settings import Settings, SettingsError, load
from schemas.errors import Fatal
from stream_processors.mux.seal import open_seal
from tests.flow.c2pa_keys import opened, signed_video, with_command, with_key, write_keys

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def _expired(folder: Path) -> Settings:
    return with_key(write_keys(folder / "k", begun_ago=timedelta(days=400)))


def _not_yet(folder: Path) -> Settings:
    return with_key(write_keys(folder / "k", begun_ago=timedelta(days=-3)))


def _of_another(folder: Path) -> Settings:
    own, other = with_key(write_keys(folder / "k")), with_key(write_keys(folder / "other"))
    return own.replace(signing_key_file=other.signing_key_file)


def _missing(folder: Path) -> Settings:
    return with_key(write_keys(folder / "k")).replace(signing_key_file=str(folder / "none.pem"))


def _no_key(folder: Path) -> Settings:
    settings = with_key(write_keys(folder / "k"))
    Path(settings.signing_key_file).write_text("-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")
    return settings


def _encrypted(folder: Path) -> Settings:
    settings = with_key(write_keys(folder / "k"))
    key = ec.generate_private_key(ec.SECP256R1())
    locked = key.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"secret"))
    Path(settings.signing_key_file).write_bytes(locked)
    return settings


def _no_certificates(folder: Path) -> Settings:
    settings = with_key(write_keys(folder / "k"))
    Path(settings.signing_certificates_file).write_text("nothing")
    return settings


def _wrong_order(folder: Path) -> Settings:
    keys = write_keys(folder / "k")
    own, root = ((keys / name).read_bytes() for name in ("certificates.pem", "root.pem"))
    (keys / "certificates.pem").write_bytes(root + own)
    return with_key(keys)


def _curve_that_c2pa_does_not_take(folder: Path) -> Settings:
    return _self_made(folder, ec.SECP256K1())


def _not_for_signing(folder: Path) -> Settings:
    return _self_made(folder, ec.SECP256R1())


def _self_made(folder: Path, curve: ec.EllipticCurve) -> Settings:
    """A certificate that vouches for itself and does not say what it is for."""
    keys, key = write_keys(folder / "k"), ec.generate_private_key(curve)
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "self")]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7).not_valid_before(now - timedelta(hours=1))
    made = builder.not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    (keys / "certificates.pem").write_bytes(made.public_bytes(PEM))
    (keys / "key.pem").write_bytes(key.private_bytes(PEM, PKCS8, serialization.NoEncryption()))
    return with_key(keys)


def _only_the_key(folder: Path) -> Settings:
    return with_key(write_keys(folder / "k")).replace(signing_certificates_file="")


def _only_the_certificates(folder: Path) -> Settings:
    return with_key(write_keys(folder / "k")).replace(signing_key_file="")


def _both(folder: Path) -> Settings:
    return with_key(write_keys(folder / "k"), signing_command="signer")


def _no_command(folder: Path) -> Settings:
    return Settings(signing_command=f"{folder}/no-such-program")


def _mute_command(folder: Path) -> Settings:
    return Settings(signing_command="true")


def _talking_command(folder: Path) -> Settings:
    return Settings(signing_command="echo hello")


def _badly_quoted_command(folder: Path) -> Settings:
    return Settings(signing_command="signer 'x")


def _command_with_another_key(folder: Path) -> Settings:
    settings = with_command(write_keys(folder / "k"))
    other = write_keys(folder / "other")
    (folder / "k" / "key.pem").write_bytes((other / "key.pem").read_bytes())
    return settings


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_expired, r"SIGNING_CERTIFICATES_FILE.*certificates\.pem.*'reelbus development key' expired on 20"),
        (_not_yet, r"SIGNING_CERTIFICATES_FILE.*is valid from .* and this machine's clock says"),
        (_of_another, r"SIGNING_KEY_FILE.*is not the key of 'reelbus development key', the first certificate"),
        (_missing, r"SIGNING_KEY_FILE: cannot read .*none\.pem: No such file.*expected a PEM file"),
        (_no_key, r"SIGNING_KEY_FILE.*holds no private key.*expected PEM"),
        (_encrypted, r"SIGNING_KEY_FILE.*is encrypted; expected a plain PEM key.*REELBUS_SIGNING_COMMAND"),
        (_no_certificates, r"SIGNING_CERTIFICATES_FILE.*holds no certificates.*the signer's own certificate first"),
        (_wrong_order, r"SIGNING_CERTIFICATES_FILE.*does not vouch for.*the signer's own certificate first"),
        (_curve_that_c2pa_does_not_take, r"SIGNING_CERTIFICATES_FILE.*does not take; expected P-256"),
        (_not_for_signing, r"SIGNING_CERTIFICATES_FILE.*the certificate is invalid; see docs/how-to/sign-videos"),
        (_only_the_key, r"REELBUS_SIGNING_CERTIFICATES_FILE is empty: a key and its certificates go together"),
        (_only_the_certificates, r"REELBUS_SIGNING_KEY_FILE is empty"),
        (_both, r"REELBUS_SIGNING_COMMAND and REELBUS_SIGNING_KEY_FILE are both set"),
        (_no_command, r"REELBUS_SIGNING_COMMAND: the signing command cannot be started: No such file"),
        (_mute_command, r"REELBUS_SIGNING_COMMAND.*ended with status 0: nothing"),
        (_talking_command, r"REELBUS_SIGNING_COMMAND: --signer-info must print"),
        (_badly_quoted_command, r"REELBUS_SIGNING_COMMAND: cannot be split into words"),
        (
            _command_with_another_key,
            r"SIGNING_COMMAND.*does not work.*is not accepted \(claimSignature.mismatch",
        ),
    ],
)
def test_the_message_names_the_setting_and_what_is_right(
    make: Callable[[Path], Settings], words: str, tmp_path: Path
) -> None:
    settings = make(tmp_path)
    with pytest.raises(Fatal, match=words) as caught:
        open_seal(settings)
    for file in tmp_path.rglob("*key.pem"):
        for line in file.read_text().splitlines():
            assert line.startswith("-----") or line not in str(caught.value)


def test_a_certificate_that_expires_while_mux_runs_stops_it(tmp_path: Path) -> None:
    seal = opened(with_key(write_keys(tmp_path / "k")))
    in_a_year_ms = int((datetime.now(UTC) + timedelta(days=365)).timestamp() * 1000)
    seal._now_ms = lambda: in_a_year_ms
    with pytest.raises(Fatal, match="expired on"):
        signed_video(tmp_path / "video", seal)


def test_no_key_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = write_keys(tmp_path / "k")
    with caplog.at_level("DEBUG"):
        signed_video(tmp_path / "video", opened(with_key(keys)))
    assert "signs as 'reelbus development key'" in caplog.text
    assert (keys / "key.pem").read_text().splitlines()[1] not in caplog.text


@pytest.mark.parametrize(("begun_days_ago", "warned"), [(10, False), (65, True)])
def test_a_certificate_that_soon_expires_is_named(
    begun_days_ago: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = with_key(write_keys(tmp_path / "k", begun_ago=timedelta(days=begun_days_ago)))
    opened(settings)
    assert ("renew the certificate of 'reelbus development key'" in caplog.text) == warned
    assert signing(settings).startswith("works, as 'reelbus development key' until 20")


def test_off_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    assert open_seal(Settings(signing="off")) is None
    assert "REELBUS_SIGNING=off: files are published without content credentials" in caplog.text


def test_signing_is_auto_or_off() -> None:
    with pytest.raises(SettingsError, match="REELBUS_SIGNING='of': expected auto or off"):
        load({"REELBUS_SIGNING": "of"})
