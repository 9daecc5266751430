"""The visible mark: what each profile draws and where, and what a caller may have drawn instead. Pure.

The rules in an engineer's reading: GB 45438-2025 asks for words with AI or 人工智能, and 生成 or 合成, in letters
of at least 5 % of the shorter side, on the opening picture for 2 s or more; the code of practice to Art. 50 of the EU's
AI Act for words that say AI, in a place that nothing covers, and names the top-right corner. Both are drawn over the
whole clip.
"""

import re
import unicodedata
from typing import Literal, NamedTuple

from schemas.errors import JobRejected
from schemas.request import Label

Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]
Profile = Literal["eu", "cn"]


OPACITY = 0.68
"""Of the plate, where a request does not say."""


class Wording(NamedTuple):
    """What is drawn. Without a text: nothing."""

    text: str
    corner: Corner
    opacity: float = OPACITY
    """Share of the picture that the plate behind the letters hides."""


PROFILES: dict[str, Wording] = {"eu": Wording("AI GENERATED", "top-right"), "cn": Wording("AI生成", "top-left")}
UNLABELLED = Wording("", "top-right")
"""Of a caller who may leave the visible mark out."""
_SAYS_AI = re.compile(
    r"(?<![a-zà-ÿа-яёіїα-ω0-9])(?:a\.?i\.?|k\.?i\.?|i\.?a\.?|ии|si|mi|yz|τν|ші|tn)(?![a-zà-ÿа-яёіїα-ω0-9])"
    r"|artificial|artificiel|artificiale|künstlich|kunstmatig|sztuczn|искусственн|штучн|yapay|buatan"
    r"|人工智[能慧]|人工知能|인공지능|الذكاء|ذكاء|कृत्रिम|एआई|ปัญญาประดิษฐ์|trí tuệ nhân tạo"
)
"""The words for it in the languages of most of our callers; without a space behind AI in Chinese, Japanese, Korean."""
_SAYS_MADE = re.compile("生成|合成")


def wording(label: Label | None, default: str) -> Wording:
    """What is drawn for a request. default: profile of the installation."""
    if label is None:
        return PROFILES[default]
    if label.profile == "none":
        return UNLABELLED
    usual = PROFILES[label.profile]
    opacity = OPACITY if label.opacity is None else label.opacity
    return Wording(label.text or usual.text, label.position or usual.corner, opacity)


def check(label: Label) -> None:
    """Raises JobRejected when an own text does not say what its profile wants said, or cannot be one line. Who may
    leave the mark out is not looked at here."""
    text = label.text
    if label.profile == "none":
        values = {"text": label.text, "position": label.position, "opacity": label.opacity}
        if given := next((name for name, value in values.items() if value not in ("", None)), ""):
            field = f"label.{given}"
            raise JobRejected("invalid_request", f"{field}: profile none draws nothing; leave it out", field)
        return
    if not text:
        return
    if unusual := next((c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn")), ""):
        raise _refusal(f"holds the character U+{ord(unusual):04X}; give one line of visible letters")
    plain = unicodedata.normalize("NFKC", text).casefold()
    if not _SAYS_AI.search(plain):
        raise _refusal('it does not say AI; e.g. "Made with AI", or leave it out for the profile\'s own words')
    if label.profile == "cn" and not (_SAYS_MADE.search(plain) and re.search("ai|人工智能", plain)):
        raise _refusal('profile cn asks for AI or 人工智能 and for 生成 or 合成, e.g. "本视频由AI生成"')


def _refusal(message: str) -> JobRejected:
    return JobRejected("invalid_request", f"label.text: {message}", "label.text")
