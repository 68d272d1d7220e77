"""The Triton kernels compiled ahead of time for GPUs that are not here, in every form that the product launches."""

import importlib.util
import inspect

import pytest
import torch

CAPABILITIES = {80: "A100", 90: "H100, H200", 100: "B200"}
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed here")


@pytest.fixture
def launched(monkeypatch):
    """A function that runs the product's own launches on tensors of a type, with the kernels replaced by recorders:
    (kernel, arguments by name, constants) each."""
    from trainers.losses import pixel_kl_kernel as module

    calls = []

    class Recorder:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            def launch(*given, **named):
                names = inspect.signature(self.kernel.fn).parameters
                calls.append((self.kernel, dict(zip(names, given, strict=False)), named))

            return launch

    def run(kind):
        calls.clear()
        with monkeypatch.context() as patch:
            for name in ("_forward", "_backward"):
                patch.setattr(module, name, Recorder(getattr(module, name)))
            student, teacher = torch.zeros(2, 2, 3, 50, dtype=kind)
            omega = torch.ones(2, 50, dtype=torch.bool)
            _, log_p, log_q, mass = module.forward(student, teacher, omega, omega, 4.0)
            module.backward(student, teacher, omega, omega, log_p, log_q, mass, torch.zeros(2, 3), 4.0)
        return list(calls)

    return run


def type_of(value):
    """Triton's name of an argument's type; a number that is not an integer is a float of 32 bits."""
    pointers = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.bool: "*i1"}
    if isinstance(value, torch.Tensor):
        return pointers[value.dtype]
    return "i32" if isinstance(value, int) else "fp32"


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kernel_becomes_machine_code(launched, kind, capability, tmp_path, monkeypatch):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    calls = launched(KINDS[kind])
    assert {kernel.fn.__name__ for kernel, *_ in calls} == {"_forward", "_backward"}
    for kernel, given, constants in calls:
        types = {name: type_of(value) for name, value in given.items()} | dict.fromkeys(constants, "constexpr")
        source = ASTSource(fn=kernel, signature=types, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        assert f".target sm_{capability}" in compiled.asm["ptx"]
        assert compiled.asm["cubin"].startswith(b"\x7fELF")
        assert ("bf16" in compiled.asm["ttir"]) == (kind == "bf16")


def test_no_other_kernel_is_written_here():
    from pathlib import Path

    import trainers

    folder = Path(trainers.__file__).parent
    written = [path.name for path in folder.rglob("*.py") if "@triton.jit" in path.read_text()]
    assert written == ["pixel_kl_kernel.py"]
