"""One ONNX model of an ensemble: its parts are traced by `torch.onnx` and joined.

What is made from equal models by equal versions of the packages has equal bytes, on any machine.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Sequence

import onnx
import torch
from onnx import GraphProto, ModelProto, helper
from onnx.compose import add_prefix
from torch import Tensor, nn
from torch.export import Dim
from torch.onnx import OnnxExporterError

from dermaline.base.classes import CLASSES, DIAGNOSES
from dermaline.base.errors import DermalineError
from dermaline.base.parameters import Size
from dermaline.data.metadata import MISSING, WIDTH
from dermaline.exporting.parts import Decide, Probabilities, Views, by_shape
from dermaline.inference.ensemble import Ensemble

FORM = "1"  # of the file: raised when a program that reads it must change
OPSET = 20
SAID = (
    "Research only: not a medical device, not validated for clinical use. It does not see whether an image is a "
    "dermatoscopic photograph at all."
)
IMAGES, METADATA = "images", "metadata"  # the names of the inputs
Change = Callable[[ModelProto, ModelProto], ModelProto]  # of a network; it is given the views too, see `precision`


def build(ensemble: Ensemble, change: Change = lambda network, views: network) -> ModelProto:
    """Photographs to the decision of an ensemble.

    Its inputs are `images`, uint8 [N, height, width, 3] as `data.decode.decode` makes them, and, where a network or the
    decision looks at it, `metadata`, float [N, M] as `data.metadata.encode` makes it; its outputs are those of
    `parts.Decide`.

    Args:
        ensemble: the models on a CPU, and the decision.
        change: what is done to each network before it becomes a part: other precision.

    Raises:
        DermalineError: the members take photographs of different sizes, or a network can't be exported.
    """
    size, *others = sorted(set(ensemble.prepared_sizes))
    if others:
        raise DermalineError(f"export: models for photographs of {size} and {others[0]}; export each on its own")
    shown = [list(by_shape(member.scales).items()) for member in ensemble.members]
    calls = [(member, *shape) for member, shapes in zip(ensemble.members, shown, strict=True) for shape in shapes]
    views = trace_views([seen for *_, seen in calls], size)
    networks = []
    for number, (member, shape, _) in enumerate(calls):
        network = _trace_network(member.network, shape)
        networks.append(change(network, only(views, f"views_{number}")))
    decision = Decide(ensemble.decision, [[seen for _, seen in shapes] for shapes in shown])
    empty = [torch.zeros(len(seen), 2, len(CLASSES)) for *_, seen in calls]
    names = [f"seen_{number}" for number in range(len(calls))]
    given, varying = ([*empty],), ([{1: Dim("batch")} for _ in calls],)
    if ensemble.decision.likelihood_ratios is not None:
        names = [*names, METADATA]
        given, varying = (*given, MISSING.expand(2, WIDTH).clone()), (*varying, {0: Dim("batch")})
    decide = traced(decision, given, names, decision.outputs, varying)
    model = _joined(views, networks, decide, takes_metadata=ensemble.takes_metadata)
    helper.set_model_props(model, facts(ensemble, size))
    return model


def facts(ensemble: Ensemble, size: Size) -> dict[str, str]:
    """What the file says of itself; all but words is JSON."""
    known = {
        "form": FORM,
        "notice": SAID,
        "classes": json.dumps(CLASSES),
        "diagnoses": json.dumps(list(DIAGNOSES.values())),
        "size": json.dumps(size),
        "decision": ensemble.decision.model_dump_json(),  # the digests of the models are in it
        "melanoma_threshold": json.dumps(ensemble.decision.melanoma_threshold),
        "views": json.dumps([member.options.model_dump(mode="json") for member in ensemble.members]),
    }
    return known | ({"unknown_metadata": json.dumps(MISSING.tolist())} if ensemble.takes_metadata else {})


def trace_views(shown: Sequence, size: Size) -> ModelProto:
    """`parts.Views` as a model whose outputs are `views_0`, `views_1`..."""
    names = [f"views_{number}" for number in range(len(shown))]
    images = torch.zeros(2, *size, 3, dtype=torch.uint8)
    return traced(Views(shown, size), (images,), [IMAGES], names, ({0: Dim("batch")},))


def _trace_network(network: nn.Module, shape: Size) -> ModelProto:
    return traced_network(network, Probabilities(network), torch.zeros(2, 3, *shape, dtype=torch.uint8), "seen")


def traced_network(network: nn.Module, module: nn.Module, view: Tensor, output: str) -> ModelProto:
    """A network, or a module around it that takes the same, as a model from `shown` (and `metadata`) to `output`.

    Its inputs are like `view`, of any number of rows.

    Raises:
        DermalineError: it can't be exported.
    """
    given, names = [view], ["shown"]
    if network.fusion is not None:
        given, names = [*given, torch.zeros(len(view), WIDTH)], [*names, METADATA]
    varying = tuple({0: Dim("batch")} for _ in given)
    try:
        return traced(module, tuple(given), names, [output], varying)
    except OnnxExporterError as problem:
        reason = str(problem).splitlines()[0]
        raise DermalineError(f"export: {network.backbone}: can't be exported to ONNX ({reason})") from None


def traced(
    module: nn.Module, given: tuple, inputs: Sequence[str], outputs: Sequence[str], dynamic: tuple
) -> ModelProto:
    """A module as ONNX, without what says where on this machine its code lies.

    Args:
        module: in evaluation mode.
        given: arguments like those that it will have.
        inputs, outputs: names for them, one a tensor.
        dynamic: which of their dimensions may vary, as `torch.export` takes it.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            given,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    return _plain(program.model_proto)


