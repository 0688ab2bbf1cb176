"""A training whose forward is compiled: it is used there, and nowhere else, and changes nothing."""

import copy
from types import SimpleNamespace

import torch

from mmdyn.engine.compile_hook import CompileHook
from tests.engine.stock import runner_of, write_images

GATED = dict(type="mmdyn.DynConv", budget=0.5, open_init=0.6, noise_until=0.0)


class Backend:
    """Runs what it is given, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, graph, inputs):
        def run(*args):
            self.calls += 1
            return graph(*args)

        return run


def trained(folder, hook: CompileHook | None):
    """A runner after two iterations, from the same weights every time."""
    torch._dynamo.reset()
    write_images(folder)
    runner = runner_of("mmseg", folder, line=GATED, randomness=dict(seed=0))
    runner.model.decode_head.dropout = None
    if hook is not None:
        runner.register_hook(hook)
    runner.train()
    return runner


def test_weights_are_those_of_a_plain_training_and_tests_run_the_plain_forward(tmp_path):
    backend = Backend()
    plain = trained(tmp_path / "plain", None)
    compiled = trained(tmp_path / "compiled", CompileHook(backend=backend))
    seen = backend.calls
    assert seen > 0
    wanted = plain.model.state_dict()
    for name, value in compiled.model.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-5, msg=name)
    assert "forward" not in vars(compiled.model)
    assert "mIoU" in compiled.test() and backend.calls == seen


def test_evaluation_in_a_training_runs_the_plain_forward(tmp_path):
    backend = Backend()
    runner = trained(tmp_path, None)
    hook = CompileHook(backend=backend)
    hook.before_train(runner)
    images = torch.rand(1, 3, 64, 64)
    runner.model.eval()
    with torch.no_grad():
        runner.model(images)
    assert backend.calls == 0
    hook.after_train(runner)
    assert "forward" not in vars(runner.model)
    runner.model.forward = own = lambda *args, **kwargs: None  # somebody's
    hook.before_train(runner)
    hook.after_train(runner)
    assert runner.model.forward is own


def test_a_copy_of_a_compiled_model_runs_its_own_weights():
    net = torch.nn.Linear(2, 2)
    CompileHook(backend=Backend()).before_train(SimpleNamespace(model=net))
    copied = copy.deepcopy(net)
    copied.weight.data.zero_()
    copied.bias.data.zero_()
    for training in (True, False):
        assert copied.train(training)(torch.ones(1, 2)).abs().sum() == 0
        assert net.train(training)(torch.ones(1, 2)).abs().sum() > 0
