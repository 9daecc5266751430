"""Bench of prompt moderation: recall by spelling trick, language and category, false positives, prompts per second.

Texts are made by a seeded script (stream_processors/moderate/examples); what the semantic check was trained with shares
no template and no word of a slot with them. Tricks and languages are judged by terms alone, the rest as shipped.
"""

import os
import platform
import random
import resource
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ops.prompt_policy.loading import load_policy
from ops.prompt_policy.pack import CATEGORIES
from ops.prompt_policy.policy import Policy
from ops.settings import Settings
from stream_processors.moderate.examples.generate import Example, benign, blocked, disguised, sentences

TRICK_BAR, LANGUAGE_BAR, TROUBLED_BAR, SPEED_BAR = 0.98, 0.90, 0.01, 300.0
MIN_BENIGN = 5_000
Figure = dict[str, Any]
Counts = dict[str, tuple[int, int]]
"""Found and all, by name."""


def run(quick: bool = False) -> dict[str, Any]:
    """Measure. `quick`: few texts, for tests; then nothing is said of what needs many."""
    carriers, paraphrases_each, benign_each, timed = (1, 4, 20, 50) if quick else (3, 400, 1200, 2_000)
    path = Path(Settings().policy)
    by_terms = load_policy(path, semantic=False)
    before_kib, began_s = _resident_kib(), time.perf_counter()
    shipped = load_policy(path)
    load_s, model_kib = time.perf_counter() - began_s, _resident_kib() - before_kib
    tricks = _recall(by_terms, disguised(terms_of(path), carriers))
    languages = _recall(by_terms, ((language, one) for language, of in sentences().items() for one in of))
    harmless = benign("test", benign_each)
    troubled = [example for example in harmless if shipped.categories(example.text)]
    meant = blocked("test", paraphrases_each)
    per_s = _prompts_per_s(path, harmless, timed)
    share = len(troubled) / len(harmless)
    figures = [
        *(_recall_figure(f"recall, trick: {name}", counts, TRICK_BAR) for name, counts in tricks.items()),
        *(_recall_figure(f"recall, language: {name}", counts, LANGUAGE_BAR) for name, counts in languages.items()),
        _figure(
            f"false positives of {len(harmless)} harmless prompts", share, "share", TROUBLED_BAR,
            share <= TROUBLED_BAR and (quick or len(harmless) >= MIN_BENIGN),
        ),
        _figure("prompts per second and core, semantic check on", round(per_s), "1/s", SPEED_BAR, per_s >= SPEED_BAR),
    ]  # fmt: skip
    machine = {
        "cpus": len(os.sched_getaffinity(0)), "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
        "quick": quick, "policy": shipped.version, "load_s": round(load_s, 2), "resident_more_mib": model_kib // 1024,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip
    peers = [*_by_category(by_terms, shipped, terms_of(path), meant, troubled), *_by_kind(harmless, troubled)]
    return {"bench": "moderation", "figures": figures, "machine": machine, "peers": peers}


def terms_of(path: Path) -> list[tuple[str, str]]:
    """(category, term) of everything that the policy's packs refuse as shipped."""
    names = tomllib.loads(path.read_text())["packs"]
    packs = [one for name in names for one in tomllib.loads((path.parent / name).read_text())["pack"]]
    return [(one["category"], term.rstrip("*")) for one in packs if one["severity"] != "low" for term in one["terms"]]


def _recall(policy: Policy, texts: Iterable[tuple[str, Example]]) -> Counts:
    """Texts whose own category was found, by name."""
    found, every = Counter[str](), Counter[str]()
    for name, example in texts:
        every[name] += 1
        found[name] += example.label in policy.categories(example.text)
    return {name: (found[name], count) for name, count in every.items()}


def _recall_figure(name: str, counts: tuple[int, int], bar: float) -> Figure:
    found, every = counts
    return _figure(f"{name} ({every} texts)", found / every, "share", bar, found / every >= bar)


def _figure(name: str, value: float, unit: str, bar: float, holds: bool) -> Figure:
    return {"name": name, "value": round(value, 4), "unit": unit, "bar": bar, "holds": holds}


def _by_category(
    by_terms: Policy, shipped: Policy, terms: list[tuple[str, str]], meant: list[Example], troubled: list[Example]
) -> list[dict[str, Any]]:
    """The table by category: its terms, and the paraphrases that hold none of them, caught at all and named rightly."""
    plain = _recall(by_terms, ((one.label, one) for _, one in disguised(terms, 1, ("plain",))))
    seen: defaultdict[str, list[tuple[bool, bool, bool]]] = defaultdict(list)
    for example in meant:
        found = shipped.categories(example.text)
        seen[example.label].append((bool(found), example.label in found, bool(by_terms.categories(example.text))))
    wrongly = Counter(category for example in troubled for category in shipped.categories(example.text))
    return [
        {
            "category": category,
            "terms": plain.get(category, (0, 0))[1],
            "terms_found": plain.get(category, (0, 0))[0],
            "paraphrases": len(seen[category]),
            "caught": _share(caught for caught, _, _ in seen[category]),
            "named_rightly": _share(right for _, right, _ in seen[category]),
            "caught_by_terms_alone": _share(alone for _, _, alone in seen[category]),
            "harmless_taken_for_it": wrongly[category],
        }
        for category in CATEGORIES
    ]


def _by_kind(harmless: list[Example], troubled: list[Example]) -> list[dict[str, Any]]:
    every, wrong = Counter(one.label for one in harmless), Counter(one.label for one in troubled)
    return [
        {
            "harmless": kind,
            "prompts": count,
            "refused": wrong[kind],
            "for_example": sorted({one.text for one in troubled if one.label == kind}, key=len)[:5],
        }
        for kind, count in every.items()
    ]


def _share(values: Iterable[bool]) -> float | None:
    known = list(values)
    return round(sum(known) / len(known), 3) if known else None


def _prompts_per_s(path: Path, harmless: list[Example], count: int) -> float:
    """By CPU time of this process, every prompt a different one that the model has not seen."""
    fresh = load_policy(path)
    texts = [example.text for example in random.Random(1).sample(harmless, min(count, len(harmless)))]
    fresh.categories("one to warm up")
    began_s = time.process_time()
    for text in texts:
        fresh.categories(text)
    return len(texts) / (time.process_time() - began_s)


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * (os.sysconf("SC_PAGE_SIZE") // 1024)
