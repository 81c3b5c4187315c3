"""Compiled blocks make what blocks that are not compiled make."""

from __future__ import annotations

import shutil

import pytest
import torch
from tiny_rollouts import TinyRollouts

from generator.errors import ConfigError
from generator.options.groups import completed, parser
from generator.options.model import load_backbone
from generator.wan.compiling import compile_blocks
from generator.wan.reference_numerics import ReferenceWan

BLOCKS = 7

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
"""Of torch's own, as it loads its compiler."""


class CompiledRollouts(TinyRollouts):
    def model(self):
        model = super().model()
        compile_blocks(model)
        return model


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_rollouts_are_equal_up_to_rounding(memory) -> None:
    made = {
        kind: kind(memory).run("longlive_rag", BLOCKS, kind.__name__)
        for kind in (TinyRollouts, CompiledRollouts)
    }
    for plain, compiled in zip(*made.values(), strict=True):
        torch.testing.assert_close(compiled.latents, plain.latents, atol=1e-4, rtol=1e-4)
        assert [hit.handle.frame for hit in compiled.hits] == [hit.handle.frame for hit in plain.hits]
    parts_of_a_block = 3  # before, between and after its two attentions; all layers share them
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == parts_of_a_block


def test_the_option_compiles_the_model_and_its_numerics_say_so() -> None:
    given = ["run", "--prompt", "a village"]
    plain, compiled = (
        load_backbone(completed(parser().parse_args([*given, *words]))) for words in ([], ["--compile"])
    )
    assert plain.model.numerics == "stock"
    assert compiled.model.numerics == "compiled"


def test_the_reference_numerics_cannot_be_compiled(tiny) -> None:
    with pytest.raises(ConfigError, match="ReferenceWan"):
        compile_blocks(ReferenceWan(tiny.model().transformer))
