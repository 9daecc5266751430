"""Who sent a record: forged, replayed, stale and altered envelopes, with a genuine one beside every one of them."""

import base64
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import tenants as tenants_file
from ops.settings import Settings
from producers.client.signing import Signer
from schemas.envelope import HEADER, Signature, parse, signed_bytes
from schemas.errors import Fatal
from schemas.events import JobEvent
from schemas.records import Incoming, Outgoing
from schemas.request import Lane
from stream_processors.moderate import tenant_keys
from stream_processors.moderate.core import Rules
from stream_processors.moderate.identity import IdentityRefused, Tenants
from stream_processors.moderate.shell import command, decide, load_rules

NOW_MS = 1_800_000_000_000
TOPICS = tuple(f"reelbus.jobs.requested.{lane}.v1" for lane in ("express", "standard", "bulk"))
ORDERS = "reelbus.orders.requested.v1"
ED_PRIVATE, OTHER_PRIVATE = bytes(range(32)), bytes(range(1, 33))
SECRET, OTHER_SECRET = b"s" * 32, b"t" * 32
FILE = """
[[tenants.acme.keys]]
id = "ed-1"
ed25519_public = "{public}"
[[tenants.acme.keys]]
id = "old"
ed25519_public = "{public}"
not_after_ms = {ended}
[[tenants.acme.keys]]
id = "both"
ed25519_public = "{public}"
[[tenants.globex.keys]]
id = "mac-1"
hmac_secret_file = "globex.key"
[[tenants.globex.keys]]
id = "both"
hmac_secret_file = "globex.key"
[tenants.globex]
reply_topics = ["answers.globex", "reelbus.replies.globex.*"]
may_omit_label = true
"""


def public_of(private: bytes) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return base64.b64encode(Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()).decode()


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    folder = tmp_path_factory.mktemp("tenants")
    (folder / "tenants.toml").write_text(FILE.format(public=public_of(ED_PRIVATE), ended=NOW_MS - 1))
    (folder / "globex.key").write_text(base64.b64encode(SECRET).decode() + "\n")
    return load_rules(Settings(tenants=str(folder / "tenants.toml")), semantic=False)


@pytest.fixture(scope="module")
def tenants(rules: Rules) -> Tenants:
    return rules.tenants


def at(ms: int) -> Callable[[], float]:
    return lambda: ms / 1000


def acme(ms: int = NOW_MS) -> Signer:
    return Signer.ed25519("ed-1", ED_PRIVATE, at(ms))


def globex(ms: int = NOW_MS) -> Signer:
    return Signer.hmac("mac-1", SECRET, at(ms))


def sent(signer: Signer, tenant: str, topic: str = TOPICS[0], job_id: str = "j1", prompt: str = "x") -> Incoming:
    """A signed request or order, as the topic wants it."""
    plain: dict[str, object] = {"job_id": job_id, "tenant": tenant}
    if topic == ORDERS:
        plain |= {"action": "cancel", "reason": prompt}
    else:
        plain |= {"lane": lane_of(topic), "shots": [{"prompt": prompt, "duration_s": 1}]}
    value = json.dumps(plain).encode()
    return Incoming(topic, 0, 0, job_id.encode(), value, (signer.sign(topic, tenant, job_id, value),), NOW_MS)


def lane_of(topic: str) -> Lane:
    lane: Lane = topic.split(".")[3]  # type: ignore[assignment]
    return lane


def step(rules: Rules, record: Incoming) -> Sequence[Outgoing]:
    """What the stage makes of a record: what it writes, or an error for which the bus writes a dead letter."""
    take = command(rules.tenants) if "orders" in record.topic else decide(lane_of(record.topic), rules)
    return take(record)


def tenant_in(record: Incoming) -> str:
    tenant: str = json.loads(record.value or b"")["tenant"]
    return tenant


def refusal(tenants: Tenants, record: Incoming) -> str:
    with pytest.raises(IdentityRefused) as caught:
        tenants.check(record, tenant_in(record))
    return caught.value.code


def swap(record: Incoming, **changes: object) -> Incoming:
    """The record with another value that says so, and the header of the one before."""
    plain = {**json.loads(record.value or b""), **changes}
    return replace(record, value=json.dumps(plain).encode(), key=str(plain["job_id"]).encode())


def with_header(record: Incoming, header: bytes) -> Incoming:
    return replace(record, headers=((HEADER, header),))


