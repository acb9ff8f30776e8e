"""Scheduled actions: ``PutScheduledUpdateGroupAction`` bodies and the weekly timetable they amount to.

A recurrence is a Unix cron expression of five fields. Those that repeat every day or every week are understood;
days of the month, months and single dates are not, because the simulated clock knows the minute of the week only.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from simulators.aws_documents import Json, Part, check_shape
from simulators.menu import ScalingPolicy, ScheduledSize
from simulators.records import MAX_SCHEDULED

MOST_ACTIONS: Final = 125
"""Default quota of scheduled actions per group."""
POLICY_NAME: Final = "scheduled actions"

_DAY_MINUTES = 1440
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_READ = (
    "AutoScalingGroupName",
    "ScheduledActionName",
    "Recurrence",
    "TimeZone",
    "MinSize",
    "MaxSize",
    "DesiredCapacity",
)


def recurrence_minutes(recurrence: str) -> list[int]:
    """Return the minutes of the week (Monday 00:00 is 0) at which a cron expression fires, rising.

    Raises:
        ValueError: Not a cron expression of five fields, or one that does not repeat weekly.
    """
    fields = recurrence.split()
    if len(fields) != 5:
        raise ValueError("five cron fields")
    minutes, hours = _field(fields[0], 0, 59), _field(fields[1], 0, 23)
    if fields[2] != "*" or fields[3] != "*":
        raise ValueError("* for the day of the month and the month: only daily and weekly recurrences are simulated")
    days = {(day - 1) % 7 for day in _field(fields[4].lower(), 0, 7, _DAYS)}
    return sorted(_DAY_MINUTES * day + 60 * hour + minute for day in days for hour in hours for minute in minutes)


def _field(text: str, low: int, high: int, names: Sequence[str] = ()) -> set[int]:
    """Return the values of one cron field: numbers, names, ranges, steps and lists of them."""
    values: set[int] = set()
    for item in text.split(","):
        span, _, step = item.partition("/")
        first, dash, last = span.partition("-")
        try:
            start = low if span == "*" else _number(first, names)
            open_end = span == "*" or (bool(step) and not dash)
            end = high if open_end else _number(last, names) if dash else start
            stride = int(step) if step else 1
        except ValueError:
            raise ValueError(f"numbers of {low} to {high}, ranges and steps in the cron field {text!r}") from None
        if not low <= start <= end <= high or stride < 1:
            raise ValueError(f"numbers of {low} to {high} in the cron field {text!r}")
        values.update(range(start, end + 1, stride))
    return values


def _number(text: str, names: Sequence[str]) -> int:
    return names.index(text) if text in names else int(text)


def read_actions(document: Part, group: str, low: int, high: int) -> tuple[ScalingPolicy | None, dict[str, str]]:
    """Return the document's scheduled actions as one policy, and their names by what they do.

    Args:
        document: The whole document; its ``ScheduledActions`` are read.
        group: Name of the group they have to name.
        low: The group's minimum size.
        high: Its maximum size.

    Raises:
        AwsPolicyError: An action AWS would refuse, or one that is not simulated.
    """
    actions = document.children("ScheduledActions")
    if len(actions) > MOST_ACTIONS:
        document.fail("ScheduledActions", f"at most {MOST_ACTIONS} scheduled actions in a group (AWS's quota)")
    sizes: dict[int, int] = {}
    names: dict[str, str] = {}
    for action in actions:
        minutes, size = _read_action(action, group, low, high)
        name = action.get("ScheduledActionName")
        if name in names.values():
            action.fail("ScheduledActionName", "a name of its own")
        for minute in minutes:
            if minute in sizes:
                action.fail("Recurrence", "a time at which no other scheduled action runs")
            sizes[minute] = size
        if len({minute % _DAY_MINUTES for minute in minutes}) == 1:
            names[_what(_recurrence(minutes), size)] = name
    if len(sizes) > MAX_SCHEDULED:
        document.fail("ScheduledActions", f"at most {MAX_SCHEDULED} changes a week in the simulation, not {len(sizes)}")
    if not sizes:
        return None, {}
    schedule = tuple(ScheduledSize(minute_of_week=minute, instances=sizes[minute]) for minute in sorted(sizes))
    return ScalingPolicy(name=POLICY_NAME, kind="scheduled", schedule=schedule), names


def _read_action(action: Part, group: str, low: int, high: int) -> tuple[list[int], int]:
    check_shape(action, "autoscaling", "PutScheduledUpdateGroupAction")
    action.understood(_READ, where="of a simulated scheduled action (recurring, without start or end)")
    if action.get("AutoScalingGroupName") != group:
        action.fail("AutoScalingGroupName", f"the document's group, {group!r}")
    action.one_of("TimeZone", ("UTC", "Etc/UTC"), "UTC")
    for name, limit in (("MinSize", low), ("MaxSize", high)):
        if action.get(name, limit) != limit:
            action.fail(name, f"{limit}, the group's: scheduled limits are not simulated")
    if action.get("DesiredCapacity") is None:
        action.fail("DesiredCapacity", "a size")
    size = int(action.in_range("DesiredCapacity", low, high))
    if "Recurrence" not in action:
        action.fail("Recurrence", "a cron expression: single dates are not simulated")
    try:
        return recurrence_minutes(action.get("Recurrence")), size
    except ValueError as error:
        action.fail("Recurrence", str(error))


def write_actions(policy: ScalingPolicy, group: str, names: Json) -> list[dict[str, Any]]:
    """Return a scheduled policy as request bodies, one for each time of day and size.

    Args:
        policy: Of kind ``scheduled``.
        group: Name of the group.
        names: Names of actions as :func:`read_actions` gave them; others are named by time and size.
    """
    bodies = []
    for (minute, size), minutes in _by_time_and_size(policy.schedule):
        recurrence = _recurrence(minutes)
        name = names.get(_what(recurrence, size), f"{minute // 60:02d}{minute % 60:02d}-{size}")
        bodies.append(
            {
                "AutoScalingGroupName": group,
                "ScheduledActionName": name,
                "Recurrence": recurrence,
                "DesiredCapacity": size,
            }
        )
    return bodies


def _by_time_and_size(schedule: Sequence[ScheduledSize]) -> Iterator[tuple[tuple[int, int], list[int]]]:
    keys = dict.fromkeys((entry.minute_of_week % _DAY_MINUTES, entry.instances) for entry in schedule)
    for minute, size in keys:
        if size is None:
            raise ValueError("a scheduled action of AWS has no counterpart for mean_demand_ratio: give instances")
        yield (
            (minute, size),
            [
                entry.minute_of_week
                for entry in schedule
                if (entry.minute_of_week % _DAY_MINUTES, entry.instances) == (minute, size)
            ],
        )


def _recurrence(minutes: Sequence[int]) -> str:
    """Return the cron expression of minutes of the week that share a time of day."""
    hour, minute = divmod(minutes[0] % _DAY_MINUTES, 60)
    days = sorted((each // _DAY_MINUTES + 1) % 7 for each in minutes)
    on = "*" if len(days) == 7 else ",".join(str(day) for day in days)
    return f"{minute} {hour} * * {on}"


def _what(recurrence: str, size: int) -> str:
    return f"{recurrence} -> {size}"
