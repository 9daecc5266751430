# mypy: disable-error-code="no-untyped-call"
"""Stage 1 and 4 of the recipe: a tiny AutoencoderKLLTXVideo (16 x 16 x 4 compression), on freshly drawn clips.

From a random start this network learns flat colours very slowly, because all inputs of a 3x3x3 kernel are correlated.
So it starts as a linear auto-encoder: its convolutions are a cascade of three PCAs (4x4x1 -> 8x8x2 -> 16x16x4),
residual blocks start as the identity, and one large constant channel keeps RMSNorm and SiLU in their linear range.
Training then only has to add the non-linear part. (The start is our own, found by trial.)
"""

import logging
import math
import random
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor, nn

from gpu_consumers.models.shapes import world
from gpu_consumers.models.shapes.judge import accuracy, judge

log = logging.getLogger(__name__)

ENCODER_WIDTH, DECODER_WIDTH, LATENT_CHANNELS = 64, 32, 32
PATCH = 4
CONSTANT = (30.0, 60.0)
"""Value of the constant channel in the encoder and in the decoder."""
LATENT_NOISE = 0.1
"""Noise on latents in training: makes the decoder forgiving."""


def build_vae() -> Any:
    """An untrained VAE of about 1.5 million parameters."""
    return AutoencoderKLLTXVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=LATENT_CHANNELS,
        patch_size=PATCH,
        patch_size_t=1,
        block_out_channels=(ENCODER_WIDTH, ENCODER_WIDTH),
        down_block_types=("LTXVideoDownBlock3D",) * 2,
        layers_per_block=(0, 0, 1),
        spatio_temporal_scaling=(True, True),
        downsample_type=("conv", "conv"),
        decoder_block_out_channels=(DECODER_WIDTH, 2 * DECODER_WIDTH),
        decoder_layers_per_block=(1, 1, 0),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3,
        upsample_residual=(False, False),
        upsample_factor=(1, 2),
        timestep_conditioning=False,
        encoder_causal=True,
        decoder_causal=False,
    )


def train_vae(out: Path, minutes: float, seed: int = 1) -> dict[str, float]:
    """Trains a VAE for `minutes` of wall time and saves it to `out`. Returns `round_trip` of it."""
    rng = random.Random(seed)
    vae = build_vae()
    start_as_pca(vae, world.clips(160, rng, "anywhere")[0])
    _train(vae, minutes, rng)
    _set_statistics(vae, rng)
    vae.save_pretrained(out)
    return round_trip(vae)


def train_decoder(source: Path, out: Path, minutes: float, seed: int = 2) -> dict[str, float]:
    """Goes on with the decoder alone: latents, and with them a trained denoiser, stay what they are."""
    vae: Any = AutoencoderKLLTXVideo.from_pretrained(source)
    vae.encoder.requires_grad_(False)
    _train(vae, minutes, random.Random(seed))
    vae.save_pretrained(out)
    return round_trip(vae)


@torch.no_grad()
def round_trip(vae: Any, clips: int = 60) -> dict[str, float]:
    """PSNR in dB, and what the judge still sees right after encoding and decoding true clips it was not trained on."""
    video, scenes = world.clips(clips, random.Random(999), "anywhere")
    decoded = torch.cat(
        [vae.decode(vae.encode(part).latent_dist.mode(), return_dict=False)[0] for part in video.split(10)]
    )
    decoded = decoded.clamp(-1, 1)
    seen = [judge(clip) for clip in world.to_uint8(decoded)]
    return {"psnr_db": _psnr_db(F.mse_loss(decoded, video).item()), **accuracy(seen, scenes)}


def _train(vae: Any, minutes: float, rng: random.Random, learning_rate: float = 1.5e-3) -> None:
    parameters = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0)
    start, step = time.monotonic(), 0
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 50) * min(1, (1 - done) / 0.5) + 1e-6
        # Mostly short clips: the network is convolutional in time, and a step on them costs half.
        count, frames = (6, 17) if step % 4 == 3 else (12, 9)
        video, _ = world.clips(count, rng, rng.choice(["inside", "anywhere"]), frames)
        latents = vae.encode(video).latent_dist.mode()
        decoded = vae.decode(latents + LATENT_NOISE * torch.randn_like(latents), return_dict=False)[0]
        mse = F.mse_loss(decoded, video)
        # Latents near unit variance per channel and without outliers are easy for the denoiser.
        spread = F.relu(latents.abs() - 3).mean() + 0.05 * (latents.std((0, 2, 3, 4)) - 1).abs().mean()
        loss = (decoded - video).abs().mean() + 2 * mse + 0.1 * spread
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        if step % 50 == 0:
            log.info("VAE: step %d, %.0f %% of the time, %.1f dB", step, 100 * done, _psnr_db(mse.item()))
        step += 1


def _psnr_db(mse: float) -> float:
    """Peak signal to noise ratio of pictures in -1..1."""
    return -10 * math.log10(mse / 4)


@torch.no_grad()
def _set_statistics(vae: Any, rng: random.Random) -> None:
    """Mean and deviation per channel, so that the denoiser sees zero mean and unit variance."""
    latents = torch.cat(
        [vae.encode(world.clips(16, rng, "anywhere")[0]).latent_dist.mode() for _ in range(12)],
    )
    vae.latents_mean.copy_(latents.mean((0, 2, 3, 4)))
    vae.latents_std.copy_(latents.std((0, 2, 3, 4)))


