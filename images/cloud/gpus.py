"""NVIDIA's GPUs that clouds sell, by name, with their compute capability."""

from __future__ import annotations

# compute capability by NVIDIA's list, https://developer.nvidia.com/cuda-gpus; names as SkyPilot's catalog has them
GPUS = {
    "V100": (7, 0),
    "V100-32GB": (7, 0),
    "T4": (7, 5),
    "A100": (8, 0),
    "A100-80GB": (8, 0),
    "A10": (8, 6),
    "A10G": (8, 6),
    "L4": (8, 9),
    "L40S": (8, 9),
    "H100": (9, 0),
    "H200": (9, 0),
    "B200": (10, 0),
}
