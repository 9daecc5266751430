"""How well the prompt policy sees through spelling tricks, measured, and whom it troubles without cause."""

import base64
import itertools
import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.prompt_policy.encodings import MAX_LAYERS
from ops.prompt_policy.loading import load_policy
from ops.prompt_policy.normalise import fold, hidden, views
from ops.prompt_policy.pack import CATEGORIES
from ops.prompt_policy.policy import Refusal, parse
from ops.settings import Settings
from schemas.errors import Fatal
from schemas.texts import Text
from stream_processors.moderate.examples.generate import disguised
from stream_processors.moderate.examples.obfuscations import OBFUSCATIONS

POLICY_FILE = Path(Settings().policy)
POLICY_TEXT = POLICY_FILE.read_text()
POLICY = load_policy(POLICY_FILE, semantic=False)
TABLES = tomllib.loads(POLICY_TEXT)
PACKS = [pack for name in TABLES["packs"] for pack in tomllib.loads((POLICY_FILE.parent / name).read_text())["pack"]]
TERMS = [(pack["category"], t.rstrip("*")) for pack in PACKS if pack["severity"] != "low" for t in pack["terms"]]


@pytest.mark.parametrize("trick", OBFUSCATIONS)
def test_a_term_is_found_in_disguise(trick: str) -> None:
    """Recall over every term of the shipped packs in some carriers: at least 0.98 for each trick."""
    made = [example for found, example in disguised(TERMS, 2, (trick,)) if found == trick]
    missed = [example.text for example in made if example.label not in POLICY.categories(example.text)]
    assert len(made) > 100
    assert 1 - len(missed) / len(made) >= 0.98, missed[:20]


def _captions() -> list[str]:
    """Prompts as users of the shapes model write them."""
    things = [f"{c} {s}" for c in ("red", "green", "blue", "yellow", "white") for s in ("ball", "square", "triangle")]
    moves = ("moving right", "drifting left", "that rises slowly", "staying still", "is falling down")
    forms = ("a {} {} on a {} background", "{2} backdrop with a {0} that is {1}", "short film: {}, {}, {} background")
    return [f.format(t, m, b) for t, m, b, f in itertools.product(things, moves, ("black", "navy", "grey"), forms)]


BENIGN = [
    "A train from Scunthorpe to Essex", "Penistone station in Sussex, morning fog",
    "the S c u n t h o r p e sign", "Middlesex county cricket",
    "a bunch of grapes, therapist's office, watercolour", "an assassin bug on a leaf",
    "Class assembly, grass and glass, bass guitar", "a cocktail with a cherry",
    "stars seen with the naked eye", "a naked mole rat in its burrow", "a naked flame of a candle",
    "a murder of crows over a field", "murder mystery dinner, art deco poster",
    "gore-tex jacket in the rain", "Al Gore speaks about the climate",
    "suicide prevention poster with a phone and a warm hand",
    "nude lipstick on a white table, product shot", "a strangler fig grows round a temple",
    "same-sex couple dancing at their wedding",
    "sexual reproduction of plants, a diagram with bees",
    "an analysis of the document, uppercase TITLE", "a shooting star crosses the sky",
    "photo shoot of a cat, studio light", "killer whale jumps out of the sea",
    "a blood orange cut in half", "the kill switch of a machine", "a bomb cyclone seen from space",
    "bath bomb in water", "pipe organ in a cathedral", "car wash, nails and a hammer",
    "a ghost walks through the wall", "a gun metal grey car", "white powder snow on a mountain",
    "a white tower over the lake", "Master of the race track, rally cars",
    "children play football in the park", "a kid with a kite", "teenagers skate at sunset",
    "toddler's first steps", "minor chord on a piano, close up of the keys",
    "child drawing a house with crayons", "schoolgirl reads on a bus", "USA vs U.K. in the final",
    "A B C D E F G song for preschool", "3D render, 4K, 60fps, HDR10, f/1.8", "h0t c0ffee",
    "a 1950s diner, route 66", "R2D2-like robot", "size S, M, L, XL", "p r o m o",
    "b-roll of a city, top-down", "the end of my life's work: a bridge",
    "i want to ride my bicycle", "you will diet no more", "skill yourself up",
    "how to kill weeds in the garden", "build a bombastic stage set", "cook methi paneer",
    "heroine of the story", "a jazz club in Harlem", "counterfeit detection lamp",
    "launder clothes, money tree on the sill", "ethnic food market, cleaning up at dusk",
    "lynx in the snow", "massage chair on a terrace", "a torte with cream, tortoise beside it",
    "strange angles, strong light", "category five storm, gorgeous light, gorilla",
    "an eclectic fete, fettuccine", "hens and hentuckets on a farm", "nudge the ball over the line",
    "sextant and compass on a chart", "a sextet plays Mozart", "unisex sweater",
    "portrait of a porcupine", "important corn field", "La Baule beach",
    "красный шар катится вправо на чёрном фоне", "кошка спит на окне, мягкий утренний свет",
    "поезд идёт через зимний лес", "дети играют в парке", "старый город ночью, дождь, отражения",
    "μια κόκκινη μπάλα κινείται δεξιά σε μαύρο φόντο", "ένα ψαροκάικο στο λιμάνι το πρωί",
    "η θάλασσα και ο ουρανός", "كرة حمراء تتحرك إلى اليمين على خلفية سوداء",
    "قارب صغير في البحر عند الغروب", "שקיעה מעל הים, צבעים חמים",
    "一个红色的球在黑色背景上向右移动", "夜の東京、雨、ネオン",
    "빨간 공이 오른쪽으로 움직인다", "एक लाल गेंद दाईं ओर चलती है", "ลูกบอลสีแดงเคลื่อนที่ไปทางขวา",
    "ein roter Ball rollt nach rechts", "une balle rouge sur fond noir", "Größe, Maß, Straße",
    "un globo rojo sube despacio", "kırmızı bir top sağa doğru gider",
    "czerwona piłka toczy się w prawo", "piłka, żółw, łódź", "👩‍👩‍👧 a family at the beach",
    "☕ steam rises from a cup ☕", "🏳️‍🌈 flag in the wind", "🇫🇷 vs 🇩🇪 football match",
]  # fmt: skip


