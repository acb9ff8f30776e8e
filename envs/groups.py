"""From an Auto Scaling group's own documents to a task, so that an operator can try the policy that runs."""

from envs.settings import Candidate, TaskSettings
from simulators.aws_policies import LoadedGroup


def group_task(group: LoadedGroup, task: TaskSettings | None = None) -> TaskSettings:
    """Return a task whose one candidate, one menu entry and physics are those of a group; the rest as in ``task``.

    Playing it means to take no action but the group's spot share (``group.spot_fraction``).
    """
    task = task or TaskSettings()
    specification = group.candidate
    candidate = Candidate(
        name=specification.name,
        types=specification.types,
        spot_allocation=specification.spot_allocation,
        spot_pools=specification.spot_pools,
        on_demand_allocation=specification.on_demand_allocation,
    )
    physics = type(task.world.physics).model_validate({**task.world.physics.model_dump(), **group.physics})
    return task.model_copy(
        update={
            "candidates": (candidate,),
            "menu": (group.policy,),
            "world": task.world.model_copy(update={"physics": physics}),
        }
    )
