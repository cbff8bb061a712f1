"""The numbers that networks of an exported model are kept and computed in."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from dermaline.blocks import blocks
from dermaline.exporting.onnx_model import IMAGES, METADATA, Change
from dermaline.exporting.running import session
from dermaline.params.export import Precision

AT_ONCE = 4  # photographs: every activation is kept until it is looked at
# What a convolutional network or a transformer spends its time on; norms and softmax stay in fp32.
QUANTISED = ["Conv", "Gemm", "MatMul", "Add", "Clip", "Relu", "GlobalAveragePool", "ReduceMean", "MaxPool"]


def changed(precision: Precision, calibration: dict[str, NDArray]) -> Change:
    """What makes a network's numbers those of a precision.

    `fp16` halves the file: weights are rounded to float16, and made float32 when the file is loaded, since onnxruntime
    has no float16 arithmetic for most layers on a CPU.
    `int8` computes in integers (static, by channel): 7 bits of weights, for an old CPU's sums of 8 bits overflow.

    Args:
        precision: `fp32` leaves it as it is.
        calibration: the inputs, of photographs from which ranges are found for `int8`; else nothing is asked of them.
    """
    if precision == "fp16":
        return lambda network, views: halved(network)
    if precision == "int8":
        return lambda network, views: quantised(network, views, calibration)
    return lambda network, views: network


def halved(network: ModelProto) -> ModelProto:
    """The network with its weights as float16, each cast to float32 where that is finite in float16."""
    graph, casts = network.graph, []
    for number, tensor in enumerate(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT:
            continue
        with np.errstate(over="ignore"):
            half = numpy_helper.to_array(tensor).astype(np.float16)
        if np.isfinite(half).all():
            kept = f"{tensor.name}/half"
            casts.append(helper.make_node("Cast", [kept], [tensor.name], f"{kept}/cast", to=TensorProto.FLOAT))
            graph.initializer[number].CopyFrom(numpy_helper.from_array(half, kept))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return network


class _Shown(CalibrationDataReader):
    """What a network is shown of photographs, view by view."""

    def __init__(self, network: ModelProto, views: ModelProto, photographs: dict[str, NDArray]) -> None:
        self.parts = self._parts({one.name for one in network.graph.input}, views, photographs)

    @staticmethod
    def _parts(taken: set[str], views: ModelProto, photographs: dict[str, NDArray]) -> Iterator[dict[str, NDArray]]:
        run = session(views.SerializeToString())
        for part in blocks(len(photographs[IMAGES]), AT_ONCE):
            beside = {name: photographs[name][part] for name in taken & {METADATA}}
            (shown,) = run.run(None, {IMAGES: photographs[IMAGES][part]})
            yield from ({"shown": view} | beside for view in shown)

    def get_next(self) -> dict[str, NDArray] | None:
        return next(self.parts, None)


def quantised(network: ModelProto, views: ModelProto, photographs: dict[str, NDArray]) -> ModelProto:
    """The network with 8-bit integers where it computes most, calibrated on all views of photographs.

    Args:
        network: its batch norms are folded into the layers before them, as `torch.onnx` does.
        views: gives what it is shown.
        photographs: by name of the input.
    """
    with TemporaryDirectory() as folder:
        given, made = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        onnx.save(network, given)
        quantize_static(
            given,
            made,
            _Shown(network, views, photographs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(made)
