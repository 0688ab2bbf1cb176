"""mmdyn's registries, children of mmengine's roots: ``type='mmdyn.X'`` resolves in any config.

Only mmengine is imported here: an ImportError in this module would reach a user as a misleading
``KeyError: 'mmdyn.X is not in the registry'``.
"""

from mmengine import registry as root
from mmengine.registry import Registry


def _child(kind: str, parent: Registry, *locations: str) -> Registry:
    return Registry(kind, parent=parent, scope="mmdyn", locations=[f"mmdyn.{x}" for x in locations])


RUNNERS = _child("runner", root.RUNNERS, "engine")
RUNNER_CONSTRUCTORS = _child("runner constructor", root.RUNNER_CONSTRUCTORS, "engine")
LOOPS = _child("loop", root.LOOPS, "engine")
HOOKS = _child("hook", root.HOOKS, "engine", "visualization")
STRATEGIES = _child("strategy", root.STRATEGIES, "engine")
OPTIMIZERS = _child("optimizer", root.OPTIMIZERS, "engine")
OPTIM_WRAPPERS = _child("optimizer wrapper", root.OPTIM_WRAPPERS, "engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    "optimizer wrapper constructor", root.OPTIM_WRAPPER_CONSTRUCTORS, "engine"
)
PARAM_SCHEDULERS = _child("parameter scheduler", root.PARAM_SCHEDULERS, "engine")
MODELS = _child("model", root.MODELS, "engine", "models")
MODEL_WRAPPERS = _child("model wrapper", root.MODEL_WRAPPERS, "engine")
WEIGHT_INITIALIZERS = _child("weight initializer", root.WEIGHT_INITIALIZERS, "engine")
DATASETS = _child("dataset", root.DATASETS, "datasets")
DATA_SAMPLERS = _child("data sampler", root.DATA_SAMPLERS, "datasets")
TRANSFORMS = _child("transform", root.TRANSFORMS, "datasets")
METRICS = _child("metric", root.METRICS, "metrics")
EVALUATOR = _child("evaluator", root.EVALUATOR, "metrics")
TASK_UTILS = _child("task util", root.TASK_UTILS, "engine")
VISUALIZERS = _child("visualizer", root.VISUALIZERS, "visualization")
VISBACKENDS = _child("vis_backend", root.VISBACKENDS, "visualization")
LOG_PROCESSORS = _child("log_processor", root.LOG_PROCESSORS, "engine")
INFERENCERS = _child("inferencer", root.INFERENCERS, "engine")
FUNCTIONS = _child("function", root.FUNCTIONS, "engine")

# mmdyn's own kinds: no counterpart in mmengine.
POLICIES = Registry("policy", scope="mmdyn", locations=["mmdyn.policies"])
RESOLUTION_POLICIES = Registry("resolution policy", scope="mmdyn", locations=["mmdyn.policies"])
INFORMATION_GAINS = Registry("information gain", scope="mmdyn", locations=["mmdyn.policies"])
CLIP_IDS = Registry("clip id", scope="mmdyn", locations=["mmdyn.video"])
KEYPOINT_CODECS = Registry("keypoint codec", scope="mmdyn", locations=["mmdyn.models"])
