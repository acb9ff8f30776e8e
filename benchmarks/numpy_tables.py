"""The counter-based draws and the response-time tables of the simulated world, for NumPy arrays."""

import numpy as np
from numpy.typing import NDArray

from simulators.latency import RESPONSE_GRID, RHO_MAX, RHO_STEP, TARGETS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_NEVER = -60.0


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def uniform(seed: NDArray[np.uint64], purpose: int, counter: Ints) -> Floats:
    """The draws of ``simulators.draws``, for arrays of seeds and counters."""
    salt = np.uint64(purpose * 0x9E3779B97F4A7C15 % 2**64)
    key = _mix(_mix(seed + salt) + counter.astype(np.uint64) * np.uint64(0xD1342543DE82EF95) + np.uint64(1))
    return ((key >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def standard_normal(seed: NDArray[np.uint64], purpose: int, counter: Ints) -> Floats:
    """Standard normal draws by Box and Muller's transform."""
    radius = np.sqrt(-2.0 * np.log(uniform(seed, purpose, 2 * counter)))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniform(seed, purpose, 2 * counter + 1)))


def _cell(targets: Ints, rho: Floats) -> tuple[Ints, Floats, Ints, Floats]:
    position = np.minimum(np.log2(np.clip(targets, 1, 128)), len(TARGETS) - 1)
    target = np.minimum(position.astype(np.int64), len(TARGETS) - 2)
    bins = round(RHO_MAX / RHO_STEP)
    rho_position = np.clip(rho, 0.0, RHO_MAX) * bins / RHO_MAX
    rho_bin = np.minimum(rho_position.astype(np.int64), bins - 1)
    return target, position - target, rho_bin, rho_position - rho_bin


def _probability(log_tail: Floats) -> Floats:
    return np.where(log_tail > _NEVER, np.exp(np.minimum(log_tail, 0.0)), 0.0)


def threshold_tail(tables: Floats, kind: Ints, targets: Ints, rho: Floats) -> Floats:
    """P(response > threshold) from tables [K, targets, utilisation]."""
    target, target_weight, rho_bin, rho_weight = _cell(targets, rho)
    fewer, fewer_busier = tables[kind, target, rho_bin], tables[kind, target, rho_bin + 1]
    more, more_busier = tables[kind, target + 1, rho_bin], tables[kind, target + 1, rho_bin + 1]
    fewer = fewer + rho_weight * (fewer_busier - fewer)
    more = more + rho_weight * (more_busier - more)
    return _probability(fewer + target_weight * (more - fewer))


def response_tail(tables: NDArray[np.float32], servers: Ints, targets: Ints, rho: Floats, x: Floats) -> Floats:
    """P(response > x) from tables [servers, targets, utilisation, response]."""
    target, target_weight, rho_bin, rho_weight = _cell(targets, rho)
    mantissa, exponent = np.frexp(np.maximum(x, 0.5))
    point = np.minimum(2 * exponent + (mantissa >= np.sqrt(0.5)), len(RESPONSE_GRID) - 2) * (x > 0.5)
    corners = (
        (target, rho_bin, (1.0 - target_weight) * (1.0 - rho_weight)),
        (target, rho_bin + 1, (1.0 - target_weight) * rho_weight),
        (target + 1, rho_bin, target_weight * (1.0 - rho_weight)),
        (target + 1, rho_bin + 1, target_weight * rho_weight),
    )
    first = sum(weight * tables[servers, row, column, point] for row, column, weight in corners)
    second = sum(weight * tables[servers, row, column, point + 1] for row, column, weight in corners)
    gap = RESPONSE_GRID[point + 1] - RESPONSE_GRID[point]
    beyond = first + (second - first) * (x - RESPONSE_GRID[point]) / gap
    return np.where(x <= 0.0, 1.0, _probability(np.where(x < 0.5, 2.0 * np.maximum(x, 0.0) * first, beyond)))
