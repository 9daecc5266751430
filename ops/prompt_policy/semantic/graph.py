"""all-MiniLM-L6-v2 as an ONNX graph, made from its safetensors at start. Pure, numpy and onnx only.

One text at a time, so there is no padding and a text's vector depends on nothing but the text. Linear layers are
quantised: weights to 7 bits a column (8 bits overflow on processors without VNNI), activations to 8 bits as they come.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WIDTH, LAYERS, HEADS = 384, 6, 12
WEIGHT_STEPS = 63
OPSET, IR_VERSION = 20, 10
EPSILON = 1e-12
Array = NDArray[Any]


class Graph:
    """Nodes and constants while they are put together. Every method returns the name of its result."""

    def __init__(self, weight: Callable[[str], Array]) -> None:
        """weight: gives a tensor by name; each is asked for once, so that not all are in memory at the same time."""
        self._weight = weight
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def build(self) -> bytes:
        """The model: token ids in, one vector of length 1 out."""
        x = self._embedded()
        for layer in range(LAYERS):
            x = self._block(x, f"encoder.layer.{layer}.")
        mean = self._op("ReduceMean", x, self._constant("tokens", np.array([1])), keepdims=0)
        self._nodes.append(helper.make_node("LpNormalization", [mean], ["vector"], axis=-1, p=2))
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "tokens"])],
            [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, WIDTH])],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()
        return made

    def _constant(self, name: str, value: Array) -> str:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def _op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def _embedded(self) -> str:
        e = "embeddings."
        words = self._op("Gather", self._constant("words", self._weight(e + "word_embeddings.weight")), "ids")
        places = self._weight(e + "position_embeddings.weight") + self._weight(e + "token_type_embeddings.weight")[0]
        length = self._op("Shape", "ids", start=1, end=2)
        first = self._constant("first", np.array([0]))
        places_so_far = self._op("Slice", self._constant("places", places), first, length, first)
        return self._norm(self._op("Add", words, places_so_far), e + "LayerNorm")

    def _norm(self, x: str, name: str) -> str:
        scale = self._constant(name + ".scale", self._weight(name + ".weight"))
        bias = self._constant(name + ".bias", self._weight(name + ".bias"))
        return self._op("LayerNormalization", x, scale, bias, axis=-1, epsilon=EPSILON)

    def _linear(self, x: str, name: str) -> str:
        weight = self._weight(name + ".weight").T
        scale = np.abs(weight).max(0) / WEIGHT_STEPS
        steps = np.clip(np.round(weight / scale), -WEIGHT_STEPS, WEIGHT_STEPS).astype(np.int8)
        return self._op(
            "DynamicQuantizeMatMul",
            x,
            self._constant(name + ".steps", steps),
            self._constant(name + ".scale", scale.astype(np.float32)),
            "",
            self._constant(name + ".bias", self._weight(name + ".bias")),
            domain="com.microsoft",
        )

    def _heads(self, x: str, order: list[int]) -> str:
        shape = self._constant("heads", np.array([0, 0, HEADS, WIDTH // HEADS]))
        return self._op("Transpose", self._op("Reshape", x, shape), perm=order)

    def _block(self, x: str, name: str) -> str:
        own = name + "attention.self."
        query = self._heads(self._linear(x, own + "query"), [0, 2, 1, 3])
        key = self._heads(self._linear(x, own + "key"), [0, 2, 3, 1])
        value = self._heads(self._linear(x, own + "value"), [0, 2, 1, 3])
        scale = self._constant("scale", np.array((WIDTH // HEADS) ** -0.5, dtype=np.float32))
        weights = self._op("Softmax", self._op("Mul", self._op("MatMul", query, key), scale), axis=-1)
        seen = self._op("Transpose", self._op("MatMul", weights, value), perm=[0, 2, 1, 3])
        seen = self._op("Reshape", seen, self._constant("together", np.array([0, 0, WIDTH])))
        out = self._linear(seen, name + "attention.output.dense")
        x = self._norm(self._op("Add", x, out), name + "attention.output.LayerNorm")
        inner = self._op("Gelu", self._linear(x, name + "intermediate.dense"))
        out = self._linear(inner, name + "output.dense")
        return self._norm(self._op("Add", x, out), name + "output.LayerNorm")
