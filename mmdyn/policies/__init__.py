"""Who decides, per frame, which cells are executed. Knows torch only."""

from .base import Policy
from .baselines import (
    AllPolicy,
    FrameDifferencePolicy,
    NonePolicy,
    OraclePolicy,
    RandomPolicy,
)
from .budget import BudgetController, select_cells
from .checkpoint import build_policy, build_resolution_policy, load_policy, save_policy
from .information_gain import (
    detection_gain,
    information_gain,
    instance_gain,
    semseg_gain,
)
from .observation import Observation, TaskOutput
from .painting import task_map
from .reinforce import ReinforcePolicy
from .resolution import ResolutionPolicy
from .resolution_reinforce import ReinforceResolution

__all__ = [
    "AllPolicy",
    "BudgetController",
    "FrameDifferencePolicy",
    "NonePolicy",
    "Observation",
    "OraclePolicy",
    "Policy",
    "RandomPolicy",
    "ReinforcePolicy",
    "ReinforceResolution",
    "ResolutionPolicy",
    "TaskOutput",
    "build_policy",
    "build_resolution_policy",
    "detection_gain",
    "information_gain",
    "instance_gain",
    "load_policy",
    "save_policy",
    "select_cells",
    "semseg_gain",
    "task_map",
]
