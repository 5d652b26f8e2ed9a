"""Stores: samples by row, whatever holds them."""

from sklcnn.data.stores.arrays import ArrayStore
from sklcnn.data.stores.base import Store
from sklcnn.data.stores.device import DeviceStore
from sklcnn.data.stores.features import FeatureStore
from sklcnn.data.stores.statistics import Statistics, channel_statistics

__all__ = ["ArrayStore", "DeviceStore", "FeatureStore", "Statistics", "Store", "channel_statistics"]
