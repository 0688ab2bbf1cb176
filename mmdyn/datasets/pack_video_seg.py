"""mmseg's PackSegInputs that also packs which clip and frame an image is."""

from __future__ import annotations

from mmseg.datasets.transforms import PackSegInputs

from mmdyn.datasets.video_frames import IDENTITY
from mmdyn.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackVideoSegInputs(PackSegInputs):
    """``PackSegInputs`` with ``video_id``, ``frame_id`` and ``video_length`` in the metainfo.

    For datasets that are not mmdyn's; mmdyn's put these there with any pipeline.

    Args:
        meta_keys (tuple | None): Keys packed beside the three; None for PackSegInputs' own.
            Default None.
    """

    def __init__(self, meta_keys: tuple[str, ...] | None = None) -> None:
        if meta_keys is None:
            super().__init__()
        else:
            super().__init__(meta_keys=tuple(meta_keys))
        self.meta_keys = tuple(dict.fromkeys((*self.meta_keys, *IDENTITY)))
