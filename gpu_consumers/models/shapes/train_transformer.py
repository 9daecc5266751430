# mypy: disable-error-code="no-untyped-call"
"""Stage 3 of the recipe: a tiny LTXVideoTransformer3DModel, trained by flow matching on cached latents.

Half of each batch is plain text-to-video (the shape starts inside the picture). The other half has its first 1 or 2
latent frames (1 or 5 video frames) given, exactly in the form that LTXConditionPipeline uses (timestep 0 for given
tokens). There the shape may be anywhere on the torus, so that a clip can be continued from the end of the one before;
in a part of these clips the given frames obey another prompt, so that a prompt edited in mid-video is obeyed from there
on.
"""

import logging
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from torch import Tensor, nn

from gpu_consumers.models.digest import digest
from gpu_consumers.models.shapes.fast_transformer import FastTransformer
from gpu_consumers.models.shapes.muon import Muon
from gpu_consumers.models.shapes.training_data import SOURCES, Batches, cached_latents, embedded_captions

log = logging.getLogger(__name__)

WIDTH, HEADS, LAYERS = 144, 4, 6
EMA_DECAY = 0.998


def build_transformer(latent_channels: int, caption_channels: int) -> Any:
    """An untrained transformer of about 2.2 million parameters that starts by predicting 0."""
    model: Any = LTXVideoTransformer3DModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        cross_attention_dim=WIDTH,
        num_layers=LAYERS,
        caption_channels=caption_channels,
    )
    with torch.no_grad():
        for block in model.transformer_blocks:
            block.scale_shift_table.zero_()
            block.scale_shift_table[[2, 5]] = 1  # gates open
            for layer in (block.attn1.to_out[0], block.attn2.to_out[0], block.ff.net[2]):
                layer.weight.mul_((2 * LAYERS) ** -0.5)
                layer.bias.zero_()
        model.time_embed.linear.weight.mul_(0.1)
        for tensor in (model.time_embed.linear.bias, model.scale_shift_table, *model.proj_out.parameters()):
            tensor.zero_()
    return model


def flow_loss(net: nn.Module, clean: Tensor, embeddings: Tensor, masks: Tensor, given: Tensor) -> Tensor:
    """Flow-matching loss on tokens that are not given (Lipman et al. 2022; logit-normal sigmas as in Esser 2024)."""
    batch = len(clean)
    sigma = torch.sigmoid(torch.randn(batch) * 1.1 + 0.5)
    sigma = torch.where(torch.rand(batch) < 0.25, torch.rand(batch), sigma)
    noise, level = torch.randn_like(clean), sigma[:, None, None]
    # A little noise on given tokens, as the pipeline's image_cond_noise_scale does.
    shown = clean + noise * 0.2 * torch.rand(batch, 1, 1) * level**2
    noisy = torch.where(given[..., None], shown, (1 - level) * clean + level * noise)
    velocity = net(noisy, embeddings, masks, sigma, given)
    error = ((velocity - (noise - clean)) ** 2).mean(-1) * ~given
    loss: Tensor = error.sum() / (~given).sum()
    return loss


def train_transformer(
    folder: Path, out: Path, minutes: float, clips: int, cache: Path, learning_rate: float = 2.5e-3
) -> float:
    """Trains on the VAE, tokenizer and text encoder in `folder` for `minutes` and saves the average weights to `out`.

    clips: cached clips of the first source. Returns the last loss (mean of about 25 steps).
    """
    rng = random.Random(2)
    vae: Any = AutoencoderKLLTXVideo.from_pretrained(folder / "vae", local_files_only=True).eval()
    name = digest(folder / "vae")
    sources = [
        cached_latents(vae, source, math.ceil(clips * source.clips_share), 11 + i, cache, name)
        for i, source in enumerate(SOURCES)
    ]
    batches = Batches(sources, *embedded_captions(folder, rng), rng)
    model = build_transformer(vae.config.latent_channels, batches.embeddings.shape[-1])
    net = FastTransformer(model)
    matrices = [
        p for key, p in model.named_parameters() if "transformer_blocks" in key and p.ndim == 2 and "table" not in key
    ]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, foreach=True)
    muon = Muon(matrices, lr=2.5 * learning_rate)
    loss = _loop(net, batches, [(adam, learning_rate), (muon, 2.5 * learning_rate)], matrices + others, minutes)
    model.save_pretrained(out)
    return loss


def _loop(
    net: nn.Module,
    batches: Batches,
    optimizers: Sequence[tuple[torch.optim.Optimizer, float]],
    parameters: list[nn.Parameter],
    minutes: float,
) -> float:
    """Trains for `minutes`; at the end the parameters are their exponential moving average."""
    average = [p.detach().clone() for p in parameters]
    start, step, smooth = time.monotonic(), 0, math.nan
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        rate = min(1.0, (step + 1) / 100) * (min(1.0, (1 - done) / 0.6) * 0.98 + 0.02)
        loss = flow_loss(net, *batches.next())
        for optimizer, _ in optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer, full in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = full * rate
            optimizer.step()
        step += 1
        decay = min(EMA_DECAY, 1 - 1 / (1 + step * 0.1))
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        smooth = loss.item() if math.isnan(smooth) else 0.96 * smooth + 0.04 * loss.item()
        if step in (1, 20) or step % 100 == 0:
            log.info("transformer: step %d, %.0f %% of the time, loss %.4f", step, 100 * done, smooth)
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)
    return smooth
