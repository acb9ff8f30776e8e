"""Calendar features in the time zone and country of a service, defined once for one stamp and for many.

Stamps are UTC seconds. Hours, days and weeks are those of the service's clock, daylight saving time included; weekend,
public holidays and business hours are those of its country (package ``holidays``, imported when a country is named).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pandas as pd

_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_EPOCH_WEEKDAY: Final = date(1970, 1, 1).weekday()


@dataclass(frozen=True)
class ServicePlace:
    """Whose clock and calendar count.

    Attributes:
        time_zone: IANA name, for example ``Europe/Berlin``.
        country: ISO 3166 code, for example ``DE``; None knows no holidays, and a weekend of Saturday and Sunday.
        subdivision: State or province within the country, for its own holidays.
        opens_hour: First business hour, local.
        closes_hour: Hour at which business ends; from 17:00 to 17:59 is a business hour if it is 18.

    Raises:
        ValueError: An unknown zone, country or subdivision, or hours outside ``0 <= opens < closes <= 24``.
    """

    time_zone: str = "UTC"
    country: str | None = None
    subdivision: str | None = None
    opens_hour: int = 9
    closes_hour: int = 18

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"time zone {self.time_zone!r} is not an IANA name such as Europe/Berlin") from error
        if not 0 <= self.opens_hour < self.closes_hour <= 24:
            raise ValueError(
                f"business hours {self.opens_hour}..{self.closes_hour}; expected 0 <= opens < closes <= 24"
            )
        _holidays_of(self.country, self.subdivision)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone itself."""
        return ZoneInfo(self.time_zone)


class LocalTime(NamedTuple):
    """Fields of a stamp on the service's clock: one number each, or arrays of one shape.

    Attributes:
        hour: 0..23.
        minute: 0..59.
        weekday: 0..6, Monday first.
        month: 1..12.
        week: ISO week, 1..53.
        day: Days since 1970-01-01.
        is_weekend: 1 on the country's weekend.
        is_holiday: 1 on a public holiday.
        opens_hour: First business hour.
        closes_hour: Hour at which business ends.
    """

    hour: Any
    minute: Any
    weekday: Any
    month: Any
    week: Any
    day: Any
    is_weekend: Any
    is_holiday: Any
    opens_hour: int
    closes_hour: int


def _turn(share: Any) -> Any:
    return 2.0 * math.pi * share


