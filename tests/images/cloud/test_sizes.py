"""The file of sizes is whole, and what it says of flavors is what the matrix says."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version

from images import matrix
from images.cloud import sizes
from images.cloud.gpus import GPUS
from images.errors import Stop
from images.running import flavor as flavors
from images.running.gpu import Gpu, Seen

GRID = "535.161.08"  # the oldest of Microsoft's drivers for NVadsA10_v5 that the extension has installed since 2024


@pytest.mark.parametrize("size", sizes.load().values(), ids=lambda size: size.name)
def test_the_flavor_of_a_size_is_the_one_that_its_gpu_and_driver_get(size: sizes.Size) -> None:
    major, minor = GPUS[size.gpu]
    driver = GRID if size.driver == "grid" else matrix.load().flavor("cu130").driver
    assert Version(driver).major == int(sizes.vm().driver) or size.driver == "grid"
    seen = Seen(driver, (Gpu(size.gpu, (major, minor), size.gpu_gib * 2**30),))
    assert flavors.pick(matrix.load(), seen)[0] == size.flavor


@pytest.mark.parametrize("name", ["Standard_NC24ads_A100_v4", "standard_nc24ads_a100_v4", "NC24ads_A100_v4"])
def test_a_size_is_found_in_any_case_and_without_its_prefix(name: str) -> None:
    assert sizes.get(name).name == "Standard_NC24ads_A100_v4"


@pytest.mark.parametrize(
    ("name", "next_one"),
    [("NC24ads_A100", "Standard_NC24ads_A100_v4"), ("Standard_D4s_v5", "--size Standard_"), ("", "--size Standard_")],
)
def test_an_unknown_size_is_refused_with_the_nearest(name: str, next_one: str) -> None:
    with pytest.raises(Stop, match="that Azure sells") as stop:
        sizes.get(name)
    assert next_one in stop.value.todo


@pytest.mark.parametrize(("gib", "name"), [(14, "NC4as_T4_v3"), (20, "NV36ads_A10_v5"), (40, "NC24ads_A100_v4")])
def test_the_cheapest_size_whose_gpu_is_large_enough(gib: float, name: str) -> None:
    found = sizes.fitting(gib)
    assert found and found.name == f"Standard_{name}"


def test_no_size_is_large_enough_for_everything() -> None:
    assert sizes.fitting(1000) is None


GOOD = 'A = { gpu = "T4", gpus = "1", gpu_gib = 16, vcpus = 4, memory_gib = 28, price = 1 }'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sizes]\n" + GOOD.replace("vcpus = 4, ", ""), "sizes.A.vcpus"),
        ("[sizes]\n" + GOOD.replace("price = 1", "price = 9"), "sizes.A.price"),
        ("[sizes]\n" + GOOD.replace("= 16", "= 0"), "sizes.A.gpu_gib"),
        ("[sizes]\n" + GOOD.replace("= 16", "= true"), "sizes.A.gpu_gib"),
        ("[sizes]\n" + GOOD.replace('"T4"', '"T5"'), "sizes.A.gpu"),
        ("[sizes]\n" + GOOD.replace("}", ", disk = 1 }"), "disk"),
        ("[sizes]\nA = 1", "sizes.A"),
        ("[sizes]\n", "a table"),
        ("sizes = [", "facts of Azure in TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "azure.toml").write_text(text, encoding="utf-8")
    with pytest.raises(Stop, match=message):
        sizes.load(tmp_path / "azure.toml")


def test_the_table_has_every_size() -> None:
    lines = sizes.table().splitlines()
    assert len(lines) == 1 + len(sizes.load())
    assert " ".join(lines[1].split()) == "Standard_NC4as_T4_v3 1 x T4 16 GiB 4 28 GiB below $1/h cu130"
