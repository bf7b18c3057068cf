"""What the keys of the last block are trained for: to tell the segments of a scene apart.

Let z be a key after LayerNorm (without gain and offset: what the spatio-temporal block
sees at first).  Two terms over the two views of a scene:

* prototypes: the mean of a segment's unit keys is its prototype; each patch shall find its
  own segment among the prototypes of its view, and among those of the other view;
* attention: the map of the spatio-temporal block whose W_q and W_k are sqrt(gain) times the
  identity, over both views at once, shall look where the query's segment is.

Segments weigh 1/sqrt(area), so that the background does not decide everything.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Objective(nn.Module):
    def __init__(self, heads: int, queries: int = 160, gain: float = 1.0) -> None:
        """`heads` are the block's; `queries` maps of a scene are looked at, at random."""
        super().__init__()
        self.heads, self.queries = heads, queries
        self.log_gain = nn.Parameter(torch.tensor(math.log(gain)))
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, keys: Tensor, owners: Tensor) -> dict[str, Tensor]:
        """keys: scenes x views x patches x channels; owners: scenes x views x patches x
        segments, rows that sum to 1, unused segments 0."""
        z = functional.layer_norm(keys.float(), keys.shape[-1:], eps=1e-5)
        return {"prototypes": self.prototypes(z, owners), "attention": self.attention(z, owners)}

    def prototypes(self, z: Tensor, owners: Tensor) -> Tensor:
        unit = functional.normalize(z, dim=-1)
        pure = owners**2  # mixed patches say less about a segment
        centres = functional.normalize(torch.einsum("bvns,bvnc->bvsc", pure, unit), dim=-1)
        present = pure.sum(2) > 0.8  # at least most of a patch
        weight = torch.einsum("bvns,bvs->bvn", owners, segment_weights(owners.sum(2)))
        loss = z.new_zeros(())
        for other in (False, True):
            candidates = centres.flip(1) if other else centres
            known = (present.flip(1) if other else present)[:, :, None]
            scores = torch.einsum("bvnc,bvsc->bvns", unit, candidates)
            scores = scores * self.log_sharpness.exp().clamp(max=30)
            target = owners * known
            share = target.sum(-1)
            target = target / share[..., None].clamp_min(1e-6)
            error = -(target * functional.log_softmax(scores.masked_fill(~known, -1e4), -1)).sum(-1)
            counted = weight * (share > 0.6)
            loss = loss + (error * counted).sum() / counted.sum().clamp_min(1e-6)
        return loss / 2

    def attention(self, z: Tensor, owners: Tensor) -> Tensor:
        scenes, views, patches, channels = z.shape
        count, width = views * patches, channels // self.heads
        z = z.reshape(scenes, count, self.heads, width).transpose(1, 2)
        owners = owners.reshape(scenes, count, -1)
        chosen = torch.randperm(count, device=z.device)[: self.queries]
        target = owners[:, chosen] @ owners.transpose(1, 2)
        target = target / target.sum(-1, keepdim=True)
        scores = z[:, :, chosen] @ z.transpose(-1, -2) * (self.log_gain.exp() / math.sqrt(width))
        maps = scores.softmax(-1).mean(1)
        divergence = (target * (torch.log(target + 1e-8) - torch.log(maps + 1e-8))).sum(-1)
        weight = torch.einsum("bns,bs->bn", owners[:, chosen], segment_weights(owners.sum(1)))
        return (divergence * weight).sum() / weight.sum()


def segment_weights(area: Tensor) -> Tensor:
    """1/sqrt(area in patches), at most 1."""
    return area.clamp_min(1).rsqrt()
