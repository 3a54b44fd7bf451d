"""One RMSNorm for all models whose statistics are float32 whatever it is given: x / sqrt(mean(x²) + eps) * weight (arXiv:1910.07467).

In fp16 a square overflows above 256 (its largest number is 65504), and sums over thousands of features much earlier. Llama's, Mistral's and
Phi3's own norms take care in today's Transformers; a model's own class, or an older version's, may not, and torch before 2.4 had none at all.
"""

from __future__ import annotations

from typing import Any

import torch


class RMSNorm(torch.nn.Module):  # type: ignore[misc]
    """RMSNorm over the last dimension; input and output [..., features] in one dtype, statistics and product in float32.

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


def put_safe_norms(model: Any) -> int:
    """Put `RMSNorm` in place of every module whose class is called …RMSNorm and that it equals in float32; returns how many.

    What differs from it in float32, such as Gemma's, whose weight is added to 1, stays as it is.
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
    """`RMSNorm` with the module's own weight and eps, if it does in float32 what the module does; else None."""
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
    except (RuntimeError, TypeError):  # it takes something else than a tensor
        return None
    finally:
        weight.data = kept
