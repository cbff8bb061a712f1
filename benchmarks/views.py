"""How few views do as well: `python -m benchmarks.views MODEL [MODEL ...] --data ham10000`.

The mean of trained models that are shown more or fewer views of each photograph, against those that `predict` shows,
on validation images, by paired intervals over lesions; what a decision fits, it fits on one half of the lesions and is
judged on the other. The networks compute in onnxruntime. Reads models/, data/prepared and data/split.csv; writes
results/DATA/views.csv, with how often a network looks at a photograph.
"""

from benchmarks.asked import asked, keep
from benchmarks.ideas import Seen, decided_on
from dermaline.base import errors
from dermaline.data.index import read_split
from dermaline.exporting.onnx_network import in_onnxruntime
from dermaline.inference.views import scales, tta_views
from dermaline.models.backbone import input_size
from dermaline.params.whole import read as read_params

OTHERS = (  # tta, grid
    ("flips", (3, 3)),
    ("none", (2, 2)),
    ("none", (1, 1)),
)


def main() -> None:
    chosen = asked("How few views do as well.", "names of models/, whose mean decides")
    rows, train, params = read_split("val"), read_split("train"), read_params()
    seen = [Seen(name, rows, "cpu") for name in chosen.models]
    for one in seen:
        one.member = in_onnxruntime(one.member)
    table, looks = {}, []
    for tta, grid in ((params.predict.tta, params.predict.grid), *OTHERS):
        changes = {"tta": tta, "grid": grid}
        looks.append(views_of(seen[0], **changes))
        name = f"grid {grid[0]} x {grid[1]}, tta {tta}: {looks[-1]} views"
        table[name] = decided_on(rows, [one.found(**changes) for one in seen], train, params.evaluate)
        print(name, flush=True)
    found = keep("views", chosen, table, seen[0].member.fabric)
    shown = ["accuracy", "balanced_accuracy", "macro_f1", "macro_auc"]
    print(found.assign(views=looks)[["model", "views", *shown]].to_string(index=False, float_format="%.4f"))


def views_of(seen: Seen, **changes: object) -> int:
    """How often a network looks at a photograph."""
    options, size = seen.options.model_copy(update=changes), input_size(seen.recipe)
    return sum(len(scale.views) for scale in scales(seen.recipe, options, tta_views(options.tta, seen.network, size)))


if __name__ == "__main__":
    errors.run(main)
