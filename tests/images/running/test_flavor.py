"""Which flavor fits which machine, by what `nvidia-smi` prints on real machines."""

from __future__ import annotations

import dataclasses

import pytest

from images import matrix
from images.errors import Stop
from images.running import flavor as flavors
from images.running import gpu

KNOWN = matrix.load()
T4 = gpu.parse("Tesla T4, 7.5, 15360, 535.183.01\n")
V100 = gpu.parse("Tesla V100-SXM2-16GB, 7.0, 16384, 580.65.06\n")
A100 = gpu.parse("NVIDIA A100-SXM4-80GB, 8.0, 81920, 550.127.05\n" * 2)
H100 = gpu.parse("NVIDIA H100 80GB HBM3, 9.0, 81559, 580.95.05\n")
L4 = gpu.parse("NVIDIA L4, 8.9, 23034, 580.82.07\n")
P100 = gpu.parse("Tesla P100-PCIE-16GB, 6.0, 16384, 580.65.06\n")
OLD = gpu.parse("Tesla T4, 15109, 470.256.02\n")  # such drivers do not know the query compute_cap
MIXED = gpu.parse("NVIDIA GeForce GT 1030, 6.1, 2048, 580.95.05\nNVIDIA GeForce RTX 4090, 8.9, 24564, 580.95.05\n")
BROKEN = gpu.Seen(trouble="nvidia-smi: broken")
NONE = gpu.Seen()


@pytest.mark.parametrize(
    ("seen", "flavor"),
    [
        (T4, "cu128"),
        (V100, "cu128"),
        (A100, "cu128"),
        (H100, "cu130"),
        (L4, "cu130"),
        (NONE, "cpu"),
        (gpu.visible(MIXED, "1"), "cu130"),
    ],
)
def test_auto_picks_the_newest_flavor_that_fits(seen: gpu.Seen, flavor: str) -> None:
    name, why = flavors.pick(KNOWN, seen)
    assert name == flavor
    assert why


@pytest.mark.parametrize(
    ("seen", "message", "todo"),
    [
        (P100, "sm_60", "--flavor cpu"),
        (OLD, "driver 470.256.02 is older than 525.60.13", "update the driver to 525.60.13 or newer, or --flavor cpu"),
        (MIXED, "sm_61", "leave out the GPUs that do not fit, by CUDA_VISIBLE_DEVICES, or --flavor cpu"),
        (BROKEN, "broken", "repair the driver, or --flavor cpu"),
    ],
)
def test_a_gpu_that_no_flavor_fits_is_refused_and_not_replaced_by_the_cpu(
    seen: gpu.Seen, message: str, todo: str
) -> None:
    with pytest.raises(Stop) as stopped:
        flavors.pick(KNOWN, seen)
    assert message in stopped.value.found
    assert stopped.value.todo == todo


@pytest.mark.parametrize(
    ("flavor", "seen", "found", "todo"),
    [
        ("cu130", A100, "driver 550.127.05 is older than 580.65.06", "--flavor cu128"),
        ("cu130", V100, "sm_70", "--flavor cu128"),
        ("cu130", NONE, "no NVIDIA GPU is seen", "--flavor cpu"),
        ("cu128", OLD, "driver 470.256.02", "update the driver to 525.60.13 or newer, or --flavor cpu"),
    ],
)
def test_a_flavor_that_does_not_fit_names_one_that_does(flavor: str, seen: gpu.Seen, found: str, todo: str) -> None:
    with pytest.raises(Stop) as stopped:
        flavors.need(KNOWN, KNOWN.flavor(flavor), seen)
    assert found in stopped.value.found
    assert stopped.value.todo == todo


@pytest.mark.parametrize(
    ("cubins", "ptx", "capability", "runs"),
    [
        (("8.0",), (), "8.9", True),  # same major version, later minor
        (("8.6",), (), "8.0", False),  # earlier minor
        (("9.0",), (), "10.0", False),  # another major version
        (("9.0",), ("9.0",), "10.0", True),  # the driver compiles PTX for it
        (("9.0",), ("9.0",), "8.9", False),  # but not backwards
    ],
)
def test_architectures_match_by_major_version_and_ptx(
    cubins: tuple[str, ...], ptx: tuple[str, ...], capability: str, runs: bool
) -> None:
    flavor = dataclasses.replace(KNOWN.flavor("cu128"), cubins=cubins, ptx=ptx)
    assert (flavors.misfit(flavor, gpu.parse(f"X, {capability}, 1, 999.0")) == "") is runs


def test_every_gpu_of_a_machine_must_fit() -> None:
    mixed = gpu.parse("NVIDIA H100 80GB HBM3, 9.0, 81559, 580.95.05\nTesla V100-SXM2-16GB, 7.0, 16384, 580.95.05\n")
    assert flavors.pick(KNOWN, mixed)[0] == "cu128"


def test_values_that_the_driver_does_not_report() -> None:
    shared = gpu.parse("NVIDIA GB10, 12.1, [N/A], 580.95.05\n")
    assert shared.gpus == (gpu.Gpu("NVIDIA GB10", (12, 1), 0),)
    assert flavors.pick(KNOWN, shared)[0] == "cu130"
    assert gpu.parse("GRID T4-16Q, 7.5, 16384, 535.161.08-grid\n").driver == "535.161.08"