def attacks(rng: random.Random) -> tuple[Incoming, dict[str, tuple[Incoming, set[str]]]]:
    """A genuine record, and one attack of every kind: its record and the codes it may be refused with.

    Another seed, other details.
    """
    wrong = {"signature_wrong"}
    tenant, signer = rng.choice((("acme", acme), ("globex", globex)))
    other = {"acme": "globex", "globex": "acme"}[tenant]
    topic = rng.choice((*TOPICS, ORDERS))
    job_id = f"j{rng.randrange(10**9)}"
    good = sent(signer(), tenant, topic, job_id)
    header = parse(good.headers[0][1])
    bit = rng.randrange(len(header.signature) * 8)
    flipped = bytearray(header.signature)
    flipped[bit // 8] ^= 1 << bit % 8
    altered = (good.value or b"").replace(b': "x"', f': "{rng.randrange(10**6)}"'.encode())
    another = sent(signer(), tenant, topic, f"{job_id}-b")
    confused = Signer.hmac("ed-1", base64.b64decode(public_of(ED_PRIVATE)), at(NOW_MS))
    hostile = rng.choice(("../../x", "..", "", "ed-1/../mac-1", "a b", "-", "ed-1\\n", "ed-1%00", "k" * 65, "\u00e9"))
    late = rng.randrange(300_001, 10**9)
    early = rng.randrange(60_001, 10**9)
    likes = (ORDERS,) if topic == ORDERS else TOPICS
    elsewhere = rng.choice([name for name in (*likes, topic.replace("reelbus", "staging")) if name != topic])
    thief = Signer.hmac("mac-1", OTHER_SECRET, at(NOW_MS)) if tenant == "globex" else None
    thief = thief or Signer.ed25519("ed-1", OTHER_PRIVATE, at(NOW_MS))
    return good, {
        "forged with another key": (sent(thief, tenant, topic, job_id), wrong),
        "forged with the key of another tenant": (
            sent(signer(), other, topic, job_id), {"signature_key_unknown"}
        ),
        "forged with the key of another tenant that has the same id": (
            sent(Signer.hmac("both", SECRET, at(NOW_MS)), "acme", topic, job_id), wrong
        ),
        "forged with the public key as a secret": (sent(confused, "acme", topic, job_id), wrong),
        "the signature of another record": (replace(good, headers=another.headers), wrong),
        "a header named almost right": (
            replace(good, headers=((HEADER.upper(), good.headers[0][1]),)), {"signature_missing"}
        ),
        "a key id that is no name": (
            with_header(good, good.headers[0][1].replace(header.key_id.encode(), hostile.encode())),
            {"signature_malformed"},
        ),
        "forged with random bytes": (
            with_header(good, replace(header, signature=rng.randbytes(len(header.signature))).header()), wrong
        ),
        "one bit of the signature": (with_header(good, replace(header, signature=bytes(flipped)).header()), wrong),
        "one byte of the value": (replace(good, value=altered), wrong),
        "another job under the same signature": (swap(good, job_id=job_id + "x"), wrong),
        "another tenant under the same signature": (swap(good, tenant=other), {"signature_key_unknown"}),
        "a tenant nobody knows": (swap(good, tenant="initech"), {"tenant_unknown"}),
        "key of the record changed": (replace(good, key=b"other"), wrong),
        "key of the record removed": (replace(good, key=None), wrong),
        "replayed on another topic": (replace(good, topic=elsewhere), wrong),
        "replayed later": (replace(good, timestamp_ms=NOW_MS + late), {"signature_stale"}),
        "replayed later with a new time": (
            with_header(
                replace(good, timestamp_ms=NOW_MS + late), replace(header, signed_at_ms=NOW_MS + late).header()
            ), wrong,
        ),
        "signed long ago": (sent(signer(NOW_MS - late), tenant, topic, job_id), {"signature_stale"}),
        "signed in the future": (sent(signer(NOW_MS + early), tenant, topic, job_id), {"signature_early"}),
        "unsigned": (replace(good, headers=()), {"signature_missing"}),
        "signed twice": (replace(good, headers=good.headers * 2), {"signature_missing"}),
        "a key id nobody gave": (
            with_header(good, replace(header, key_id="nobody").header()), {"signature_key_unknown"}
        ),
        "cut short": (
            with_header(good, good.headers[0][1][: rng.randrange(1, 30)]), {"signature_malformed", "signature_wrong"}
        ),
        "empty signature": (with_header(good, replace(header, signature=b"").header()), wrong),
        "a key that has ended": (
            sent(Signer.ed25519("old", ED_PRIVATE, at(NOW_MS)), "acme", topic, job_id), {"signature_key_ended"}
        ),
    }  # fmt: skip


def test_no_forged_replayed_stale_or_altered_envelope_is_accepted(rules: Rules) -> None:
    """Through the whole step of the stage, and beside each set of attacks the genuine record, which is taken."""
    refused: Counter[str] = Counter()
    for seed in range(50):
        good, tried = attacks(random.Random(seed))
        assert step(rules, good), f"seed {seed}: the genuine record"
        for name, (record, codes) in tried.items():
            with pytest.raises(IdentityRefused) as caught:
                step(rules, record)
            assert caught.value.code in codes, f"seed {seed}: {name}"
            refused[name] += 1
    assert len(refused) == 26
    assert refused.total() == 1300


def test_an_exact_copy_is_the_same_job_while_it_is_fresh(rules: Rules) -> None:
    """What the stages behind know it by is equal: id of the event, name of the job, fingerprint of the request."""
    for topic in (TOPICS[0], ORDERS):
        record = sent(acme(), "acme", topic)
        copy = replace(record, offset=7, timestamp_ms=NOW_MS + 300_000)
        first, second = step(rules, record), step(rules, copy)
        assert [out.key for out in first] == [out.key for out in second]
        for one, other in zip(first, second, strict=True):
            if isinstance(one.record, JobEvent) and isinstance(other.record, JobEvent):
                assert (one.record.id, one.record.fingerprint) == (other.record.id, other.record.fingerprint)
        with pytest.raises(IdentityRefused, match="signature_stale"):
            step(rules, replace(record, timestamp_ms=NOW_MS + 300_001))


@given(st.sampled_from(TOPICS), st.integers(-60_000, 300_000), st.text(min_size=1, max_size=20))
def test_genuine_envelopes_are_accepted(tenants: Tenants, topic: str, age_ms: int, prompt: str) -> None:
    assert tenants.check(sent(acme(NOW_MS - age_ms), "acme", topic, prompt=prompt), "acme") == "ed-1"
    assert tenants.check(sent(globex(NOW_MS - age_ms), "globex", topic, prompt=prompt), "globex") == "mac-1"


@given(st.binary(max_size=300))
def test_any_header_is_a_refusal_and_no_crash(tenants: Tenants, header: bytes) -> None:
    assert refusal(tenants, with_header(sent(acme(), "acme"), header)).startswith("signature_")


def test_a_header_has_one_text_only() -> None:
    """What is accepted is exactly what `header` writes: no second spelling of one signature passes as another."""
    signature = Signature("k", NOW_MS, b"\x01" * 31)
    text = signature.header()
    assert parse(text) == signature
    for other in (
        text + b"\n",
        b" " + text,
        text.replace(b"v1", b"v2"),
        text.replace(b",1", b",01"),
        text[:-2] + b"h=",
    ):
        with pytest.raises(ValueError, match=r"\w"):
            parse(other)


def test_the_published_test_vector() -> None:
    """docs/how-to/sign-requests.md shows these bytes, for senders in other languages."""
    value = b'{"job_id":"j1","tenant":"acme","shots":[{"prompt":"a red circle","duration_s":2}]}'
    signed = signed_bytes(TOPICS[1], "acme", b"j1", "2026-11", NOW_MS, value)
    hmac_header = Signer.hmac("2026-11", SECRET, at(NOW_MS)).sign(TOPICS[1], "acme", "j1", value)[1].decode()
    ed_header = Signer.ed25519("2026-11", ED_PRIVATE, at(NOW_MS)).sign(TOPICS[1], "acme", "j1", value)[1].decode()
    page = (Path(__file__).parents[2] / "docs/how-to/sign-requests.md").read_text()
    for shown in (value.decode(), signed.decode(), hmac_header, ed_header, base64.b64encode(SECRET).decode(),
                  base64.b64encode(ED_PRIVATE).decode(), public_of(ED_PRIVATE)):  # fmt: skip
        assert shown in page


def test_replies_go_where_the_file_says(tenants: Tenants) -> None:
    assert tenants.reply_topic_allowed("acme", "reelbus.replies.acme.v1")
    assert tenants.reply_topic_allowed("globex", "answers.globex")
    for tenant, topic in (("acme", "answers.globex"), ("acme", "reelbus.replies.globex.v1"), ("initech", "x"),
                          ("globex", "answers.globex2"), ("acme", "reelbus.replies.acme"),
                          ("acme", "reelbus.replies.acme.")):  # fmt: skip
        assert not tenants.reply_topic_allowed(tenant, topic)


GOOD = '[[tenants.acme.keys]]\nid = "k"\ned25519_public = "' + base64.b64encode(b"p" * 32).decode() + '"\n'
WRONG_FILES = [
    ("", "tenants"),
    ("[tenants.acme]\n", "tenant acme has no key"),
    ('[tenants."A B"]\n', 'tenant "A B"'),
    (GOOD + GOOD, "two keys with the id k"),
    (GOOD.replace("ed25519_public", "ed25519"), "ed25519"),
    ('[[tenants.acme.keys]]\nid = "k"\n', "give ed25519_public or hmac_secret_file"),
    (GOOD.replace(base64.b64encode(b"p" * 32).decode(), "AAAA"), "base64 of 32 bytes"),
    ('[[tenants.acme.keys]]\nid = "k"\nhmac_secret_file = "missing"\n', "cannot read secret file"),
    ('[[tenants.acme.keys]]\nid = "k"\nhmac_secret_file = "short.key"\n', "at least 32 random bytes"),
    (GOOD + '[tenants.acme]\nreply_topics = ["reelbus.*"]\n', "a topic of the stages"),
    (GOOD + '[tenants.acme]\nreply_topics = ["reelbus.jobs.control.v1"]\n', "reelbus.jobs.control.v1"),
    ("max_age_s = 0\n" + GOOD, "max_age_s"),
]


@pytest.mark.parametrize(("text", "fault"), WRONG_FILES, ids=[fault for _, fault in WRONG_FILES])
def test_a_wrong_tenants_file_is_named_and_shows_no_secret(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "short.key").write_text("c2VjcmV0")
    (tmp_path / "tenants.toml").write_text(text)
    with pytest.raises(Fatal) as caught:
        tenant_keys.build(*tenants_file.load(str(tmp_path / "tenants.toml")), "reelbus")
    assert fault in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


def test_without_a_file_names_count_as_they_stand() -> None:
    unsigned = replace(sent(acme(), "acme"), headers=())
    assert Tenants("reelbus").check(unsigned, "acme") == ""


def test_while_senders_move_over_a_wrong_signature_is_still_wrong(tenants: Tenants) -> None:
    lenient = replace(tenants, require_signatures=False)
    genuine = sent(acme(), "acme")
    assert lenient.check(replace(genuine, headers=()), "acme") == ""
    assert lenient.check(genuine, "acme") == "ed-1"
    assert refusal(lenient, replace(genuine, value=genuine.value and genuine.value + b" ")) == "signature_wrong"


def test_a_key_file_makes_the_same_signer(tmp_path: Path) -> None:
    file = tmp_path / "2026-11.key"
    file.write_text(f"hmac:{base64.b64encode(SECRET).decode()}\n")
    assert Signer.from_file(file).key_id == "2026-11"
    for text in ("", "hmac:AAAA", "rsa:AAAA", "ed25519:%%", SECRET.decode()):
        file.write_text(text)
        with pytest.raises(Fatal) as caught:
            Signer.from_file(file)
        assert SECRET.decode() not in str(caught.value)


@pytest.mark.parametrize(("signer", "tenant", "told"), [(globex, "globex", ""), (acme, "acme", "label_required")])
def test_who_signed_and_may_leaves_the_visible_mark_out(
    signer: Callable[[], Signer], tenant: str, told: str, rules: Rules
) -> None:
    plain = {"job_id": "j1", "tenant": tenant, "lane": "bulk", "label": {"profile": "none"},
             "shots": [{"prompt": "a red ball", "duration_s": 1}]}  # fmt: skip
    value = json.dumps(plain).encode()
    header = signer().sign(TOPICS[2], tenant, "j1", value)
    (event, *_) = step(rules, Incoming(TOPICS[2], 0, 0, b"j1", value, (header,), NOW_MS))
    assert isinstance(event.record, JobEvent)
    assert (event.record.reason.code if event.record.reason else "") == told
