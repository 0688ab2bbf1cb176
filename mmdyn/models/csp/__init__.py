"""CSP: pedestrians as centres and heights, on stock backbones and mmdet's single-stage detector."""

from mmdyn.models.csp.head import CSPHead
from mmdyn.models.csp.loss import CenterFocalLoss
from mmdyn.models.csp.neck import CSPNeck, L2Norm

__all__ = ["CSPHead", "CSPNeck", "CenterFocalLoss", "L2Norm"]
