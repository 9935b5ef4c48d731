"""How many operations a device can do at most, for the share of them that a run used (MFU)."""

from __future__ import annotations

# Dense bfloat16 FLOP/s of the tensor cores, from the vendors' data sheets; the longest name that fits counts.
PEAKS = {
    "H200": 989.4e12,
    "H100 NVL": 835.5e12,
    "H100 PCIe": 756.5e12,
    "H100": 989.4e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "RTX 4090": 165.2e12,
    "B200": 2250e12,
}


def peak_flops(device: str) -> float | None:
    """Of this device, None where it is not known (as of a CPU)."""
    import torch

    if not device.startswith("cuda"):
        return None
    name = torch.cuda.get_device_name(device)
    known = [peak for peak in PEAKS if peak in name]
    return PEAKS[max(known, key=len)] if known else None