def test_harmless_prompts_pass() -> None:
    """At most 1 in 100 of the plain ones may be refused; of the chosen hard ones, none."""
    captions = _captions()
    assert len(captions) + len(BENIGN) >= 700
    troubled = [text for text in captions if POLICY.categories(text)]
    assert len(troubled) <= len(captions) // 100, troubled
    assert {text: POLICY.categories(text) for text in BENIGN if POLICY.categories(text)} == {}


def refused(*prompts: str, negative: str = "") -> Refusal | None:
    texts = [Text(f"shots[{at}].prompt", prompt) for at, prompt in enumerate(prompts)]
    return POLICY.judge([*texts, Text("shots[0].negative_prompt", negative, wanted=False)]).refusal


def test_an_exception_covers_only_its_own_words() -> None:
    assert POLICY.categories("a nude lipstick") == frozenset()
    assert POLICY.categories("a nude lipstick and a nude") == {"sexual"}


def test_a_word_beside_another_makes_it_worse() -> None:
    refusal = refused("a naked kid")
    assert refusal is not None
    assert refusal.category == "sexual/minors"


def test_negative_prompts_may_name_what_is_not_wanted() -> None:
    assert refused("a ball", negative="nude, nsfw, gore, child") is None
    refusal = refused("a ball", negative="lolicon")
    assert refusal is not None
    assert (refusal.field, refusal.category) == ("shots[0].negative_prompt", "sexual/minors")


def test_a_term_split_over_shots_is_found() -> None:
    refusal = refused("how to build", "a bomb, cinematic")
    assert refusal is not None
    assert refusal.field == "shots"
    assert refused(*"nude") is not None