# ---- the start: a cascade of PCAs ----------------------------------------------------------------------------------


@torch.no_grad()
def start_as_pca(vae: Any, video: Tensor) -> None:
    """Sets the weights so that the VAE is a linear auto-encoder fitted to `video` (N, 3, T, H, W)."""
    patches = _patches(video)
    basis0 = _pca(_rows(patches), PATCH * PATCH * 3)
    coarse = torch.einsum("kc,bcthw->bkthw", basis0, patches)
    basis1 = _pca(_rows(_halved(coarse).flatten(1, 4)), ENCODER_WIDTH - 1)
    coarser = torch.einsum("kc,bcthw->bkthw", basis1, _halved(coarse).flatten(1, 4))
    basis2 = _pca(_rows(_halved(coarser).flatten(1, 4)), LATENT_CHANNELS)
    latents = torch.einsum("kc,bcthw->bkthw", basis2, _halved(coarser).flatten(1, 4))
    deviation = latents.std((0, 2, 3, 4)).clamp(min=0.05)
    for module in vae.modules():
        if type(module).__name__ == "LTXVideoResnetBlock3d":
            module.conv2.conv.weight.zero_()
            module.conv2.conv.bias.zero_()
    _start_encoder(vae.encoder, basis0, basis1, basis2 / deviation[:, None])
    _start_decoder(vae.decoder, basis0, basis1, basis2 * deviation[:, None])


def _start_encoder(encoder: Any, basis0: Tensor, basis1: Tensor, basis2: Tensor) -> None:
    width, latent = ENCODER_WIDTH, LATENT_CHANNELS
    patch_channels = len(basis0)
    _small(encoder.conv_in.conv).weight[:patch_channels, :, 2, 1, 1] += basis0
    first = _small(encoder.down_blocks[0].downsamplers[0].conv)
    first.weight[: width - 1, :patch_channels, 1:, 1:, 1:] += basis1.reshape(width - 1, patch_channels, 2, 2, 2)
    second = _small(encoder.down_blocks[1].downsamplers[0].conv)
    second.weight[:latent, : width - 1, 1:, 1:, 1:] += basis2.reshape(latent, width - 1, 2, 2, 2)
    second.bias[width - 1] = CONSTANT[0]
    encoder.mid_block.resnets[0].conv1.conv.weight[:, width - 1] = 0
    gain = 2 * math.sqrt((CONSTANT[0] ** 2 + latent) / width)  # undoes RMSNorm and the half of SiLU
    out = _small(encoder.conv_out.conv)
    out.weight[range(latent), range(latent), 2, 1, 1] += gain
    out.weight[latent].zero_()
    out.bias[latent] = -10.0  # log variance: latents are nearly certain


def _start_decoder(decoder: Any, basis0: Tensor, basis1: Tensor, basis2: Tensor) -> None:
    width, latent = DECODER_WIDTH, LATENT_CHANNELS
    patch_channels = len(basis0)
    _small(decoder.conv_in.conv).weight[range(latent), range(latent), 1, 1, 1] += 1
    first = _small(decoder.up_blocks[0].upsamplers[0].conv.conv)
    up = basis2.reshape(latent, ENCODER_WIDTH - 1, 8)[:, :width].permute(1, 2, 0).reshape(8 * width, latent)
    first.weight[:, :latent, 1, 1, 1] += up
    up = torch.zeros(width, 8, width)
    up[: width - 1] = basis1[:width].reshape(width, patch_channels, 8)[:, : width - 1].permute(1, 2, 0)
    second = _small(decoder.up_blocks[1].upsamplers[0].conv.conv)
    second.weight[:, :, 1, 1, 1] += up.reshape(8 * width, width)
    second.bias.view(width, 8)[width - 1] = CONSTANT[1]
    decoder.up_blocks[1].resnets[0].conv1.conv.weight[:, width - 1] = 0
    gain = 2 * math.sqrt((CONSTANT[1] ** 2 + 10) / width)
    out = _small(decoder.conv_out.conv)
    out.weight[:, : width - 1, 1, 1, 1] += gain * basis0[: width - 1].T
    out.weight[:, width - 1] = 0


def _small(conv: Any) -> Any:
    """Leaves a little of the random start, so that training can break symmetry."""
    conv.weight.mul_(0.02)
    conv.bias.zero_()
    return conv


def _pca(rows: Tensor, count: int) -> Tensor:
    """The first `count` principal axes (count, D) of rows (N, D). The mean stays in: it is near 0, and biases train."""
    axes: Tensor = torch.linalg.eigh(rows.T @ rows / len(rows))[1][:, -count:].flip(1).T.contiguous()
    return axes


def _rows(video: Tensor) -> Tensor:
    return video.movedim(1, -1).flatten(0, -2)


def _patches(video: Tensor) -> Tensor:
    """4x4 patches as channels, in the order of LTXVideoEncoder3d."""
    b, c, t, h, w = video.shape
    cut = video.reshape(b, c, t, 1, h // PATCH, PATCH, w // PATCH, PATCH)
    return cut.permute(0, 1, 3, 7, 5, 2, 4, 6).flatten(1, 4)


def _halved(video: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B, C, 2, 2, 2, T', H', W'): frames (2t-1, 2t), rows (2y, 2y+1), columns (2x, 2x+1)."""
    video = torch.cat([video[:, :, :1], video], 2)
    b, c, t, h, w = video.shape
    return video.reshape(b, c, t // 2, 2, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
