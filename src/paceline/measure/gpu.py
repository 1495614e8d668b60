"""Readings of the GPUs: utilisation, memory, temperature and power, as far as NVML answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from paceline.machine import ask_nvml, open_nvml, visible_gpus
from paceline.measure.result import GpuSample

T = TypeVar("T")

_TEMPERATURE_OF_THE_CHIP = 0
"""NVML_TEMPERATURE_GPU."""


class GpuReader:
    """Reads every GPU that this process may use.

    NVML's utilisation is the share of the last moments in which *some* kernel ran. It says that the GPU was not idle,
    not how loaded it was.

    Args:
        open_library: opens NVML; tests pass a fake one.

    Attributes:
        note: why there is nothing to read, empty if there is.
    """

    def __init__(self, open_library: Callable[[], tuple[Any | None, str]] = open_nvml) -> None:
        self._nvml, self.note = open_library()
        self._gpus = visible_gpus(self._nvml) if self._nvml is not None else ()
        if not self._gpus:
            self.note = self.note or "no GPU: NVML lists none that this process may use"

    def read(self) -> tuple[GpuSample, ...]:
        """Return one sample per GPU; empty where there is none."""
        return tuple(self._read(gpu.index, gpu.name, handle) for gpu, handle in self._gpus)

    def _read(self, index: int, name: str, handle: Any) -> GpuSample:
        nvml = self._nvml
        assert nvml is not None
        rates = ask_nvml(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = ask_nvml(nvml.nvmlDeviceGetMemoryInfo, handle)
        milliwatts = ask_nvml(nvml.nvmlDeviceGetPowerUsage, handle)
        return GpuSample(
            index=index,
            name=name,
            utilization_percent=rates.gpu if rates is not None else None,
            memory_used_bytes=memory.used if memory is not None else None,
            memory_total_bytes=memory.total if memory is not None else None,
            temperature_c=ask_nvml(nvml.nvmlDeviceGetTemperature, handle, _TEMPERATURE_OF_THE_CHIP),
            power_w=milliwatts / 1000 if milliwatts is not None else None,
        )


def combine_gpu_samples(readings: Sequence[Sequence[GpuSample]]) -> tuple[GpuSample, ...]:
    """Return one sample per GPU: means of utilisation and power, maxima of memory and temperature.

    Args:
        readings: what :meth:`GpuReader.read` returned, at several times.
    """
    by_index: dict[int, list[GpuSample]] = {}
    for reading in readings:
        for sample in reading:
            by_index.setdefault(sample.index, []).append(sample)
    return tuple(
        GpuSample(
            index=index,
            name=samples[-1].name,
            utilization_percent=_mean([sample.utilization_percent for sample in samples]),
            memory_used_bytes=max(_known([sample.memory_used_bytes for sample in samples]), default=None),
            memory_total_bytes=samples[-1].memory_total_bytes,
            temperature_c=max(_known([sample.temperature_c for sample in samples]), default=None),
            power_w=_mean([sample.power_w for sample in samples]),
        )
        for index, samples in sorted(by_index.items())
    )


def _known(values: Sequence[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return sum(known) / len(known) if known else None
