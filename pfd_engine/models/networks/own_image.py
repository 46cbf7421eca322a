"""Networks for images out of diffusers' blocks, called like all of ours: `network(x_in, c_noise, condition=None) -> F`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

TIME_SCALE = 1000.0  # c_noise = ln(sigma) / 4 lies in [-1.6, 1.1]; diffusers' embeddings are made for times up to 1,000


class UNet(nn.Module):
    """Diffusers' `UNet2DModel` for x `(B, C, H, W)`, whose sides 2^(levels - 1) divides; options as in `UNetOptions`."""

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        multipliers: Sequence[int] = (1, 2, 2),
        layers: int = 2,
        attention: Sequence[int] = (1,),
        dropout: float = 0.0,
    ) -> None:
        from diffusers import UNet2DModel

        super().__init__()
        kinds = ["Attn" if level in attention else "" for level in range(len(multipliers))]
        net: Any = UNet2DModel(
            sample_size=(shape[1], shape[2]),
            in_channels=shape[0],
            out_channels=shape[0],
            block_out_channels=tuple(width * multiplier for multiplier in multipliers),
            layers_per_block=layers,
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            attention_head_dim=8,
            norm_num_groups=8,
            dropout=dropout,
        )
        nn.init.zeros_(net.conv_out.weight)
        nn.init.zeros_(net.conv_out.bias)
        self.net = net

    def forward(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        dtype = self.net.conv_in.weight.dtype
        output: Tensor = self.net(x.to(dtype), TIME_SCALE * c_noise.to(dtype), return_dict=False)[0]
        return output.to(x.dtype)


class DiT(nn.Module):
    """Diffusers' `DiTTransformer2DModel` without labels, for square x `(B, C, H, H)`; options as in `DiTOptions`.

    The model wants a class: every sample gets the one that stands for none.
    """

    NO_CLASS = 1

    def __init__(self, shape: Sequence[int], layers: int, heads: int, head_width: int = 64, patch: int = 4, dropout: float = 0.0) -> None:
        from diffusers import DiTTransformer2DModel
        from diffusers.models.embeddings import LabelEmbedding

        super().__init__()
        net: Any = DiTTransformer2DModel(
            num_attention_heads=heads,
            attention_head_dim=head_width,
            in_channels=shape[0],
            out_channels=shape[0],
            num_layers=layers,
            dropout=dropout,
            sample_size=shape[1],
            patch_size=patch,
            num_embeds_ada_norm=1,
        )
        for module in net.modules():
            if isinstance(module, LabelEmbedding):
                module.dropout_prob = 0.0  # nothing to drop, and no random numbers spent on it
        for block in net.transformer_blocks:  # each block starts as the identity (arXiv 2212.09748, adaLN-Zero)
            nn.init.zeros_(block.norm1.linear.weight)
            nn.init.zeros_(block.norm1.linear.bias)
        nn.init.zeros_(net.proj_out_2.weight)
        nn.init.zeros_(net.proj_out_2.bias)
        self.net = net

    def forward(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        dtype = self.net.proj_out_2.weight.dtype
        labels = c_noise.new_full(c_noise.shape, self.NO_CLASS).long()
        output: Tensor = self.net(x.to(dtype), TIME_SCALE * c_noise.to(dtype), labels, return_dict=False)[0]
        return output.to(x.dtype)