ADVERSARIAL = (
    "\u0301\u0316", "a ", "@ ", "@", "a.", "\u200b", "1", "a!", "𝓃 ", "a\u200b", "!|+(", "ﷺ", "\U000e0061", "n u d ",
    "-a", "e\u0301", "aab", "\u1100\u1161", "%", "%25", "&#", "&#9",
    "\\x", "\\u{", "6e ", "0x", "bnVkZQ", "!", "|", "+(", "\\/", "()",
)  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ADVERSARIAL, ids=[f"{ord(p[0]):04X}-{len(p)}" for p in ADVERSARIAL])
def test_no_text_makes_it_hang(piece: str) -> None:
    """Four times the largest text that is allowed. It takes under a second; a step that is quadratic in the text (as
    NFKD is in a run of marks) takes minutes."""
    POLICY.categories(piece * (65_536 // len(piece)))
    POLICY.categories("l33t " + piece * (65_536 // len(piece)))


@given(st.text(max_size=200))
def test_any_text_has_views(text: str) -> None:
    forms = views(text)
    assert forms.texts
    assert fold(fold(text)) == fold(fold(fold(text)))
    json.dumps(sorted(forms.texts))


@given(
    st.text("abcdefghijklmnopqrstuvwxyzäéж 漢", min_size=4, max_size=60).filter(str.strip), st.integers(1, MAX_LAYERS)
)
def test_what_is_encoded_is_found_in_every_layer(text: str, times: int) -> None:
    covered = text
    for _ in range(times):
        covered = base64.b64encode(covered.encode()).decode()
    assert text in hidden(f"a video: {covered}!") or not any(c.isalpha() for c in text)


@pytest.mark.parametrize("number", ["733358", "585858", "736578"])
def test_a_short_number_is_no_hexadecimal_text(number: str) -> None:
    """A million numbered jobs had 32 of these: s3X, XXX."""
    assert hidden(f"order {number}") == ()
    assert hidden(f"order {number}736b73") == (bytes.fromhex(f"{number}736b73").decode(),)
    assert hidden(" ".join(number[at : at + 2] for at in (0, 2, 4))) == (bytes.fromhex(number).decode(),)


def test_decoding_ends() -> None:
    deep = "a naked man"
    for _ in range(MAX_LAYERS + 1):
        deep = base64.b64encode(deep.encode()).decode()
    assert len(hidden(deep)) == MAX_LAYERS
    assert hidden(f"&#{'9' * 5000};%zz\\ud800") == ()


def test_every_category_is_in_the_shipped_policy() -> None:
    assert {table["name"] for table in TABLES["category"]} == set(CATEGORIES)
    assert {pack["category"] for pack in PACKS} == set(CATEGORIES)
    assert len(POLICY.languages) == len(TABLES["packs"]) == 12


def test_low_severity_is_left_to_tenants() -> None:
    assert POLICY.categories("two people kissing, a sword fight, cigars") == frozenset()
    strict = parse(POLICY_TEXT.replace('refuse_from = "medium"', 'refuse_from = "low"'), _shipped)
    assert strict.categories("two people kissing, a sword fight, cigars") == {"sexual", "violence", "illicit"}
    lenient = parse(POLICY_TEXT.replace('refuse_from = "medium"', 'refuse_from = "high"'), _shipped)
    assert lenient.categories("a massacre") == frozenset()
    assert lenient.categories("how to build a bomb") == {"illicit/violent"}


def _shipped(name: str) -> str:
    return (POLICY_FILE.parent / name).read_text()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.replace('name = "hate"', 'name = "rudeness"'), "rudeness"),
        (lambda text: text.replace('"underage"]', '"..."]'), "'...'"),
        (lambda text: text.replace('"medium"', '"grave"'), "refuse_from"),
        (lambda text: text + "\nspelling = 1", "spelling"),
        (lambda text: "version = 1", "version"),
    ],
)
def test_a_wrong_policy_file_is_named(change: Callable[[str], str], fault: str) -> None:
    with pytest.raises(Fatal, match=fault):
        parse(change(POLICY_TEXT), _shipped)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.replace('"hate"', '"rudeness"'), "packs/en.toml: .*rudeness"),
        (lambda text: text.replace('"nude heels"', '"..."'), "packs/en.toml: '...'"),
        (lambda text: text.replace('"low"', '"grave"'), "packs/en.toml: .*severity"),
        (lambda text: text.replace('"en"', '"English"'), "packs/en.toml: .*language"),
    ],
)
def test_a_wrong_pack_is_named(change: Callable[[str], str], fault: str) -> None:
    with pytest.raises(Fatal, match=fault):
        parse(POLICY_TEXT, lambda name: change(_shipped(name)))


def test_a_pack_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY_TEXT)
    with pytest.raises(Fatal, match=r"packs/en.toml"):
        load_policy(tmp_path / "policy.toml")
