"""What is measured: each metric brings the columns of its numbers."""

from dbim_lightning.evaluation.metrics.accuracy import ClassifierAccuracy
from dbim_lightning.evaluation.metrics.diversity import Diversity
from dbim_lightning.evaluation.metrics.feature_distance import FeatureDistance
from dbim_lightning.evaluation.metrics.inception_score import InceptionScore
from dbim_lightning.evaluation.metrics.metric import Column, Means, Metric, Sums
from dbim_lightning.evaluation.metrics.nearest import NearestTraining
from dbim_lightning.evaluation.metrics.paired import PairedMetrics
