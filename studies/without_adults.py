"""Take the head for adults out of a combined model, and choose its thresholds again on the held-out films of the home site.

    python studies/without_adults.py BUNDLE --data chest_xray --name NAME --out RUN
    pneumoscan evaluate RUN --data chest_xray --split held-out --stress --out OUT
    python studies/without_adults.py BUNDLE --data chest_xray --name NAME --out RUN --stress OUT/metrics.json

The networks, the score of the home site and the out-of-distribution detector keep their weights. The map is the mean of the maps of
the networks for every film, and the only site that a film can resemble is the home site. Temperature, operating points, bands and
records are computed as `pneumoscan combine` computes them. RUN is a run folder for `evaluate --split held-out` and for `card`.
"""

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

import pneumoscan
from pneumoscan.bundle.load import load_bundle, self_check_inputs, self_check_of
from pneumoscan.bundle.write import write_bundle, write_records
from pneumoscan.data.cache import open_cache
from pneumoscan.data.splits import hold_out, read_split_csv, write_split_csv
from pneumoscan.evaluate.calibration import fit_temperature
from pneumoscan.evaluate.held_out import calibration_facts, operating_points, records_of, with_stress
from pneumoscan.files import make_folder
from pneumoscan.predict.readme import model_card
from pneumoscan.train.config import TrainingConfig
from pneumoscan.train.export import read_held_out
from pneumoscan.train.films import training_films
from pneumoscan.train.run import train_split


class Graph(nn.Module):
    """The logits of an ONNX graph as a module, for `read_held_out`."""

    def __init__(self, onnx_bytes: bytes) -> None:
        super().__init__()
        self.session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])

    def forward(self, film: torch.Tensor) -> torch.Tensor:
        """Return logits (N,)."""
        return torch.from_numpy(self.session.run(["logit"], {"film": film.numpy()})[0])


def without_heads(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph without the heads of further sites: the map of the networks, and the score of the home site alone.

    The scores are a Concat of the home site's and of the others'. The map adds the heads' evidence to a product of the networks'
    map and of the share that the heads leave to it.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    home = made_by["site_scores"].input[0]
    rest, general = made_by[made_by["activation_map"].input[0]].input
    assert (made_by[rest].op_type, made_by[general].op_type) == ("Unsqueeze", "Div")
    new_names = {home: "site_scores", general: "activation_map"}
    for node in model.graph.node:
        ours = {"site_scores", "activation_map"} & set(node.output)
        node.output[:] = [
            f"{name}_of_heads" if name in ours else new_names.get(name, name) for name in node.output
        ]
        node.input[:] = [new_names.get(name, name) for name in node.input]
    needed, kept = {entry.name for entry in model.graph.output}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    weights = [entry for entry in model.graph.initializer if entry.name in needed]
    graph = onnx.helper.make_graph(
        nodes, model.graph.name, list(model.graph.input), list(model.graph.output), weights
    )
    for entry in graph.output:
        if entry.name == "site_scores":
            entry.type.tensor_type.shape.dim[1].dim_value = 1
    found = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    found.producer_name, found.producer_version = model.producer_name, model.producer_version
    onnx.checker.check_model(found, full_check=True)
    return found


def main() -> None:
    """Write RUN/bundle and the files around it."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("bundle", type=Path)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--name", required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--stress", type=Path)
    given = arguments.parse_args()
    if given.stress:
        made = load_bundle(given.out)
        write_records(made, with_stress(made.records(), made.spec, given.stress))
        return

    old = load_bundle(given.bundle)
    old_spec, out = old.spec, make_folder(given.out)
    graph = without_heads(onnx.load(old.path / "model.onnx")).SerializeToString()
    network = Graph(graph).eval()

    config = TrainingConfig.model_validate(old_spec.training["config"])
    manifest = train_split(given.data)
    table = open_cache(manifest, size=config.data.size, folder=None)
    if table.data_sha256 != old_spec.training["data_sha256"]:
        raise SystemExit(f"{given.data} has other films than those of {given.bundle}.")
    hold = hold_out(
        manifest,
        fraction=config.data.val_fraction,
        seed=config.data.split_seed,
        duplicates=table.content_sha256,
    )
    write_split_csv(out / "split.csv", manifest, hold)
    films = training_films(config, manifest, table, read_split_csv(out / "split.csv", manifest))
    held = read_held_out(network, films, config)
    before = read_held_out(Graph((old.path / "model.onnx").read_bytes()).eval(), films, config).logits[0]
    change = np.abs(held.logits[0] - before).max()
    fitted = fit_temperature(held.logits.ravel(), held.y_true)
    sys.stdout.write(
        f"temperature {old_spec.temperature} before, {fitted} now\n"
        f"largest change of a logit on {len(before)} held-out films: {change}\n"
    )

    # It was fitted to the networks without heads, and is part of the graph.
    temperature = old_spec.temperature
    home, facts = next(iter(old_spec.sites.items()))
    training = {key: value for key, value in old_spec.training.items() if key != "fitted_to"}
    spec = replace(
        old_spec,
        name=given.name,
        thresholds=operating_points(held, temperature),
        training=training,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        pneumoscan_version=pneumoscan.__version__,
        self_check=self_check_of(
            network(torch.from_numpy(self_check_inputs(films.preprocessing))).numpy(), temperature
        ),
        calibration=calibration_facts(held.logits[0], held.labels, temperature),
        sites={home: facts},
    )
    write_bundle(
        out / "bundle",
        onnx=graph,
        spec=spec,
        readme=model_card(spec),
        training_films=sorted(old.training_films()),
        records=records_of(spec, held),
    )


if __name__ == "__main__":
    main()
