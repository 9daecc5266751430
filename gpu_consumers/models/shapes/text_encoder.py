"""Stage 2 of the recipe: a tokenizer of whole words, and a tiny T5 encoder that is trained as a reader of captions.

The encoder learns that every attribute can be read linearly from EVERY output token (the reading heads are thrown away
afterwards). The denoiser's cross-attention then finds colour, shape, motion and background wherever it looks, from its
first step; with an untrained encoder it learned next to nothing.
"""

import logging
import math
import random
import re
import string
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from gpu_consumers.models.shapes import captions
from gpu_consumers.models.shapes.world import ATTRIBUTES, Scene, random_scene

log = logging.getLogger(__name__)

MAX_TOKENS = 32
WIDTH, LAYERS, BATCH = 96, 2, 128
WORD_START = "▁"
NORMALISED_PHRASES = {
    r"(?<=\bon |\bon a |\bover |\bover a |\bagainst |\bagainst a |background is )dark blue|"
    r"dark blue(?= background| backdrop| behind)": "navy",
    r"\bnavy blue\b": "navy",
}
"""Pattern -> what the reader is given instead. "dark blue" is a background only where a background is spoken of; left
to the encoder, its "blue" competed with the colour of the shape."""
FILLERS = [
    "high quality", "cartoon style", "simple", "nice", "please", "hd", "in 2d", "smoothly", "slowly", "cute", "minimal",
    "very", "flat design", "looping", "short clip", "i want", "make", "draw me", "generate", "with", "and", "that",
    "as it", "the scene", "object", "screen", "backdrop", "coloured", "is", "in", "behind it",
]  # fmt: skip


def build_tokenizer(samples: int = 30_000) -> PreTrainedTokenizerFast:
    """Unigram over the words of `samples` captions, with single characters for unknown words."""
    rng = random.Random(7)
    words: Counter[str] = Counter()
    for _ in range(samples):
        words.update(re.findall(r"\w+", captions.training(random_scene(rng), rng)[0].lower().replace("grey", "gray")))
    words.update(word for filler in FILLERS for word in filler.split() for _ in range(200))
    total = sum(words.values())
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -30.0), (WORD_START, -12.0)]
    vocabulary += [(WORD_START + word, math.log(count / total)) for word, count in words.most_common()]
    seen = {word for word, _ in vocabulary}
    characters = string.ascii_lowercase + string.digits + string.punctuation
    vocabulary += [(char, -14.0) for char in characters if char not in seen]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace("grey", "gray"),
            normalizers.Replace("-", " "),
            *(normalizers.Replace(Regex(pattern), word) for pattern, word in NORMALISED_PHRASES.items()),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    make: Any = PreTrainedTokenizerFast  # transformers is partly untyped
    built: PreTrainedTokenizerFast = make(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=MAX_TOKENS,
    )
    return built


def build_encoder(vocabulary: int) -> T5EncoderModel:
    """An untrained encoder of about 0.2 million parameters."""
    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary, d_model=WIDTH, d_kv=24, num_heads=4, d_ff=2 * WIDTH, num_layers=LAYERS,
            dropout_rate=0.0, feed_forward_proj="gated-gelu", relative_attention_num_buckets=16,
            relative_attention_max_distance=32, pad_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip


class Reader(nn.Module):
    """The encoder with one linear head per attribute; the last class of a head means "not named"."""

    def __init__(self, tokenizer: Any, encoder: T5EncoderModel) -> None:
        super().__init__()
        self.tokenizer, self.encoder = tokenizer, encoder
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, len(values) + 1) for name, values in ATTRIBUTES.items()})

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (N, L, WIDTH) and mask (N, L), L the longest of these texts."""
        tokens = self.tokenizer(
            list(texts), padding="longest", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        return self.encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0], tokens.attention_mask.float()

    def loss(self, texts: Sequence[str], named: Sequence[captions.Named]) -> Tensor:
        """Cross-entropy of every token, plus half of that of the mean token, summed over attributes."""
        embeddings, mask = self.encode(texts)
        mean = _masked_mean(embeddings, mask)
        total = torch.zeros(())
        for name, target in _targets(named).items():
            per_token = F.cross_entropy(
                self.heads[name](embeddings).transpose(1, 2),
                target[:, None].expand(-1, embeddings.shape[1]),
                reduction="none",
            )
            total = total + (per_token * mask).sum() / mask.sum()
            total = total + 0.5 * F.cross_entropy(self.heads[name](mean), target)
        return total

    @torch.no_grad()
    def accuracy(self, texts: Sequence[str], scenes: Sequence[Scene]) -> dict[str, float]:
        """Share of captions whose attributes are read right from the mean token."""
        mean = _masked_mean(*self.encode(texts))
        targets = _targets([captions.Named(*scene.key()) for scene in scenes])
        return {n: float((self.heads[n](mean).argmax(-1) == y).float().mean()) for n, y in targets.items()}


def train_text_encoder(out: Path, steps: int, learning_rate: float = 3e-3) -> dict[str, dict[str, float]]:
    """Trains tokenizer and encoder and saves both under `out`. Returns reading accuracy per kind of wording."""
    rng = random.Random(3)
    tokenizer = build_tokenizer()
    reader = Reader(tokenizer, build_encoder(len(tokenizer)))
    parameters = list(reader.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(steps):
        rate = min(1.0, (step + 1) / 50) * min(1.0, (1 - step / steps) / 0.6)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        texts, named = _batch(rng)
        loss = reader.loss(texts, named)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 100 == 0:
            log.info("text encoder: step %d of %d, loss %.4f", step, steps, loss.item())
    tokenizer.save_pretrained(str(out / "tokenizer"))
    reader.encoder.save_pretrained(str(out / "text_encoder"))
    return {kind: reader.accuracy(*_captions(kind, 200)) for kind in captions.KINDS}


def _captions(kind: str, count: int) -> tuple[list[str], list[Scene]]:
    rng = random.Random(50)
    scenes = [random_scene(rng) for _ in range(count)]
    return [captions.wording(kind, scene, rng) for scene in scenes], scenes


def _batch(rng: random.Random) -> tuple[list[str], list[captions.Named]]:
    texts, named = [], []
    for _ in range(BATCH):
        scene, share = random_scene(rng), rng.random()
        if share < 0.03:
            text, names = "", captions.Named()
        elif share < 0.35:
            text, names = captions.shuffled(scene, rng)
        elif share < 0.93:
            text, names = captions.training(scene, rng)
        else:
            text, names = captions.canonical(scene), captions.Named(*scene.key())
        texts.append(_noisy(text, rng) if text and rng.random() < 0.5 else text)
        named.append(names)
    return texts, named


def _noisy(text: str, rng: random.Random) -> str:
    """Extra words and unknown words, so that an unusual sentence does not upset the encoder."""
    words = text.split()
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        junk = "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(2, 5)))
        words.insert(rng.randint(0, len(words)), rng.choice(FILLERS) if rng.random() < 0.7 else junk)
    if rng.random() < 0.15:
        words = [word.capitalize() if rng.random() < 0.3 else word for word in words]
    return " ".join(words)


def _targets(named: Sequence[captions.Named]) -> dict[str, Tensor]:
    def index(name: str, value: str | None) -> int:
        return len(ATTRIBUTES[name]) if value is None else ATTRIBUTES[name].index(value)

    return {name: torch.tensor([index(name, getattr(n, name)) for n in named]) for name in ATTRIBUTES}


def _masked_mean(embeddings: Tensor, mask: Tensor) -> Tensor:
    return (embeddings * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
