"""GPU readings against a fake NVML."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from paceline.measure.gpu import GpuReader, combine_gpu_samples
from paceline.measure.result import GpuSample


class FakeNvml:
    """One GPU; the calls named in ``silent`` fail as NVML does where it does not support them."""

    def __init__(self, *silent: str) -> None:
        self.silent = silent

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in object.__getattribute__(self, "silent"):

            def fail(*arguments: Any) -> Any:
                raise RuntimeError("Not Supported")

            return fail
        return object.__getattribute__(self, name)

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"handle {index}"

    def nvmlDeviceGetName(self, handle: str) -> str:
        return "NVIDIA H200"

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return "GPU-1"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        return SimpleNamespace(total=1000, used=250)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        return SimpleNamespace(gpu=37, memory=5)

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        assert (handle, sensor) == ("handle 0", 0)
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 123_400


@pytest.fixture(autouse=True)
def all_gpus_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_gpu_that_answers_everything() -> None:
    reader = GpuReader(lambda: (FakeNvml(), ""))
    expected = GpuSample(
        index=0,
        name="NVIDIA H200",
        utilization_percent=37,
        memory_used_bytes=250,
        memory_total_bytes=1000,
        temperature_c=61,
        power_w=123.4,
    )
    assert reader.read() == (expected,)
    assert reader.note == ""


@pytest.mark.parametrize(
    ("silent", "field"),
    [
        ("nvmlDeviceGetUtilizationRates", "utilization_percent"),
        ("nvmlDeviceGetMemoryInfo", "memory_used_bytes"),
        ("nvmlDeviceGetTemperature", "temperature_c"),
        ("nvmlDeviceGetPowerUsage", "power_w"),
    ],
)
def test_what_is_not_answered_is_none_and_the_rest_stands(silent: str, field: str) -> None:
    (sample,) = GpuReader(lambda: (FakeNvml(silent), "")).read()
    assert getattr(sample, field) is None
    answered = {"utilization_percent", "memory_used_bytes", "temperature_c", "power_w"} - {field}
    assert all(getattr(sample, name) is not None for name in answered)


def test_without_nvml_there_is_a_reason_and_no_sample() -> None:
    reader = GpuReader(lambda: (None, "no GPU: NVML library not found"))
    assert (reader.read(), reader.note) == ((), "no GPU: NVML library not found")


def test_hidden_gpus_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    reader = GpuReader(lambda: (FakeNvml(), ""))
    assert reader.read() == ()
    assert reader.note == "no GPU: NVML lists none that this process may use"


def test_readings_combine_to_means_and_maxima() -> None:
    readings = [
        (GpuSample(index=0, name="A", utilization_percent=20.0, memory_used_bytes=5, temperature_c=70.0),),
        (GpuSample(index=0, name="A", utilization_percent=60.0, memory_used_bytes=9, power_w=100.0),),
        (GpuSample(index=0, name="A", utilization_percent=None, memory_used_bytes=7, temperature_c=60.0),),
    ]
    (combined,) = combine_gpu_samples(readings)
    assert combined.utilization_percent == 40.0
    assert combined.memory_used_bytes == 9
    assert combined.temperature_c == 70.0
    assert combined.power_w == 100.0
    assert combine_gpu_samples([]) == ()
