"""A network is compiled in place, by a compiler that is there, into a folder of the user's."""

import stat
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from infra.compute.compilation import compile_network, compiler_version
from infra.errors import ResourceError
from tests.scripts import python

# torch's own compiler uses what torch deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    return tmp_path / "cache"


class Network(nn.Module):
    """A class of its own: torch compiles no code of torch.nn's containers by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 7), nn.SiLU(), nn.Linear(7, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layers."""
        return self.layers(x)


def network() -> nn.Module:
    torch.manual_seed(0)
    return Network()


def compiler(folder: Path, compiles: str) -> str:
    """Write a compiler that tells its version and answers everything else by one command."""
    path = folder / "g++-x"
    path.write_text(f'#!/bin/sh\ncase "$*" in *-dump*) echo 9.8.7;; *) {compiles};; esac\n')
    path.chmod(0o755)
    return str(path)


def test_it_computes_the_same_and_keeps_the_names(cache: Path) -> None:
    torch._dynamo.reset()
    net, x = network(), torch.randn(4, 5)
    before, names = net(x), list(net.state_dict())
    compile_network(net, lambda: net(x))
    assert net._compiled_call_impl is not None, "else nothing is compiled"
    torch.testing.assert_close(net(x), before, rtol=1e-4, atol=1e-6)
    assert list(net.state_dict()) == names
    (folder,) = (cache / "ddpm-flows").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "compiled code is run: nobody else may write it"
    assert list(folder.rglob("*.so")), "the code is kept for the next process"


def test_without_a_compiler_it_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    net = network()
    with pytest.raises(ResourceError, match=r"torch.compile: needs a C\+\+ compiler, and g\+\+ is not there") as raised:
        compile_network(net, lambda: net(torch.randn(4, 5)))
    assert raised.value.exit_code == 7
    assert compiler_version() is None


def test_a_compiler_that_fails_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, since torch reads $CXX once."""
    monkeypatch.setenv("CXX", compiler(tmp_path, "echo no space left >&2; exit 1"))
    program = "from tests.infra.compute.test_compilation import *; n = network(); "
    child = python(f"{program}compile_network(n, lambda: n(torch.randn(4, 5)))")
    _, err = child.communicate(timeout=120)
    assert child.returncode == 1
    assert "ResourceError: torch.compile: cannot compile this network" in str(err)


def test_an_error_of_the_work_itself_passes() -> None:
    torch._dynamo.reset()
    with pytest.raises(RuntimeError, match="my own"):
        compile_network(network(), lambda: (_ for _ in ()).throw(RuntimeError("my own")))


def test_the_compilers_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", compiler(tmp_path, "exit 1"))
    assert compiler_version() == "g++-x 9.8.7"