def _plain(model: ModelProto) -> ModelProto:
    """The model's graph alone: the exporter's notes hold paths and lines of code."""
    graph = GraphProto(name=model.graph.name, input=model.graph.input, output=model.graph.output)
    graph.initializer.extend(sorted(model.graph.initializer, key=lambda tensor: tensor.name))
    graph.node.extend(model.graph.node)
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=model.ir_version)


def only(model: ModelProto, output: str) -> ModelProto:
    """The part of a model that gives one of its outputs, or all of it, with that output alone."""
    found = ModelProto()
    found.CopyFrom(model)
    kept = [one for one in found.graph.output if one.name == output]
    del found.graph.output[:]
    found.graph.output.extend(kept)
    return found


def _joined(
    views: ModelProto, networks: Sequence[ModelProto], decide: ModelProto, *, takes_metadata: bool
) -> ModelProto:
    """The parts as one model: what views show goes through the networks by Scan, and what they say is decided."""
    first = add_prefix(views, "views/", rename_inputs=False, rename_outputs=False).graph
    last = add_prefix(decide, "decide/", rename_inputs=False, rename_outputs=False).graph
    nodes, inputs = list(first.node), list(first.input)
    for number, network in enumerate(networks):
        body = add_prefix(network, f"network_{number}/", rename_inputs=False).graph
        view = [one for one in body.input if one.name != METADATA]  # that is the same for all views: the outer one
        del body.input[:]
        body.input.extend(view)
        scan = {"body": body, "num_scan_inputs": 1, "name": f"network_{number}"}
        nodes.append(helper.make_node("Scan", [f"views_{number}"], [f"seen_{number}"], **scan))
    if takes_metadata:
        inputs.append(helper.make_tensor_value_info(METADATA, onnx.TensorProto.FLOAT, ["batch", WIDTH]))
    nodes += last.node
    graph = helper.make_graph(nodes, "dermaline", inputs, last.output, [*first.initializer, *last.initializer])
    opsets = {one.domain: one.version for model in (views, *networks, decide) for one in model.opset_import}
    imports = [helper.make_opsetid(domain, opsets[domain]) for domain in sorted(opsets)]
    return helper.make_model(graph, opset_imports=imports, ir_version=views.ir_version, producer_name="dermaline")


def to_bytes(model: ModelProto) -> bytes:
    """The file's content, after a check that it is valid ONNX."""
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
