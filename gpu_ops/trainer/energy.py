"""Electric energy of a run, and what it emits where the user says what a kilowatt-hour does."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any

from gpu_ops.trainer.config_parts import Energy

JOULES_PER_KWH = 3.6e6
MEASURE_EVERY_S = 5


class EnergyMeter(ABC):
    """Counts from when it is made."""

    @abstractmethod
    def take(self) -> float:
        """Kilowatt-hours since the last time."""

    @abstractmethod
    def close(self) -> None:
        """Stops counting."""


class GivenWatts(EnergyMeter):
    """A power that the user knows, such as that of the machine's socket, by the time that passes."""

    def __init__(self, watts: float) -> None:
        self.watts, self._since = watts, time.perf_counter()

    def take(self) -> float:
        before, self._since = self._since, time.perf_counter()
        return self.watts * (self._since - before) / JOULES_PER_KWH

    def close(self) -> None:
        return


class CodeCarbon(EnergyMeter):
    """codecarbon's estimate for this process (CPU, memory) and its GPUs: from the hardware's counters where
    there are any, else from the load and the chips' rated power. Its factors of emission are not used."""

    def __init__(self) -> None:
        try:
            from codecarbon import OfflineEmissionsTracker
        except ImportError as error:
            raise ModuleNotFoundError(
                "energy: {measure: codecarbon} needs the package codecarbon; pip install 'tamis[energy]', or "
                "give the machine's power as energy: {watts: ...}"
            ) from error
        self._tracker: Any = OfflineEmissionsTracker(
            country_iso_code="USA",  # wanted by codecarbon; only the factors that are not used depend on it
            output_methods=[],
            log_level="critical",
            tracking_mode="process",
            measure_power_secs=MEASURE_EVERY_S,
            allow_multiple_runs=True,
        )
        self._tracker.start_task("training")

    def take(self) -> float:
        kwh = float(self._tracker.stop_task().energy_consumed)
        self._tracker.start_task("training")
        return kwh

    def close(self) -> None:
        self._tracker.stop_task()
        self._tracker.stop()


def energy_meter(energy: Energy | None) -> EnergyMeter | None:
    """The meter that the config asks for. ModuleNotFoundError when its package is missing."""
    if energy is None:
        return None
    return CodeCarbon() if energy.watts is None else GivenWatts(energy.watts)


def emitted(energy: Energy | None, kwh: float) -> dict[str, float | None]:
    """{"kwh", "kg_co2e"} of a run, None where they are not known: kWh x PUE x the grid's factor (Patterson et
    al. 2021, 'Carbon Emissions and Large Neural Network Training', section 2.1). No factor is assumed."""
    if energy is None:
        return {"kwh": None, "kg_co2e": None}
    if energy.pue is None or energy.kg_co2e_per_kwh is None:
        return {"kwh": kwh, "kg_co2e": None}
    return {"kwh": kwh, "kg_co2e": kwh * energy.pue * energy.kg_co2e_per_kwh}
