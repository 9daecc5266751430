# mypy: disable-error-code="no-untyped-call"
"""Training batches for the transformer: latents of true clips, cached in safetensors files, and caption embeddings."""

import hashlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import LTXConditionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, T5EncoderModel

from gpu_consumers.models.shapes import captions, world
from gpu_consumers.models.shapes.fast_transformer import CELL_PX
from gpu_consumers.models.shapes.text_encoder import MAX_TOKENS

log = logging.getLogger(__name__)

WORDINGS = 40
"""Captions per scene."""
NO_CAPTION_SHARE = 0.1
"""Share of samples with an empty caption: what classifier-free guidance needs (Ho and Salimans 2022)."""

Draw = Callable[[int, random.Random], tuple[Tensor, list[world.Scene]]]


@dataclass(frozen=True)
class Source:
    """One kind of training clip."""

    name: str
    per_batch: int
    clips_share: float
    """Cached clips, as a share of those of the first source."""
    given: tuple[int, ...]
    """Possible numbers of given latent frames."""
    draw: Draw


SOURCES = (
    Source("start", 12, 1.0, (0,), lambda n, rng: world.clips(n, rng, "inside")),
    Source("anywhere", 4, 0.5, (1, 2, 2), lambda n, rng: world.clips(n, rng, "anywhere")),
    Source("turn", 4, 0.5, (2,), lambda n, rng: world.changing_clips(n, rng, 5, new_look=False)),
    Source("change", 3, 0.5, (2,), lambda n, rng: world.changing_clips(n, rng, 5, new_look=True)),
    Source("cut", 1, 0.5, (1,), lambda n, rng: world.changing_clips(n, rng, 1, new_look=True)),
)
BATCH = sum(source.per_batch for source in SOURCES)


def cache_file(cache: Path, source: Source, clips: int, seed: int, vae_digest: str) -> Path:
    """Where latents are cached. The name holds all that decides the content (how the world is drawn, VAE, source,
    size, seed), so that a change of any of them makes a new file instead of silently using an old one."""
    drawing = hashlib.sha256(Path(world.__file__).read_bytes()).hexdigest()[:16]
    return cache / f"{source.name}-{clips}-{seed}-{drawing}-{vae_digest.rpartition(':')[2]}.safetensors"


@torch.no_grad()
def cached_latents(
    vae: Any, source: Source, clips: int, seed: int, cache: Path, vae_digest: str
) -> tuple[Tensor, Tensor]:
    """Latents (N, S, C) float16 and indices (N,) into world.all_scenes(), N at least `clips`; see `cache_file`."""
    file = cache_file(cache, source, clips, seed, vae_digest)
    if file.exists():
        cached = load_file(file)
        return cached["latents"], cached["scenes"]
    index = {scene: i for i, scene in enumerate(world.all_scenes())}
    rng = random.Random(seed)
    latents: list[Tensor] = []
    scenes: list[int] = []
    pipeline: Any = LTXConditionPipeline
    while len(scenes) < clips:
        video, drawn = source.draw(32, rng)
        normal = pipeline._normalize_latents(vae.encode(video).latent_dist.mode(), vae.latents_mean, vae.latents_std)
        latents.append(pipeline._pack_latents(normal).half())
        scenes += [index[scene] for scene in drawn]
    tensors = {"latents": torch.cat(latents), "scenes": torch.tensor(scenes)}
    cache.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)
    log.info("latents: %d clips of source %s", len(scenes), source.name)
    return tensors["latents"], tensors["scenes"]


@torch.no_grad()
def embedded_captions(folder: Path, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Embeddings (N, L, D) float16 and masks (N, L): WORDINGS per scene of world.all_scenes(), then the empty one."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    encoder: Any = T5EncoderModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
    texts = [
        captions.canonical(scene) if i < 2 else captions.training(scene, rng)[0]
        for scene in world.all_scenes()
        for i in range(WORDINGS)
    ] + [""]
    embeddings, masks = [], []
    for i in range(0, len(texts), 256):
        tokens = tokenizer(
            texts[i : i + 256], padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        embeddings.append(encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0].half())
        masks.append(tokens.attention_mask)
    return torch.cat(embeddings), torch.cat(masks)


@dataclass(frozen=True)
class Batches:
    """Random training batches from cached latents and captions."""

    sources: Sequence[tuple[Tensor, Tensor]]
    """Per source: latents and scene indices."""
    embeddings: Tensor
    masks: Tensor
    rng: random.Random

    def next(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Clean latents (B, S, C), captions (B, L, D), masks (B, L), given tokens (B, S) bool."""
        picked = [
            torch.randint(len(scenes), (source.per_batch,))
            for source, (_, scenes) in zip(SOURCES, self.sources, strict=True)
        ]
        clean = torch.cat([latents[p] for (latents, _), p in zip(self.sources, picked, strict=True)]).float()
        scene = torch.cat([scenes[p] for (_, scenes), p in zip(self.sources, picked, strict=True)]).tolist()
        empty = len(self.embeddings) - 1
        caption = torch.tensor(
            [
                s * WORDINGS + self.rng.randrange(WORDINGS) if self.rng.random() > NO_CAPTION_SHARE else empty
                for s in scene
            ]
        )
        counts = torch.tensor([self.rng.choice(s.given) for s in SOURCES for _ in range(s.per_batch)])
        tokens_per_frame = (world.SIZE_PX // CELL_PX) ** 2
        given = torch.arange(clean.shape[1])[None] < counts[:, None] * tokens_per_frame
        return clean, self.embeddings[caption].float(), self.masks[caption], given
