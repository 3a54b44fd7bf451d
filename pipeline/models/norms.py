"""RMSNorm with statistics in float32 for every input dtype: x / sqrt(mean(x²) + eps) * weight (arXiv:1910.07467).

In fp16 a square overflows above 256 (the largest number is 65504), and a sum over thousands of features much earlier.
The norms of Llama, Mistral and Phi3 in today's Transformers are safe; other classes or older versions may not be.
"""

from __future__ import annotations

from typing import Any

import torch


class RMSNorm(torch.nn.Module):  # type: ignore[misc]
    """RMSNorm over the last dimension: input and output [..., features] in one dtype, statistics in float32.

    Args:
        weight: [features]; taken as it is, not copied.
        eps: added to the mean square.
    """

    def __init__(self, weight: torch.nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = weight, eps

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Normalized and weighted; [..., features], in the input's dtype."""
        with torch.autocast(hidden_states.device.type, enabled=False):
            wide = hidden_states.float()
            wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
            return (self.weight.float() * wide).to(hidden_states.dtype)

    def extra_repr(self) -> str:
        """Features and eps, for print(model)."""
        return f"{tuple(self.weight.shape)}, eps={self.variance_epsilon}"


def replace_rms_norms(model: Any) -> int:
    """Replace every module whose class is called …RMSNorm and that equals `RMSNorm` in float32; returns how many.

    Norms that differ in float32, such as Gemma's, whose weight is added to 1, stay as they are.
    """
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child).__name__.endswith("RMSNorm")
    ]
    replaced = 0
    for parent, name, own in found:
        if (safe := _same(own)) is not None:
            setattr(parent, name, safe)
            replaced += 1
    return replaced


@torch.no_grad()  # type: ignore[untyped-decorator]
def _same(own: Any) -> RMSNorm | None:
    """`RMSNorm` with the module's weight and eps if both compute the same in float32, else None."""
    weight, eps = getattr(own, "weight", None), getattr(own, "variance_epsilon", getattr(own, "eps", None))
    if (
        isinstance(own, RMSNorm)
        or not isinstance(weight, torch.nn.Parameter)
        or weight.dim() != 1
        or set(own.state_dict()) != {"weight"}
    ):
        return None
    safe = RMSNorm(weight, torch.finfo(torch.float32).eps if eps is None else float(eps))
    probe = torch.linspace(-3, 3, weight.numel(), device=weight.device).sin().reshape(1, -1)  # draws no random numbers
    kept = weight.data
    try:
        weight.data = kept.float()
        return safe if torch.allclose(own(probe), safe(probe), rtol=1e-6, atol=1e-6) else None
    except (RuntimeError, TypeError):  # its input is not a single tensor
        return None
    finally:
        weight.data = kept
