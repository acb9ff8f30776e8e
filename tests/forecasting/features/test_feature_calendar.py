"""Calendar features: the service's clock and holidays, one stamp or many, encodings that close their circle."""

from datetime import UTC, datetime

import numpy as np
import pytest

from forecasting.features.local_time import CALENDAR, CALENDAR_RANGES, LocalClock, ServicePlace, calendar_table

BERLIN = ServicePlace("Europe/Berlin", "DE")


def at(place: ServicePlace, *when: int) -> dict[str, float]:
    second = int(datetime(*when, tzinfo=UTC).timestamp())
    return dict(zip(CALENDAR, LocalClock(place).at(second), strict=True))


def test_hours_are_those_of_the_zone_across_a_change_of_the_clock() -> None:
    assert at(BERLIN, 2025, 3, 30, 0, 59)["hour_of_day"] == 1
    assert at(BERLIN, 2025, 3, 30, 1, 0)["hour_of_day"] == 3
    autumn = [at(BERLIN, 2025, 10, 26, hour)["hour_of_day"] for hour in (0, 1, 2)]
    assert autumn == [2, 2, 3]
    assert at(ServicePlace("Asia/Kolkata"), 2025, 1, 1, 20, 0)["day_of_week"] == 3


@pytest.mark.parametrize(
    ("place", "when", "holiday", "business"),
    [
        (BERLIN, (2025, 10, 3, 10), 1, 0),
        (BERLIN, (2025, 10, 2, 10), 0, 1),
        (BERLIN, (2025, 10, 2, 6, 59), 0, 0),
        (BERLIN, (2025, 10, 2, 7, 0), 0, 1),
        (BERLIN, (2025, 10, 2, 15, 59), 0, 1),
        (BERLIN, (2025, 10, 2, 16, 0), 0, 0),
        (BERLIN, (2025, 1, 6, 10), 0, 1),
        (ServicePlace("Europe/Berlin", "DE", "BY"), (2025, 1, 6, 10), 1, 0),
        (ServicePlace("America/New_York", "US"), (2025, 7, 4, 15), 1, 0),
        (ServicePlace("America/New_York", "US"), (2025, 7, 5, 2), 1, 0),
        (ServicePlace("UTC"), (2025, 12, 25, 10), 0, 1),
        (ServicePlace("UTC", opens_hour=11, closes_hour=12), (2025, 12, 23, 10), 0, 0),
    ],
)
def test_holidays_and_business_hours(place: ServicePlace, when: tuple[int, ...], holiday: int, business: int) -> None:
    found = at(place, *when)
    assert (found["is_holiday"], found["is_business_hour"]) == (holiday, business)


def test_the_weekend_is_the_countrys() -> None:
    riyadh = ServicePlace("Asia/Riyadh", "SA")
    assert [at(riyadh, 2025, 5, day, 9)["is_weekend"] for day in (8, 9, 10, 11)] == [0, 1, 1, 0]
    assert [at(BERLIN, 2025, 5, day, 9)["is_weekend"] for day in (8, 9, 10, 11)] == [0, 0, 1, 1]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia", "UTC"])
def test_one_stamp_and_many_agree(zone: str) -> None:
    place = ServicePlace(zone, "DE")
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.integers(0, 2_000_000_000, 400))
    clock = LocalClock(place)
    one_by_one = np.array([clock.at(second) for second in seconds.tolist()])
    table = calendar_table(seconds, place)
    np.testing.assert_allclose(one_by_one, np.column_stack(list(table.values())), rtol=0, atol=1e-12)
    for name, values in table.items():
        low, high = CALENDAR_RANGES[name]
        assert values.min() >= low
        assert values.max() <= high


def test_cycles_close_and_neighbours_are_near() -> None:
    seconds = np.arange(0, 400 * 86_400, 3600)
    table = calendar_table(seconds, ServicePlace())
    for name in ("hour_of_day", "day_of_week", "month", "quarter", "week_of_year"):
        sine, cosine = table[f"{name}_sin"], table[f"{name}_cos"]
        np.testing.assert_allclose(sine**2 + cosine**2, 1.0)
        values = np.unique(table[name])
        angle = np.array([np.arctan2(sine[table[name] == v][0], cosine[table[name] == v][0]) for v in values])
        steps = np.diff(np.unwrap(np.append(angle, angle[0])))
        assert steps.min() > 0.0
        assert steps.max() == pytest.approx(steps.min(), rel=0.01)


def test_days_weeks_and_quarters() -> None:
    found = at(ServicePlace(), 2026, 12, 31, 23, 59)
    assert (found["days_since_epoch"], found["week_of_year"]) == (20_818, 53)
    assert (found["quarter"], found["month"], found["day_of_week"]) == (4, 12, 3)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"time_zone": "Berlin"}, "time zone 'Berlin'"),
        ({"time_zone": "../etc"}, "time zone"),
        ({"country": "XX"}, "country 'XX'"),
        ({"country": "DE", "subdivision": "ZZ"}, "subdivision 'ZZ'"),
        ({"subdivision": "BY"}, "needs a country"),
        ({"opens_hour": 18, "closes_hour": 9}, "business hours 18..9"),
    ],
)
def test_places_that_do_not_exist_are_refused(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ServicePlace(**options)
