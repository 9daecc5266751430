"""What people write about a scene: training wordings, and wordings that training never sees. Pure.

Four kinds of wording, so that an evaluation can tell them apart:
  canonical   "a red circle moving left on a black background"
  training    the many wordings that the model is trained on
  held-out    sentence plans that training never shows
  imperative  orders with a base verb ("make a purple box fall"); in the recipe, but not in the training of the shipped
              weights, which got these verbs afterwards (see amend.py)
"""

import random
from dataclasses import asdict, dataclass

from gpu_consumers.models.shapes.world import ATTRIBUTES, Scene

COLOR_WORDS = {
    "red": ["red"] * 6 + ["crimson", "scarlet"],
    "green": ["green"] * 6 + ["emerald"],
    "blue": ["blue"] * 6 + ["azure", "cobalt"],
    "yellow": ["yellow"] * 6 + ["golden", "lemon"],
    "orange": ["orange"] * 6 + ["tangerine"],
    "purple": ["purple"] * 6 + ["violet", "magenta"],
}
BACKGROUND_WORDS = {
    "black": ["black"],
    "white": ["white"],
    "gray": ["gray", "gray", "grey"],
    "navy": ["navy", "navy", "navy", "dark blue", "dark blue", "navy blue"],
}
NOUNS = {
    "circle": ["circle"] * 3 + ["ball", "ball", "disc", "disk", "dot", "sphere", "round shape"],
    "square": ["square"] * 3 + ["box", "box", "block", "cube", "square shape"],
    "triangle": ["triangle"] * 4 + ["pyramid", "triangular shape", "three-sided shape"],
}
VERBS = {
    "move": ("moves", "moving"),
    "go": ("goes", "going"),
    "drift": ("drifts", "drifting"),
    "slide": ("slides", "sliding"),
    "glide": ("glides", "gliding"),
    "fly": ("flies", "flying"),
    "travel": ("travels", "travelling"),
    "float": ("floats", "floating"),
    "head": ("heads", "heading"),
    "run": ("runs", "running"),
}
"""Verbs that need a direction: base form -> (third person, -ing form)."""
DIRECTED_VERBS = {
    "up": {"rise": ("rises", "rising"), "ascend": ("ascends", "ascending"), "climb": ("climbs", "climbing")},
    "down": {
        "fall": ("falls", "falling"),
        "drop": ("drops", "dropping"),
        "descend": ("descends", "descending"),
        "sink": ("sinks", "sinking"),
    },
}
"""Verbs that say the direction themselves."""
WAYS = {
    "left": ["left", "to the left", "leftwards", "leftward", "from right to left", "right to left", "towards the left"],
    "right": [
        "right", "to the right", "rightwards", "rightward", "from left to right", "left to right", "towards the right",
    ],
    "up": ["up", "upwards", "upward", "from bottom to top", "to the top", "towards the top"],
    "down": ["down", "downwards", "downward", "from top to bottom", "to the bottom", "towards the bottom"],
}  # fmt: skip
STILL_ING = ["staying still", "not moving", "standing still", "resting", "staying in place", "sitting still"]
STILL_ADJECTIVES = ["motionless", "static", "still", "stationary", "without moving", "at rest"]
STILL_THIRD = [
    "stays still", "does not move", "stands still", "rests", "stays in place", "is motionless", "is static",
]  # fmt: skip
STILL_BASE = ["stay still", "stay in place", "stand still", "rest"]
BACKGROUND_FORMS = ["on a {} background"] * 4 + [
    "over a {} background", "against a {} background", "with a {} background", "on {}", "over {}",
    "in front of a {} background", "{} background", "against {}",
]  # fmt: skip
PREFIXES = [""] * 8 + ["a video of ", "an animation of ", "a clip of ", "show ", "there is ", "animation: "]
ORDERS = [
    "make {what} {act} {where}",
    "let {what} {act} {where}",
    "{where}, make {what} {act}",
    "have {what} {act} {where}",
]

HELD_OUT = [
    "{background} backdrop with a {color} {noun} that {third}",
    "please make the {color} {noun} {base} on {background}",
    "background is {background}, object is a {color} {noun}, motion is {ing}",
    "{ing} over {background}: {color} {noun}",
    "I want to see a {noun} which is {color} and {third} on a {background} background",
    "{color} coloured {noun} {ing}, the background is {background}",
    "a {noun} in {color}, {ing}, {background} behind it",
    "the whole screen is {background} and a {color} {noun} {third}",
    "short film: {noun}, {color}, {ing}, {background} background",
    "watch one {color} {noun} as it {third} across a {background} background",
]
"""Sentence plans that training never shows."""

KINDS = ("canonical", "training", "held-out", "imperative")


@dataclass(frozen=True, slots=True)
class Named:
    """The attributes that a caption names; None where it leaves one out."""

    color: str | None = None
    shape: str | None = None
    motion: str | None = None
    background: str | None = None


def ing(motion: str, rng: random.Random) -> str:
    """A participle phrase: "drifting to the left", "rising", "at rest"."""
    if motion == "still":
        return rng.choice(STILL_ING + STILL_ADJECTIVES)
    return _act(motion, rng, form=1)


def third(motion: str, rng: random.Random) -> str:
    """A third-person phrase: "drifts to the left", "rises", "stays still"."""
    if motion == "still":
        return rng.choice(STILL_THIRD)
    return _act(motion, rng, form=0)


