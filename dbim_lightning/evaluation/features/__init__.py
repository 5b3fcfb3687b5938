"""Feature networks, in whose features images are compared."""

from dbim_lightning.evaluation.features.dinov2 import DINOv2
from dbim_lightning.evaluation.features.efficientnet import EfficientNetLite0
from dbim_lightning.evaluation.features.inception import Inception
from dbim_lightning.evaluation.features.network import FeatureNetwork
