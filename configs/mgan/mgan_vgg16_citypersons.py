"""MGAN with a VGG-16 of stride 8 on CityPersons at 1024x2048.

The network is the published one: 11 sizes of anchors of one shape, 7x7 RoIs, two 3x3 convolutions
and a mask that multiplies the RoI's features, two fully connected layers. How it was trained was
not published as code; the schedule here is mmdet's own for 12 epochs.
"""

_base_ = [
    "mmdet::_base_/default_runtime.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "../_base_/models/mgan_vgg16.py",
    "../_base_/datasets/citypersons_1024x2048.py",
]
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.005, momentum=0.9, weight_decay=0.0005))