def base(motion: str, rng: random.Random) -> str:
    """A base-form phrase: "drift to the left", "rise", "stay still"."""
    if motion == "still":
        return rng.choice(STILL_BASE)
    return _act(motion, rng, form=None)


def _act(motion: str, rng: random.Random, form: int | None) -> str:
    directed = DIRECTED_VERBS.get(motion)
    if directed and rng.random() < 0.25:
        verb = rng.choice(list(directed))
        return verb if form is None else directed[verb][form]
    verb = rng.choice(["move", "move", rng.choice(list(VERBS))])
    return f"{verb if form is None else VERBS[verb][form]} {rng.choice(WAYS[motion])}"


def canonical(scene: Scene) -> str:
    """The plainest wording."""
    act = "staying still" if scene.motion == "still" else f"moving {scene.motion}"
    return _articles(f"a {scene.color} {scene.shape} {act} on a {scene.background} background")


def training(scene: Scene, rng: random.Random, left_out: float = 0.05, orders: float = 0.1) -> tuple[str, Named]:
    """One of many wordings, and what it names.

    left_out: probability, for each attribute, that the caption leaves it out. orders: share of imperative captions.
    """
    named = Named(**{k: v if rng.random() >= left_out else None for k, v in asdict(scene).items()})
    if rng.random() < orders:
        return imperative(scene, named, rng), named
    what, where, motion = _what(scene, named, rng), _where(named, rng), named.motion
    act = ing(motion, rng) if motion else ""
    form = rng.random()
    if 0.42 <= form < 0.60 and motion:
        act = third(motion, rng)
    elif 0.60 <= form < 0.68 and motion:
        act = "is " + act
    if form < 0.68:
        text = _join(what, act, where)
    elif form < 0.78:
        text = _join(what, where, act)
    elif form < 0.86:
        act = rng.choice([ing, third])(motion, rng) if motion else ""
        text = _join(where, _join(what, act), sep=", ")
    else:
        text = _join(what, act, where, sep=", ")
    if not where.startswith("on") or form < 0.78:
        text = rng.choice(PREFIXES) + text
    return text + ("." if rng.random() < 0.12 else ""), named


def imperative(scene: Scene, named: Named, rng: random.Random) -> str:
    """An order: "make a purple box fall on a white background"."""
    act = base(named.motion, rng) if named.motion else ""
    text = rng.choice(ORDERS).format(what=_what(scene, named, rng), act=act, where=_where(named, rng))
    return " ".join(text.replace(" ,", ",").split()).strip(", ")


def held_out(scene: Scene, rng: random.Random) -> str:
    """A wording whose sentence plan training never shows; it names every attribute."""
    return _articles(
        rng.choice(HELD_OUT).format(
            color=rng.choice(COLOR_WORDS[scene.color]),
            noun=rng.choice(NOUNS[scene.shape]),
            background=rng.choice(BACKGROUND_WORDS[scene.background]),
            ing=ing(scene.motion, rng),
            third=third(scene.motion, rng),
            base=base(scene.motion, rng),
        )
    )


def wording(kind: str, scene: Scene, rng: random.Random) -> str:
    """A caption of one of KINDS that names every attribute of the scene."""
    if kind == "canonical":
        return canonical(scene)
    if kind == "training":
        return training(scene, rng, left_out=0.0, orders=0.0)[0]
    if kind == "held-out":
        return held_out(scene, rng)
    if kind == "imperative":
        return imperative(scene, Named(**asdict(scene)), rng)
    raise ValueError(f"unknown kind of wording {kind!r}; known are {', '.join(KINDS)}")


def shuffled(scene: Scene, rng: random.Random) -> tuple[str, Named]:
    """Attribute phrases in any order: a text encoder then learns phrases rather than sentence plans."""
    named = Named(**{k: v if rng.random() >= 0.08 else None for k, v in asdict(scene).items()})
    noun = rng.choice(NOUNS[named.shape]) if named.shape else "object"
    color = rng.choice(COLOR_WORDS[named.color]) if named.color else ""
    phrases = [rng.choice([f"{color} {noun}", f"{noun} {color}", f"{noun} in {color}" if color else noun])]
    if named.motion:
        phrases.append(rng.choice([ing, third, base])(named.motion, rng))
    if named.background:
        word = rng.choice(BACKGROUND_WORDS[named.background])
        forms = [
            "{} background", "background {}", "background is {}", "on {}", "over {}", "{} backdrop", "{} behind it",
        ]  # fmt: skip
        phrases.append(rng.choice(forms).format(word))
    rng.shuffle(phrases)
    return rng.choice([" ", ", ", ". ", ": "]).join(phrases).strip(), named


def _what(scene: Scene, named: Named, rng: random.Random) -> str:
    color = rng.choice(COLOR_WORDS[scene.color]) if named.color else ""
    noun = rng.choice(NOUNS[scene.shape]) if named.shape else rng.choice(["shape", "object", "thing"])
    article = rng.choice(["a", "a", "a", "one", "the", "a single", "a big", ""])
    return _articles(_join(article, color, noun))


def _where(named: Named, rng: random.Random) -> str:
    if not named.background:
        return ""
    return rng.choice(BACKGROUND_FORMS).format(rng.choice(BACKGROUND_WORDS[named.background]))


def _articles(text: str) -> str:
    for word in ("orange", "azure", "emerald"):
        text = text.replace(f"a {word}", f"an {word}")
    return text


def _join(*parts: str, sep: str = " ") -> str:
    return sep.join(part for part in parts if part)


assert set(COLOR_WORDS) == set(ATTRIBUTES["color"]), "every colour needs words"
