"""Losses: arrays in, one number per class or sample out; no keys, networks or configurations."""

from jaxdd.losses.classification import UNSEEN as UNSEEN
from jaxdd.losses.classification import remembering_cross_entropy as remembering_cross_entropy
from jaxdd.losses.classification import soft_cross_entropy as soft_cross_entropy
from jaxdd.losses.classification import soft_label_kl as soft_label_kl
from jaxdd.losses.features import mean_feature_distance as mean_feature_distance
from jaxdd.losses.gradients import convolution_cosine_distance as convolution_cosine_distance
from jaxdd.losses.gradients import cosine_distance as cosine_distance
from jaxdd.losses.gradients import layerwise_cosine_distance as layerwise_cosine_distance
from jaxdd.losses.gradients import layerwise_l1 as layerwise_l1
from jaxdd.losses.gradients import layerwise_l1_mean as layerwise_l1_mean
from jaxdd.losses.gradients import layerwise_l2 as layerwise_l2
from jaxdd.losses.gradients import squared_distance as squared_distance
from jaxdd.losses.information import (
    conditional_mutual_information as conditional_mutual_information,
)
from jaxdd.losses.moments import batch_moment_distance as batch_moment_distance
from jaxdd.losses.moments import layer_moment_distances as layer_moment_distances
from jaxdd.losses.priors import pixel_norm as pixel_norm
from jaxdd.losses.priors import total_variation as total_variation
from jaxdd.losses.relations import class_centralization as class_centralization
from jaxdd.losses.relations import local_covariance_distance as local_covariance_distance
from jaxdd.losses.trajectories import (
    normalized_parameter_distance as normalized_parameter_distance,
)
