# mypy: disable-error-code="no-untyped-call"
"""The transformer's forward pass for training: the same result for one fixed clip size, with less work."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import LTXConditionPipeline
from diffusers.models.transformers.transformer_ltx import apply_rotary_emb
from torch import Tensor, nn

from gpu_consumers.models.shapes import world

FRAME_RATE_FPS = 25
"""What the model is told in training, and so always."""
CELL_PX, CELL_FRAMES = 16, 4
"""Pixels and frames that one latent stands for."""


class FastTransformer(nn.Module):
    """The forward pass of LTXVideoTransformer3DModel for one fixed clip size.

    Two time embeddings per clip (sigma and 0) instead of one per token, and fixed rotary tables. Shares its parameters
    with the model it is made from; tests compare the two.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        cos, sin = model.rope(torch.zeros(1, 1, 1), video_coords=token_coordinates())
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)

    def forward(self, latents: Tensor, captions_: Tensor, mask: Tensor, sigma: Tensor, given: Tensor) -> Tensor:
        """latents (B, S, C), captions_ (B, L, D), mask (B, L), sigma (B,) in 0..1, given (B, S) bool -> (B, S, C)."""
        model, batch = self.model, latents.shape[0]
        timesteps = torch.cat([sigma * 1000, sigma.new_zeros(1)])
        modulation, embedded = model.time_embed(timesteps, hidden_dtype=latents.dtype)
        pick = torch.where(given, batch, torch.arange(batch)[:, None])
        modulation, embedded = modulation[pick].unflatten(2, (6, -1)), embedded[pick]
        bias = ((1 - mask.to(latents.dtype)) * -10000.0)[:, None, None]
        context = model.caption_projection(captions_)
        x = model.proj_in(latents)
        for block in model.transformer_blocks:
            shift1, scale1, gate1, shift2, scale2, gate2 = (block.scale_shift_table + modulation).unbind(2)
            x = x + self._attention(block.attn1, block.norm1(x) * (1 + scale1) + shift1, None, None) * gate1
            x = x + self._attention(block.attn2, x, context, bias)
            x = x + block.ff(block.norm2(x) * (1 + scale2) + shift2) * gate2
        shift, scale = (model.scale_shift_table + embedded[:, :, None]).unbind(2)
        out: Tensor = model.proj_out(model.norm_out(x) * (1 + scale) + shift)
        return out

    def _attention(self, attention: Any, x: Tensor, context: Tensor | None, bias: Tensor | None) -> Tensor:
        source = x if context is None else context
        query, key = attention.norm_q(attention.to_q(x)), attention.norm_k(attention.to_k(source))
        value = attention.to_v(source)
        if context is None:
            query, key = (apply_rotary_emb(t, (self.cos, self.sin)) for t in (query, key))
        query, key, value = (t.unflatten(2, (attention.heads, -1)).transpose(1, 2) for t in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        out: Tensor = attention.to_out[0](mixed.transpose(1, 2).flatten(2, 3))
        return out


def token_coordinates() -> Tensor:
    """Coordinates (1, 3, S) of the tokens of one clip, as LTXConditionPipeline makes them."""
    side, frames = world.SIZE_PX // CELL_PX, (world.CLIP_FRAMES - 1) // CELL_FRAMES + 1
    pipeline: Any = LTXConditionPipeline
    ids = pipeline._scale_video_ids(pipeline._prepare_video_ids(1, frames, side, side), CELL_PX, CELL_FRAMES).float()
    ids[:, 0] /= FRAME_RATE_FPS
    coordinates: Tensor = ids
    return coordinates
