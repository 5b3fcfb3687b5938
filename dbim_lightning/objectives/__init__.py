"""What a training step minimises."""

from dbim_lightning.objectives.bridge import BridgeMatching
from dbim_lightning.objectives.objective import Objective
