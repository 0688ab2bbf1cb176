"""Image classification on mmengine alone, under mmpretrain's names: its configs move over."""

from mmdyn.models.classification.classifier import ImageClassifier
from mmdyn.models.classification.heads import CrossEntropyLoss, GlobalAveragePooling, LinearClsHead
from mmdyn.models.classification.preprocessor import ClsDataPreprocessor
from mmdyn.models.classification.resnet_cifar import BasicBlock, CIFARResNet, PadShortcut

__all__ = [
    "BasicBlock",
    "CIFARResNet",
    "ClsDataPreprocessor",
    "CrossEntropyLoss",
    "GlobalAveragePooling",
    "ImageClassifier",
    "LinearClsHead",
    "PadShortcut",
]
