"""RMSNorm: equal to each model's own in float32, and finite where a naive one overflows in fp16."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.models.norms import RMSNorm, replace_rms_norms
from tests.models import random_model

FEATURES = 64


def _own(kind: str) -> Any:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from transformers.models.mistral.modeling_mistral import MistralRMSNorm
    from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm

    norm = {"llama": LlamaRMSNorm, "mistral": MistralRMSNorm, "phi3": Phi3RMSNorm, "torch": torch.nn.RMSNorm}[kind](
        FEATURES, eps=1e-5
    )
    with torch.no_grad():
        norm.weight.copy_(torch.randn(FEATURES))
    return norm


class NaiveRMSNorm(torch.nn.Module):  # type: ignore[misc]
    """Computes everything in the input's dtype, fp16 included."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(torch.ones(FEATURES)), 1e-5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


@pytest.mark.parametrize(("kind", "bits"), [("llama", True), ("mistral", True), ("phi3", True), ("torch", False)])
def test_it_equals_the_norm_it_replaces(kind: str, bits: bool) -> None:
    torch.manual_seed(1)
    model, x = torch.nn.Sequential(_own(kind)), torch.randn(3, 7, FEATURES)
    x.requires_grad_()
    wanted = model(x)
    (gradient,) = torch.autograd.grad(wanted.square().sum(), x)
    own = model[0].weight
    assert replace_rms_norms(model) == 1
    assert isinstance(model[0], RMSNorm) and model[0].weight is own and list(model.state_dict()) == ["0.weight"]
    found = model(x)
    assert torch.equal(found, wanted) if bits else torch.allclose(found, wanted, rtol=1e-6, atol=1e-6)
    assert torch.allclose(torch.autograd.grad(found.square().sum(), x)[0], gradient, rtol=1e-5, atol=1e-6)


def test_it_is_finite_where_a_naive_norm_overflows() -> None:
    model = torch.nn.Sequential(NaiveRMSNorm()).half()
    x = torch.full((1, FEATURES), 300.0, dtype=torch.float16)  # its square is above 65504, the largest fp16 number
    assert not model(x).any()  # x / sqrt(inf) is 0
    assert replace_rms_norms(model) == 1
    found = model(x)
    assert found.dtype == torch.float16
    assert torch.allclose(found, torch.ones_like(found), atol=1e-3)
    assert model(torch.full_like(x, 60000.0)).isfinite().all()


@pytest.mark.parametrize("kind", ["llama", "mistral", "phi3"])
def test_every_norm_of_a_model_is_replaced_without_changing_its_logits(kind: str) -> None:
    model = random_model(kind).float()
    ids = torch.arange(3, 60).unsqueeze(0)
    wanted, names = model(input_ids=ids).logits, list(model.state_dict())
    assert replace_rms_norms(model) == 5  # two per layer, and the last one
    assert torch.equal(model(input_ids=ids).logits, wanted)
    assert list(model.state_dict()) == names
    assert replace_rms_norms(model) == 0


def test_a_norm_that_computes_something_else_is_kept() -> None:
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

    model = torch.nn.Sequential(GemmaRMSNorm(FEATURES))
    assert replace_rms_norms(model) == 0
    assert isinstance(model[0], GemmaRMSNorm)
