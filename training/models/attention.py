"""Attention between all of a few things: heads, and queries among themselves.

Axes: B images, Q queries, S cells or other queries, C channels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


def attend(query_BQC: Tensor, key_BSC: Tensor, value_BSC: Tensor, heads: int, allowed_BQS: Tensor | None) -> Tensor:
    """What the queries see: in each head, values weighted by how much their keys are like the query.

    Args:
        query_BQC: float; C is split among the heads.
        key_BSC: Of the same dtype.
        value_BSC: Of the same dtype.
        heads: A divisor of C.
        allowed_BQS: bool: which queries may look where; None for everywhere.

    Returns:
        (B, Q, C).
    """
    B, _, C = query_BQC.shape
    q, k, v = (x.reshape(B, x.shape[1], heads, C // heads).transpose(1, 2) for x in (query_BQC, key_BSC, value_BSC))
    mask_B1QS = None if allowed_BQS is None else allowed_BQS[:, None]
    seen_BMQD = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask_B1QS)
    return seen_BMQD.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Queries that look at one another; each knows where it is, and tells what it holds without that.

    Args:
        width: Channels.
        heads: A divisor of them.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        for projection in (self.q_proj, self.k_proj, self.v_proj):
            # Published weights are one tensor of 3 x width rows: by Xavier's rule its bound is this much smaller.
            nn.init.xavier_uniform_(projection.weight, gain=0.5**0.5)
            nn.init.zeros_(projection.bias)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, placed_BQC: Tensor, queries_BQC: Tensor) -> Tensor:
        """What each query sees of all.

        Args:
            placed_BQC: float (B, Q, C): the queries, positions added.
            queries_BQC: The same without.

        Returns:
            (B, Q, C).
        """
        q, k, v = self.q_proj(placed_BQC), self.k_proj(placed_BQC), self.v_proj(queries_BQC)
        seen_BQC: Tensor = self.out_proj(attend(q, k, v, self.heads, None))
        return seen_BQC