CALENDAR: Final[Mapping[str, Callable[[LocalTime], Any]]] = {
    "hour_of_day": lambda at: at.hour,
    "day_of_week": lambda at: at.weekday,
    "month": lambda at: at.month,
    "quarter": lambda at: (at.month - 1) // 3 + 1,
    "week_of_year": lambda at: at.week,
    "days_since_epoch": lambda at: at.day,
    "is_weekend": lambda at: at.is_weekend,
    "is_holiday": lambda at: at.is_holiday,
    "is_business_hour": lambda at: (
        (at.hour >= at.opens_hour) & (at.hour < at.closes_hour) & (at.is_weekend == 0) & (at.is_holiday == 0)
    ),
    "hour_of_day_sin": lambda at: np.sin(_turn((at.hour + at.minute / 60.0) / 24.0)),
    "hour_of_day_cos": lambda at: np.cos(_turn((at.hour + at.minute / 60.0) / 24.0)),
    "day_of_week_sin": lambda at: np.sin(_turn(at.weekday / 7.0)),
    "day_of_week_cos": lambda at: np.cos(_turn(at.weekday / 7.0)),
    "month_sin": lambda at: np.sin(_turn((at.month - 1) / 12.0)),
    "month_cos": lambda at: np.cos(_turn((at.month - 1) / 12.0)),
    "quarter_sin": lambda at: np.sin(_turn((at.month - 1) // 3 / 4.0)),
    "quarter_cos": lambda at: np.cos(_turn((at.month - 1) // 3 / 4.0)),
    "week_of_year_sin": lambda at: np.sin(_turn((at.week - 1) / 53.0)),
    "week_of_year_cos": lambda at: np.cos(_turn((at.week - 1) / 53.0)),
}
"""Calendar features by name. The hour's encoding moves with the minutes; the others move once a unit."""

CALENDAR_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "hour_of_day": (0.0, 23.0),
    "day_of_week": (0.0, 6.0),
    "month": (1.0, 12.0),
    "quarter": (1.0, 4.0),
    "week_of_year": (1.0, 53.0),
    "days_since_epoch": (0.0, math.inf),
    **{name: (0.0, 1.0) for name in CALENDAR if name.startswith("is_")},
    **{name: (-1.0, 1.0) for name in CALENDAR if name.endswith(("_sin", "_cos"))},
}


def calendar_table(seconds: npt.NDArray[np.int64], place: ServicePlace) -> dict[str, npt.NDArray[np.float64]]:
    """Return every calendar feature of many stamps.

    Args:
        seconds: int64[T], UTC seconds since 1970.
        place: Whose clock and calendar.

    Returns:
        float64[T] by name.
    """
    stamps = pd.DatetimeIndex(pd.to_datetime(seconds, unit="s", utc=True)).tz_convert(place.zone)
    days = stamps.tz_localize(None).normalize().to_numpy().astype("datetime64[D]").astype(np.int64)
    known, which = np.unique(days, return_inverse=True)
    calendars = [_day(int(day), place.country, place.subdivision) for day in known]
    weekend, holiday, week = np.array(calendars, dtype=np.int64).reshape(-1, 3)[which].T
    at = LocalTime(
        hour=stamps.hour.to_numpy(),
        minute=stamps.minute.to_numpy(),
        weekday=(days + _EPOCH_WEEKDAY) % 7,
        month=stamps.month.to_numpy(),
        week=week,
        day=days,
        is_weekend=weekend,
        is_holiday=holiday,
        opens_hour=place.opens_hour,
        closes_hour=place.closes_hour,
    )
    return {name: np.asarray(rule(at), dtype=np.float64) for name, rule in CALENDAR.items()}


@dataclass
class LocalClock:
    """Calendar features of one stamp at a time; the work per stamp is constant.

    Attributes:
        place: Whose clock and calendar.
    """

    place: ServicePlace
    _zone: ZoneInfo = field(init=False)

    def __post_init__(self) -> None:
        self._zone = self.place.zone

    def at(self, second: int) -> list[float]:
        """Return the features of :data:`CALENDAR`, in its order, at a UTC second since 1970."""
        local = datetime.fromtimestamp(second, self._zone)
        day = local.toordinal() - _EPOCH_ORDINAL
        weekend, holiday, week = _day(day, self.place.country, self.place.subdivision)
        at = LocalTime(
            hour=local.hour,
            minute=local.minute,
            weekday=local.weekday(),
            month=local.month,
            week=week,
            day=day,
            is_weekend=weekend,
            is_holiday=holiday,
            opens_hour=self.place.opens_hour,
            closes_hour=self.place.closes_hour,
        )
        return [float(rule(at)) for rule in CALENDAR.values()]


@lru_cache(maxsize=4096)
def _day(day: int, country: str | None, subdivision: str | None) -> tuple[int, int, int]:
    """Return whether a day since 1970 is on the weekend, whether it is a holiday, and its ISO week."""
    when = date.fromordinal(day + _EPOCH_ORDINAL)
    known = _holidays_of(country, subdivision)
    weekend = {5, 6} if known is None else known.weekend
    return int(when.weekday() in weekend), int(known is not None and when in known), when.isocalendar().week


@lru_cache(maxsize=64)
def _holidays_of(country: str | None, subdivision: str | None) -> Any:
    """Return the calendar of a country, or None without one."""
    if country is None:
        if subdivision is not None:
            raise ValueError(f"subdivision {subdivision!r} needs a country")
        return None
    try:
        import holidays
    except ModuleNotFoundError as error:
        raise ValueError(
            f"country {country!r}: public holidays need the package holidays (extra 'models'); "
            "without a country no holiday is known"
        ) from error
    try:
        return holidays.country_holidays(country, subdiv=subdivision)
    except NotImplementedError as error:
        raise ValueError(f"country {country!r} with subdivision {subdivision!r} is unknown to holidays") from error
